"""Recorder of one claimed cell: writes the messages of its worker process to the store under the claim's owner."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from harness.config.run import RunConfig
from harness.errors import StoreError
from harness.records.events import Results, Resumed, SavedCheckpoint, StageProgress
from harness.records.progress import Stage
from harness.records.training import Interim, Step
from harness.runner.messages import Failed, Job, Message, Stopped
from harness.runner.options import RunnerOptions
from harness.runner.worker_process import ProcessFailure, WorkerProcess, crash_site
from harness.storage.queue import Claim, LostClaim
from harness.storage.store import Store

HEARTBEATS = 4  # per lease
FRESH = 1.0  # seconds after which a point of a curve is in the store, so that a run can be watched


@dataclass(frozen=True)
class CellProgress:
    """The stage of a cell, the share of it that is done, in [0, 1], and a remark."""

    stage: Stage
    fraction: float
    message: str = ""


@dataclass(frozen=True)
class Ended:
    """The end of an attempt.

    Attributes:
        stage: `done`, `failed`, or `waiting` where the cell is free again.
        error: the reason, in one paragraph.
        details: the traceback, where there is one and the paragraph does not say all.
        environment: nothing can be computed on this machine as it stands.
    """

    stage: Stage
    error: str = ""
    details: str = ""
    environment: bool = False

    @property
    def final(self) -> bool:
        """True if the cell is not to be tried again."""
        return self.stage != "waiting"


class CellRecorder:
    """One claim from its job to its end; every write carries the claim's owner, so that a lost claim writes nothing.

    Attributes:
        run_id: the run that is claimed.
        process: computes it.
        crashes: attempts before this one that crashed in a row.
        held: the claim has not ended yet.
    """

    def __init__(
        self, store: Store, options: RunnerOptions, claim: Claim, process: WorkerProcess, crashes: int
    ) -> None:
        """A held claim; `process` has started and is free."""
        self._store, self._options, self._claim = store, options, claim
        self.run_id, self.process, self.crashes, self.held = claim.run_id, process, crashes, True
        self._steps: list[Step] = []
        self._interims: list[Interim] = []
        self._unwritten: Message | ProcessFailure | None = None  # received, and not in the store yet
        self._written = time.monotonic()

    def start(self, config: RunConfig) -> None:
        """Assign the cell to the process."""
        self.process.assign(
            Job(
                run_id=self.run_id,
                attempt=self._claim.attempt,
                config=config.model_dump_json(),
                folder=str(self._store.folder),
                device=self._options.device,
                checkpoints=self._claim.checkpoints,
                every=self._options.checkpoint_every,
            )
        )

    def poll(self, *, again: bool) -> Iterator[CellProgress | Ended]:
        """Write all messages that have come, and renew the lease when it is due.

        `again`: a crash or a stall leaves the cell free; else the cell has failed.

        Raises:
            StoreError: a message could not be written; it is kept, and the next call tries again.
        """
        try:
            while self.held:
                if self._unwritten is None:
                    self._unwritten = self.process.poll()
                    if isinstance(self._unwritten, ProcessFailure) and not again:
                        self._unwritten = dataclasses.replace(self._unwritten, final=True)
                if self._unwritten is None:
                    self._write_when_due()
                    return
                yield from self._write(self._unwritten)
                self._unwritten = None
        except LostClaim as error:
            self.process.close()
            self.held = False
            yield Ended("waiting", str(error))

    def _write(self, message: Message | ProcessFailure) -> Iterator[CellProgress | Ended]:
        claim, store = self._claim, self._store
        match message:
            case Step():
                self._steps.append(message)
            case Interim():
                self._interims.append(message)
            case SavedCheckpoint():
                self._log(message)
            case StageProgress():
                yield CellProgress(message.stage, message.fraction)
            case Resumed():
                if claim.checkpoints and message.step < claim.checkpoints[0].step:
                    store.rewind(claim.run_id, claim.owner, message.step)
                yield from self._remarks(message)
            case Results():
                self._log(None)
                store.finish(
                    claim.run_id,
                    claim.owner,
                    scores=message.scores,
                    profiles=message.profiles,
                    prompts=message.prompts,
                    rollouts=message.rollouts,
                    backspace_id=message.backspace_id,
                    provenance=message.provenance,
                )
                self.held = False
                yield Ended("done")
            case Failed(error, headline, environment):
                self._log(None)
                if environment:
                    store.release(claim.run_id, claim.owner)
                else:
                    store.fail(claim.run_id, claim.owner, error, output=self.process.output())
                self.held = False
                self.process.close()  # the next cell gets a process in which no error has happened
                yield Ended(
                    "waiting" if environment else "failed", headline, error if error != headline else "", environment
                )
            case Stopped():
                store.release(claim.run_id, claim.owner)
                self.held = False
                yield Ended("waiting", "saved and released")
            case ProcessFailure(outcome, error, final):
                self.process.end()
                output = self.process.output()
                store.fail(claim.run_id, claim.owner, error, outcome=outcome, output=output, again=not final)
                self.held = False
                yield Ended("failed" if final else "waiting", error, crash_site(output))

    def _remarks(self, resumed: Resumed) -> Iterator[CellProgress]:
        for path in resumed.damaged:
            remark = f"{path} is damaged or missing and was not used; goes on from step {resumed.step}"
            yield CellProgress("train", 0.0, remark)
        before = [threads for threads in resumed.threads if threads != self._options.threads_each]
        if before:
            yield CellProgress(
                "train",
                0.0,
                f"computed so far with {before[0]} CPU threads, now with {self._options.threads_each}: "
                "the last bits will differ from an uninterrupted run's (recorded as training_threads)",
            )

    def _write_when_due(self) -> None:
        fresh = FRESH if self._steps or self._interims else math.inf
        if time.monotonic() - self._written > min(self._store.lease / HEARTBEATS, fresh):
            self._log(None)

    def _log(self, saved: SavedCheckpoint | None) -> None:
        """Write the points that have come, and a checkpoint with them; renews the lease in any case."""
        if self._steps or self._interims or saved is not None:
            self._store.log(self.run_id, self._claim.owner, self._steps, saved, self._interims)
        else:
            self._store.heartbeat(self.run_id, self._claim.owner)
        self._steps, self._interims = [], []
        self._written = time.monotonic()

    def release(self) -> None:
        """End the process and release the claim, if it is held; a store that is out of reach lets the lease run out."""
        if self.held:
            self.process.end()
            with suppress(StoreError):
                self._store.release(self.run_id, self._claim.owner)
            self.held = False
