"""One attempt at a run: resume from the newest whole checkpoint, train, save at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.records.events import Event, Resumed, SavedCheckpoint, StageProgress
from harness.system.disk_full import OutOfSpace
from harness.system.failpoints import failpoint
from harness.training import checkpoint
from harness.training.checkpoint import State
from harness.training.loop import Training


class StopRequested(Exception):
    """The attempt was asked to stop, and its state is saved."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: the checkpoints to resume from, the place and pace of its own, and the request to stop.

    Attributes:
        run_id: the run.
        number: number of the attempt; part of its files' names, so that no two attempts write the same file.
        folder: the store's folder.
        checkpoints: the registered ones, newest first.
        every: seconds between two checkpoints; more if saving is slow.
        stopping: True if the attempt is to stop; called after every step.
    """

    run_id: str
    number: int
    folder: Path
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    every: float = 60.0
    stopping: Callable[[], bool] = lambda: False

    def newest(self) -> tuple[State | None, Resumed]:
        """The newest whole registered state (None without one), and the event that reports it."""
        damaged: list[str] = []
        for saved in self.checkpoints:
            state = checkpoint.read(saved, self.folder)
            if state is not None:
                return state, Resumed(saved.step, tuple(state.facts["threads"]), tuple(damaged))
            damaged.append(saved.path)
        return None, Resumed(0, (), tuple(damaged))

    def save(self, state: State) -> SavedCheckpoint:
        """Write a checkpoint under a name of this attempt.

        Raises:
            OutOfSpace: it cannot be written; the registered ones stay as they are.
        """
        path = f"checkpoints/{self.run_id}/{self.number}-{state.facts['step']}.safetensors"
        try:
            return checkpoint.write(state, self.folder, path)
        except OSError as error:
            raise OutOfSpace(
                f"{self.folder / path} cannot be written: {error.strerror}; a checkpoint of this run takes "
                f"{len(state.to_bytes()) / 1e6:.1f} MB: make room for it and run the same command again, it goes on "
                "from the last one that was stored"
            ) from error


SHARE = 20  # saving may take up to 1/20 of the time


def train(training: Training, attempt: Attempt) -> Iterator[Event]:
    """Train to the end of the budget, from the newest whole checkpoint on; yields at least one event a step.

    Raises:
        StopRequested: asked to stop; the last event was a checkpoint of the step before.
        OutOfSpace: a checkpoint could not be written.
        Diverged: the loss is not finite.
    """
    state, resumed = attempt.newest()
    if state is not None:
        training.restore(state)
    yield resumed
    saved_at, pause = time.monotonic(), attempt.every
    while not training.finished:
        point = training.advance()
        if point is not None:
            yield point
        yield StageProgress("train", training.progress)
        stopping, since = attempt.stopping(), time.monotonic() - saved_at
        if stopping or since > pause:
            began = time.monotonic()
            saved = attempt.save(training.state())
            failpoint("checkpoint.written")
            yield saved
            saved_at = time.monotonic()
            pause = max(attempt.every, SHARE * (saved_at - began))
        if stopping:
            raise StopRequested
