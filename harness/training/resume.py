"""One attempt at a run: resume from the newest whole checkpoint, train, save at intervals and when asked to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness.records.events import Event, Resumed, SavedCheckpoint, StageProgress
from harness.system.disk_full import OutOfSpace
from harness.system.failpoints import failpoint
from harness.training import checkpoint
from harness.training.checkpoint import State
from harness.training.loop import Training


@dataclass
class Attempt:
    """One attempt at a run: the checkpoints to resume from, and the place and pace of its own.

    Another thread may save the training at any moment, also in the middle of a step: what it then saves is the end of
    the step before.

    Attributes:
        run_id: the run.
        number: number of the attempt; part of its files' names, so that no two attempts write the same file.
        folder: the store's folder.
        checkpoints: the registered ones, newest first.
        every: seconds between two checkpoints; more if saving is slow.
        report: takes how far a stage is in the middle of what yields no events.
        training: the training at hand, from its first step until its policy is kept.
        reporting: held while the training's state has changed and the events that say so are not all yielded.
        saving: a checkpoint is being written.
    """

    run_id: str
    number: int
    folder: Path
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    every: float = 60.0
    report: Callable[[StageProgress], None] = lambda _: None
    training: Training | None = None
    reporting: threading.Lock = field(default_factory=threading.Lock)
    saving: bool = False
    _saved: tuple[int, bool] = (0, False)  # step of the last state in a file, and whether scoring it was due

    def newest(self) -> tuple[State | None, Resumed]:
        """The newest whole registered state (None without one), and the event that reports it."""
        damaged: list[str] = []
        for saved in self.checkpoints:
            state = checkpoint.read(saved, self.folder)
            if state is not None:
                return state, Resumed(saved.step, tuple(state.facts["threads"]), tuple(damaged))
            damaged.append(saved.path)
        return None, Resumed(0, (), tuple(damaged))

    def begin(self, training: Training) -> None:
        """Take on a training in the state that the newest checkpoint holds, or at its start."""
        self._saved, self.training = (training.step, training.due), training

    def unsaved(self) -> bool:
        """True if there is a training whose state is in no file yet."""
        training = self.training  # read once: the thread that computes may let go of it
        return training is not None and self._saved != (training.step, training.due)

    def end(self) -> None:
        """Let go of the training, whose policy is kept; a checkpoint that another thread is writing comes first."""
        with self.reporting:
            self.training = None

    def save(self) -> SavedCheckpoint:
        """Write a checkpoint of the training at hand under a name of this attempt; called with `reporting` held.

        Raises:
            OutOfSpace: it cannot be written; the registered ones stay as they are.
        """
        assert self.training is not None
        self.saving = True
        try:
            state = self.training.state()  # large weights take their time, too
            path = f"checkpoints/{self.run_id}/{self.number}-{state.facts['step']}.safetensors"
            saved = checkpoint.write(state, self.folder, path)
        except OSError as error:
            raise OutOfSpace(
                f"{self.folder / path} cannot be written: {error.strerror}; a checkpoint of this run takes "
                f"{len(state.to_bytes()) / 1e6:.1f} MB: make room for it and run the same command again, it goes on "
                "from the last one that was stored"
            ) from error
        finally:
            self.saving = False
        self._saved = self.training.step, self.training.due
        return saved


def _sampling(training: Training, attempt: Attempt, share: float) -> None:
    """Report how far a step's rollouts are; the first ones are a stage of their own, later ones a part of training."""
    first = training.step == 0
    attempt.report(StageProgress("rollouts", share) if first else StageProgress("train", training.progress))


SHARE = 20  # saving may take up to 1/20 of the time


def train(training: Training, attempt: Attempt) -> Iterator[Event]:
    """Train to the end of the budget, from the newest whole checkpoint on; yields at least one event a step.

    Raises:
        OutOfSpace: a checkpoint could not be written.
        Diverged: the loss is not finite.
    """
    state, resumed = attempt.newest()
    if state is not None:
        training.restore(state)
    yield resumed
    attempt.begin(training)
    if training.due:  # saved before it was scored
        yield StageProgress("train", training.progress)
    saved_at, pause = time.monotonic(), attempt.every
    while not training.finished:
        gradient = training.gradient(partial(_sampling, training, attempt))
        with attempt.reporting:
            point = training.update(gradient)
            if point is not None:
                yield point
        yield StageProgress("train", training.progress)
        if time.monotonic() - saved_at > pause:
            began = time.monotonic()
            with attempt.reporting:
                saved = attempt.save()
                failpoint("checkpoint.written")
                yield saved
            saved_at = time.monotonic()
            pause = max(attempt.every, SHARE * (saved_at - began))
