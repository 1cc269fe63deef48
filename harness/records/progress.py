"""Progress of a grid's cells while they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["reference", "base", "train", "sample", "score", "done", "failed", "skipped", "waiting"]


@dataclass(frozen=True)
class Progress:
    """Progress of one cell of a grid, for display.

    `cell` counts from 1 among `cells`; `fraction` in [0, 1] is the share of the stage that is done.  Stages in
    order: `reference` (training of the benchmark's reference LM), `base` (of the shared base), `train`, `sample`,
    `score`, then `done`, `failed` (with `message`) or `skipped` (done before); `waiting` (with `message`) is a cell
    that no worker here is computing.
    `label` names the cell in a few words; `details` is the traceback of a failure, where there is one.
    """

    run_id: str
    cell: int
    cells: int
    stage: Stage
    fraction: float
    message: str
    label: str = ""
    details: str = ""
