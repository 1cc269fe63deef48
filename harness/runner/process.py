"""One worker process and the cell it computes: starts it, writes down what it says, ends it when it is silent."""

from __future__ import annotations

import math
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from harness.config.run import RunConfig
from harness.errors import EnvironmentProblem, StoreError
from harness.records.events import Results, Resumed, SavedCheckpoint, StageProgress
from harness.records.progress import Stage
from harness.records.training import Interim, Step
from harness.runner.messages import Failed, Job, Message, Stop, Stopped
from harness.runner.options import RunnerOptions
from harness.runner.worker import work
from harness.storage.queue import Claim, LostClaim
from harness.storage.store import Store

LINES = 50  # of a failed attempt's output are kept
BEATS = 4  # signs of life per lease
REFUSALS = 3  # of a process to start, one after another, until that is this machine's trouble
FRESH = 1.0  # seconds after which a point of a curve is in the store, for whoever watches


@dataclass(frozen=True)
class Now:
    """Where the cell is, for whoever shows it."""

    stage: Stage
    fraction: float
    message: str = ""


@dataclass(frozen=True)
class Ended:
    """The attempt is over.

    Attributes:
        stage: `done`, `failed`, or `waiting` where the cell is free again.
        error: why, in one paragraph.
        environment: nothing can be computed on this machine as it stands.
    """

    stage: Stage
    error: str = ""
    environment: bool = False

    @property
    def final(self) -> bool:
        """Whether the cell is not to be tried again."""
        return self.stage != "waiting"


