"""Events of a run while it is computed: plain values that its process sends through a pipe.  No torch."""

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
    """The stage that a run is in, and the share of it that is done, in [0, 1]; also a sign that its process lives."""

    stage: Stage
    fraction: float


@dataclass(frozen=True)
class Resumed:
    """Start of training at step 0, or its resumption from a checkpoint at `step` > 0.

    `threads` are the numbers of CPU threads that computed it so far, `damaged` the registered checkpoint files that
    were missing or changed and have not been used.
    """

    step: int
    threads: tuple[int, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint file: the optimiser step it holds, its path relative to the store's folder, its SHA-256.

    It counts only once it is registered in the store, under the claim that wrote it: an unregistered file was written
    by a process that had lost the claim, or that ended before.  `threads` is the number of CPU threads that computed
    it.
    """

    step: int
    path: str
    sha256: str
    threads: int


@dataclass(frozen=True)
class Results:
    """All that a finished run leaves in the store.

    `rollouts[i]` answers `prompts[i]`; `backspace_id` is the action `<backspace>` in them, None in a space without it.
    """

    scores: tuple[Score, ...]
    profiles: tuple[Profile, ...]
    prompts: tuple[Example, ...]
    rollouts: tuple[Rollout, ...]
    backspace_id: int | None
    provenance: Mapping[str, Any]


Event: TypeAlias = StageProgress | Resumed | Step | Interim | SavedCheckpoint | Results
