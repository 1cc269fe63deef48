"""What a run says while it is computed, and what its process is told: plain values that cross a pipe; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from harness.records.data import Example
from harness.records.progress import Stage
from harness.records.rollout import Rollout
from harness.records.score import Profile, Score
from harness.records.training import Interim, Step


@dataclass(frozen=True)
class StageProgress:
    """A sign of life: which stage, and the share of it that is done."""

    stage: Stage
    fraction: float


@dataclass(frozen=True)
class Resumed:
    """Training starts, or goes on from `step` > 0.

    `threads` are the numbers of CPU threads that computed it so far, `damaged` the registered checkpoint files that
    were missing or changed and have not been used.
    """

    step: int
    threads: tuple[int, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint file: the optimiser step it holds, its path relative to the store's folder, its SHA-256.

    It counts only once the store has it under the claim that wrote it: a file that no row names was written by
    somebody who had lost the claim, or died before saying so.  `threads` is how many CPU threads computed it.
    """

    step: int
    path: str
    sha256: str
    threads: int


@dataclass(frozen=True)
class Results:
    """All that a finished run leaves in the store; `rollouts[i]` answers `prompts[i]`."""

    scores: tuple[Score, ...]
    profiles: tuple[Profile, ...]
    prompts: tuple[Example, ...]
    rollouts: tuple[Rollout, ...]
    provenance: Mapping[str, Any]


Event: TypeAlias = StageProgress | Resumed | Step | Interim | SavedCheckpoint | Results