class Seat:
    """A worker process, started when it is needed, and the claim that it works on.

    Attributes:
        claim: what is being computed; None while the seat is free.
        connection: the pipe to the process.
    """

    def __init__(self, store: Store, options: RunnerOptions, context: ForkServerContext) -> None:
        """A free seat without a process."""
        self._store, self._rules, self._context = store, options, context
        self.claim: Claim | None = None
        self.connection: Connection
        self._process: BaseProcess | None = None
        self._body: psutil.Process  # the process as this machine knows it
        self._refusals = 0
        self._output = Path()
        self._steps: list[Step] = []
        self._interims: list[Interim] = []
        self._unwritten: Message | None = None  # what was heard, and the store has not taken yet
        self._verdict = "", "", False  # why the process was ended: outcome, error, again
        self._heard = self._began = self._written = self._forgiven = 0.0

    def open(self) -> bool:
        """Have a process ready; False when that did not work this time.

        Raises:
            EnvironmentProblem: it has not worked for the third time in a row.
        """
        if self._process is not None and not self._gone():
            return True
        self._discard()
        try:
            self._open()
        except (EOFError, OSError, psutil.NoSuchProcess) as error:  # the next start makes a new fork server
            self._refusals += 1
            if self._refusals < REFUSALS:
                return False
            raise EnvironmentProblem(
                f"no worker process could be started, {REFUSALS} times in a row: {str(error) or 'its server ended'}; "
                f"what it printed stands above; make room in {tempfile.gettempdir()} and in memory, look at "
                "`ulimit -n -u`, or let `python -m harness.preload` say what does not import"
            ) from error
        self._refusals = 0
        return True

    def _open(self) -> None:
        handle, name = tempfile.mkstemp(prefix="harness-output-")
        os.close(handle)
        self._output = Path(name)
        ours, theirs = self._context.Pipe()
        try:
            arguments = (theirs, name, self._rules.threads_each, self._rules.include)
            process = self._context.Process(target=work, args=arguments, daemon=True)
            process.start()
            self._body = psutil.Process(process.pid)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.connection, self._process = ours, process

    def _gone(self) -> bool:
        """Whether the process has ended; the fork server's own end, which looks like it, is no proof."""
        assert self._process is not None
        if self._process.is_alive():
            return False
        try:
            return not self._body.is_running() or self._body.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def start(self, claim: Claim, config: RunConfig) -> None:
        """Give the process a claimed cell."""
        self.claim, self._steps, self._interims, self._unwritten = claim, [], [], None
        self._heard = self._began = self._written = time.monotonic()
        self._forgiven = 0.0
        with suppress(OSError):
            os.truncate(self._output, 0)
        job = Job(
            run_id=claim.run_id,
            attempt=claim.attempt,
            config=config.model_dump_json(),
            folder=str(self._store.folder),
            device=self._rules.device,
            checkpoints=claim.checkpoints,
            every=self._rules.checkpoint_every,
        )
        with suppress(OSError):  # it died meanwhile: `hear` will say so
            self.connection.send(job)

    def forgive(self, seconds: float) -> None:
        """Do not count a time in which nobody could listen as silence: the longest such time, once per silence."""
        more = max(0.0, seconds - self._forgiven)
        self._heard, self._forgiven = self._heard + more, self._forgiven + more

    def hear(self, *, again: bool) -> Iterator[Now | Ended]:
        """Write down what the process has said, and judge its silence; `again`: a crash leaves the cell free.

        Raises:
            StoreError: it could not be written; it is kept, and the next call tries again.
        """
        assert self.claim is not None
        try:
            if self._process is None:
                yield self._end(*self._verdict)
                return
            while self.claim is not None and (self._unwritten is not None or self.connection.poll()):
                if self._unwritten is None:
                    try:
                        self._unwritten = self.connection.recv()
                    except (EOFError, OSError):
                        yield self._crash(again)
                        return
                    self._heard, self._forgiven = time.monotonic(), 0.0
                assert self._unwritten is not None
                yield from self._write(self._unwritten)
                self._unwritten = None
            if self.claim is not None:
                yield from self._watch(again)
        except LostClaim as error:
            self._discard()
            self.claim = None
            yield Ended("waiting", str(error))

    def _write(self, said: Message) -> Iterator[Now | Ended]:
        claim, store = self.claim, self._store
        assert claim is not None
        match said:
            case Step():
                self._steps.append(said)
            case Interim():
                self._interims.append(said)
            case SavedCheckpoint():
                self._log(said)
            case StageProgress():
                yield Now(said.stage, said.fraction)
            case Resumed():
                if claim.checkpoints and said.step < claim.checkpoints[0].step:
                    store.rewind(claim.run_id, claim.owner, said.step)
                yield from self._remarks(said)
            case Results():
                self._log(None)
                store.finish(
                    claim.run_id,
                    claim.owner,
                    scores=said.scores,
                    profiles=said.profiles,
                    prompts=said.prompts,
                    rollouts=said.rollouts,
                    backspace_id=said.backspace_id,
                    provenance=said.provenance,
                )
                self.claim = None
                yield Ended("done")
            case Failed():
                self._log(None)
                if said.environment:
                    store.release(claim.run_id, claim.owner)
                else:
                    store.fail(claim.run_id, claim.owner, said.error, output=self._tail())
                self.claim = None
                self._discard()  # the next cell gets a process that nothing has happened to
                yield Ended("waiting" if said.environment else "failed", said.headline, environment=said.environment)
            case Stopped():
                store.release(claim.run_id, claim.owner)
                self.claim = None
                yield Ended("waiting", "saved and given back")

    def _remarks(self, resumed: Resumed) -> Iterator[Now]:
        for path in resumed.damaged:
            yield Now("train", 0.0, f"{path} is damaged or missing and was not used; goes on from step {resumed.step}")
        before = [threads for threads in resumed.threads if threads != self._rules.threads_each]
        if before:
            yield Now(
                "train",
                0.0,
                f"computed so far with {before[0]} CPU threads, now with {self._rules.threads_each}: "
                "the last bits will differ from an uninterrupted run's (recorded as training_threads)",
            )

    def _watch(self, again: bool) -> Iterator[Ended]:
        assert self.claim is not None
        assert self._process is not None
        now, options = time.monotonic(), self._rules
        if self._gone() and not self.connection.poll():
            yield self._crash(again)
        elif now - self._heard > options.stall_after:
            yield self._end(
                "stalled", f"its process said nothing for {options.stall_after:.0f} s (--stall-after)", again
            )
        elif options.timeout is not None and now - self._began > options.timeout:
            yield self._end("failed", f"it took longer than {options.timeout:.0f} s (--timeout)", False)
        elif now - self._written > min(self._store.lease / BEATS, FRESH if self._steps or self._interims else math.inf):
            self._log(None)

    def _log(self, saved: SavedCheckpoint | None) -> None:
        """Write the points that have come, and a checkpoint with them; renews the lease in any case."""
        assert self.claim is not None
        if self._steps or self._interims or saved is not None:
            self._store.log(self.claim.run_id, self.claim.owner, self._steps, saved, self._interims)
        else:
            self._store.heartbeat(self.claim.run_id, self.claim.owner)
        self._steps, self._interims = [], []
        self._written = time.monotonic()

    def _crash(self, again: bool) -> Ended:
        assert self._process is not None
        self._process.join(1)
        code = self._process.exitcode
        how = f"signal {-code} ({signal.strsignal(-code)})" if code is not None and code < 0 else f"exit code {code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        return self._end("crashed", f"its process ended by {how}{hint}", again)

    def _end(self, outcome: str, error: str, again: bool) -> Ended:
        """End the process, and write why."""
        claim = self.claim
        assert claim is not None
        self._verdict = outcome, error, again
        self._discard_process()
        self._store.fail(claim.run_id, claim.owner, error, outcome=outcome, output=self._tail(), again=again)
        self.claim = None
        return Ended("waiting" if again else "failed", error)

    def _tail(self) -> str:
        try:
            text = self._output.read_bytes()[-100_000:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LINES:])

    def ask_to_stop(self) -> None:
        """Ask the process to save its cell and end it."""
        if self.claim is not None:
            with suppress(OSError):
                self.connection.send(Stop())

    def release(self) -> None:
        """Give the cell back as it is stored; who cannot reach the store lets the lease run out."""
        if self.claim is not None:
            self._discard_process()
            with suppress(StoreError):
                self._store.release(self.claim.run_id, self.claim.owner)
            self.claim = None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._discard()

    def _discard(self) -> None:
        self._discard_process()
        if self._output.name:
            self._output.unlink(missing_ok=True)
            self._output = Path()

    def _discard_process(self) -> None:
        if self._process is None:
            return
        if not self._gone():  # else its number may be another's by now
            with suppress(OSError):
                os.killpg(self._body.pid, signal.SIGKILL)
            with suppress(OSError, psutil.NoSuchProcess):
                self._body.kill()  # where it has no group of its own yet
        self._process.join(5)
        self._process = None
        self.connection.close()
