"""One trial of a tuned grid, as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One trial of one group of a tuned grid.

    Attributes:
        asked: the `group_id` of the group as it is written.
        number: from 0, which is the configuration as it is written.
        run_id: the run that was evaluated on the validation split.
        drawn: the values it has in place of the written ones, by dotted key.
        chosen: True if the group's final runs have its settings.
        group_id: of the group's final runs.
    """

    asked: str
    number: int
    run_id: str
    drawn: Mapping[str, Any]
    chosen: bool
    group_id: str
