"""Where a cell of a grid is while it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["base", "train", "sample", "score", "done", "failed", "skipped", "waiting"]


@dataclass(frozen=True)
class Progress:
    """Where a grid is, for whoever shows it.

    `cell` counts from 1 among `cells`; `fraction` in [0, 1] is the share of the stage that is done.  Stages in
    order: `base`, `train`, `sample`, `score`, then `done`, `failed` (with `message`) or `skipped` (done before);
    `waiting` (with `message`) is a cell that nobody here computes just now.
    `label` says in a few words which cell it is.
    """

    run_id: str
    cell: int
    cells: int
    stage: Stage
    fraction: float
    message: str
    label: str = ""
