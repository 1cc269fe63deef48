"""Progress of a grid's cells while they are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Stage = Literal[
    "load", "reference", "base", "rollouts", "train", "save", "sample", "score", "done", "failed", "skipped", "waiting"
]

Report: TypeAlias = Callable[[float], None]
"""Takes the share of a long computation that is done, in [0, 1], as often as it moves."""


def unreported(share: float) -> None:
    """Take the share, and report it to nothing."""


@dataclass(frozen=True)
class Progress:
    """Progress of one cell of a grid, for display.

    `cell` counts from 1 among `cells`; `fraction` in [0, 1] is the share of the stage that is done.  Stages in
    order: `load` (the data and the model), `reference` (training of the benchmark's reference LM), `base` (of the
    shared base), `rollouts` (of an on-policy trainer, before its first step), `train`, `save` (of a checkpoint, where
    it takes its time), `sample`, `score`, then `done`, `failed` (with `message`) or `skipped` (done before); `waiting`
    (with `message`) is a cell that no worker here is computing.
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
