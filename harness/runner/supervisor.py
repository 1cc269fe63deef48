"""The supervisor: claims cells, lets worker processes compute them, replaces those that crash or stall.

The supervisor alone talks to the store, and it computes nothing, so that its heartbeats never wait for anything
longer than a database.  What a worker process reports (`harness/records/events.py`) is written in the order in which it
was sent; a checkpoint counts from the transaction on that has every point of the curve up to it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import wait
from typing import Any

from harness.config.run import RunConfig
from harness.errors import EnvironmentProblem, HarnessError, StoreError
from harness.records.progress import Progress, Stage
from harness.runner.options import RunnerOptions, error_pattern
from harness.runner.recorder import CellRecorder, Ended
from harness.runner.worker import server
from harness.runner.worker_process import WorkerProcess
from harness.storage.removal import finish
from harness.storage.store import Store
from harness.system.processes import host_of, this_owner

TICK = 0.2  # seconds between two looks at the clock
REPEAT = 5.0  # seconds of silence after which the last progress of a cell is yielded again
POLL = 1.0  # seconds between two attempts to claim a cell where none was free
PROMPT = 3.0  # seconds that a worker has for its answer to a request to stop
LONGEST = 2.0  # seconds between two attempts to reach a store that is out of reach


class Unreadable(StoreError):
    """A cell that this version of the harness cannot compute; another version could."""


class FailedAlike(HarnessError):
    """The first cells all failed, and for the same reason."""

    exit_code = 1


def supervise(
    store: Store,
    options: RunnerOptions,
    cells: Sequence[RunConfig] | None,
    stopping: Callable[[], bool],
    *,
    grid: str | None = None,
) -> Iterator[Progress]:
    """Compute free cells until none is left, also none that another supervisor holds.

    `cells` None means all that the store has, or all of `grid`, with those that are added meanwhile.  Stop reading,
    or let `stopping` return True, and the cells at hand are saved and released.

    Raises:
        StoreError: the store is out of reach for longer than a lease, SQLite and in use on another host, or has a cell
            of another version.
        EnvironmentProblem: no room for a checkpoint.
        FailedAlike: the first cells failed alike, and `options.keep_going` is None.
    """
    elsewhere = store.hosts() - {host_of(this_owner())}
    if elsewhere and store.is_file:
        raise StoreError(
            f"{store.url} is in use on {', '.join(sorted(elsewhere))}: SQLite serves one host; for several give "
            "--store postgresql://USER@HOST/DATABASE?files=/FOLDER"
        )
    store.sweep()
    with suppress(StoreError):  # files that stay do no harm
        finish(store)  # a removal that was killed
    pool = _Pool(store, options, cells, grid)
    try:
        yield from pool.run(stopping)
    finally:
        pool.close()


class _Pool:
    """Worker processes, the cells that they compute, and the outcomes of the cells so far."""

    def __init__(
        self, store: Store, options: RunnerOptions, cells: Sequence[RunConfig] | None, grid: str | None
    ) -> None:
        context = server()
        self.store, self.options, self.grid = store, options, grid
        self.among = None if cells is None else [config.run_id for config in cells]
        self.known = {} if cells is None else {config.run_id: config for config in cells}
        self.position: dict[str, int] = {}
        self.workers = [WorkerProcess(options, context) for _ in range(options.workers)]
        self.claimed: dict[WorkerProcess, CellRecorder] = {}  # the last cell of each worker; held, or ended
        self.shown: dict[str, tuple[float, Stage, float]] = {}  # of each run: when its progress was yielded, and what
        self.outcomes: list[Ended] = []
        self.held_elsewhere: dict[str, float] = {}  # of each run that is: when that was reported
        self.last_claim, self.last_poll = -POLL, time.monotonic()
        self._update_positions()

    def _update_positions(self) -> None:
        """Number the cells; a grid may have grown."""
        if self.grid is not None:
            self.among = list(self.store.runs(self.grid)["run_id"])
        for run_id in self.among or ():
            self.position.setdefault(run_id, len(self.position) + 1)

    def _held(self) -> list[CellRecorder]:
        """The cells at hand, in the order of their workers."""
        cells = (self.claimed.get(worker) for worker in self.workers)
        return [cell for cell in cells if cell is not None and cell.held]

    def _start(self) -> None:
        """Start a worker, which takes as long as the server imports; a failure is met again where it is claimed for."""
        with suppress(EnvironmentProblem):
            self.workers[0].start()

    def run(self, stopping: Callable[[], bool]) -> Iterator[Progress]:
        """Compute cells until none is left or `stopping` returns True."""
        starting = threading.Thread(target=self._start, daemon=True)
        starting.start()
        while starting.is_alive() and not stopping():
            starting.join(TICK)
        reached, pause = time.monotonic(), TICK
        while not stopping():
            try:
                if not (yield from self._round()):
                    return
                reached, pause = time.monotonic(), TICK
            except Unreadable:
                raise
            except StoreError as error:  # a server may be starting again; unwritten messages are kept meanwhile
                if time.monotonic() + pause - reached > self.store.lease:
                    raise
                for cell in self._held():
                    if pause == TICK:
                        yield self._progress(cell.run_id, "waiting", 0.0, f"for the store: {error}")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)

    def _round(self) -> Generator[Progress, None, bool]:
        """Claim cells for free workers, and write what the others report; False when nothing is left."""
        for worker in self.workers:
            yield from self._claim(worker)
        held = self._held()
        if not held:
            left = self.store.unfinished(self.among)
            if not left and not self.options.forever:
                return False
            for run_id, owner in left.items():
                if owner is not None and time.monotonic() - self.held_elsewhere.get(run_id, -math.inf) > REPEAT:
                    message = "" if run_id in self.held_elsewhere else f"held by {owner}"
                    self.held_elsewhere[run_id] = time.monotonic()
                    yield self._progress(run_id, "waiting", 0.0, message)
        _wait(held, TICK if held else min(POLL, self.store.lease / 4))
        gap = time.monotonic() - self.last_poll
        self.last_poll += gap
        problem = None
        for cell in held:
            if gap > 5 * TICK:  # frozen, or the database was busy: silence meanwhile was not the worker's
                cell.process.extend_deadline(gap)
            try:
                yield from self._poll(cell)
            except StoreError as error:  # the others are polled all the same
                problem = error
            if cell.held and time.monotonic() - self.shown[cell.run_id][0] > REPEAT:
                yield self._progress(cell.run_id, *self.shown[cell.run_id][1:], "")
        if problem is not None:
            raise problem
        return True

    def _claim(self, worker: WorkerProcess) -> Iterator[Progress]:
        """Give a free worker the next free cell, if there is one."""
        since = time.monotonic() - self.last_claim
        last = self.claimed.get(worker)
        busy = last is not None and last.held
        if busy or since < min(POLL, self.store.lease / 4) or not worker.start():
            return
        claim = self.store.claim_next(this_owner(), self.among)
        if claim is None:
            self.last_claim = time.monotonic()
            self._update_positions()
            return
        crashes = crashes_in_a_row(self.store.attempts(claim.run_id).to_dict("records"), self.options.crashes)
        if crashes >= self.options.crashes:
            error = (
                f"its last {crashes} attempts ended with their workers; `harness retry {claim.run_id}` tries it again"
            )
            self.store.fail(claim.run_id, claim.owner, error)
            yield from self._end(claim.run_id, Ended("failed", error))
            return
        try:
            config = self.known.get(claim.run_id) or self.store.config(claim.run_id)
        except StoreError as error:
            self.store.release(claim.run_id, claim.owner)  # raises, too, where the store is out of reach
            raise Unreadable(f"{error}; the cell is free for workers of that version: have them finish it") from error
        self.known[claim.run_id] = config
        self.claimed[worker] = cell = CellRecorder(self.store, self.options, claim, worker, crashes)
        cell.start(config)
        step = claim.checkpoints[0].step if claim.checkpoints else 0
        yield self._progress(claim.run_id, "load", 0.0, f"goes on from step {step}" if step else "")

    def _poll(self, cell: CellRecorder) -> Iterator[Progress]:
        for event in cell.poll(again=cell.crashes + 1 < self.options.crashes):
            if not isinstance(event, Ended):
                yield self._progress(cell.run_id, event.stage, event.fraction, event.message)
                continue
            if event.environment:
                raise EnvironmentProblem(event.error)
            yield from self._end(cell.run_id, event)

    def _end(self, run_id: str, ended: Ended) -> Iterator[Progress]:
        if ended.final:
            self.outcomes.append(ended)
        yield self._progress(run_id, ended.stage, 1.0, ended.error, ended.details)
        self._check_failures()

    def _check_failures(self) -> None:
        """End the whole grid where going on makes no sense.

        Raises:
            FailedAlike: a cell failed and the first failure ends all, or the first `alike` cells failed alike.
        """
        failures = [ended for ended in self.outcomes if ended.stage == "failed"]
        if failures and self.options.keep_going is False:
            raise FailedAlike(f"stopped at the first failed cell (--fail-fast): {failures[0].error}")
        first = self.outcomes[: self.options.alike]
        same = len(first) == self.options.alike and len({error_pattern(ended.error) for ended in first}) == 1
        if same and first[0].stage == "failed" and self.options.keep_going is None:
            raise FailedAlike(
                f"the first {len(first)} cells failed alike: {first[-1].error}\n"
                "fix that, and the same command goes on; or add --keep-going to run the others all the same"
            )

    def _progress(self, run_id: str, stage: Stage, fraction: float, message: str, details: str = "") -> Progress:
        config = self.known.get(run_id)
        label = "" if config is None else config.label
        position = self.position.setdefault(run_id, len(self.position) + 1)
        if stage != "waiting":
            self.shown[run_id] = time.monotonic(), stage, fraction
        return Progress(run_id, position, len(self.position), stage, fraction, message, label, details)

    def close(self) -> None:
        """Let the workers save what they have, release their cells, and end them.

        One that saves a training has `options.grace` for it.  One that does not say so within `PROMPT` computes
        something that cannot be cut, and is ended: its run goes on from its last checkpoint.
        """
        try:
            began, grace = time.monotonic(), dict.fromkeys(self._held(), min(PROMPT, self.options.grace))
            for cell in grace:
                cell.process.ask_to_stop()
            while held := [cell for cell in self._held() if time.monotonic() < began + grace[cell]]:
                _wait(held, TICK)
                for cell in held:
                    try:
                        for event in cell.poll(again=True):
                            if event.stage == "save":
                                grace[cell] = self.options.grace
                    except StoreError:  # the others save their cells all the same, and this one perhaps a moment later
                        time.sleep(TICK)
        finally:  # also where a second Ctrl-C ends the wait
            for worker in self.workers:
                if worker in self.claimed:
                    self.claimed[worker].release()
                worker.close()


def crashes_in_a_row(attempts: Sequence[Mapping[Any, Any]], limit: int) -> int:
    """Number of attempts in a row, up to the one before the last, that crashed, stalled or were lost, on any machine.

    An attempt that was lost with its worker counts unless the next one began further on: then the machine was taken
    away, and the cell makes progress.  One that crashed as the `limit`-th has failed the cell; what follows was
    requested by hand and counts anew.
    """
    count = 0
    for attempt, following in pairwise(sorted(attempts, key=lambda row: int(row["attempt"]))):
        if attempt["outcome"] in ("crashed", "stalled"):
            count = 0 if count + 1 >= limit else count + 1
        else:
            lost = attempt["outcome"] == "lost" and following["from_step"] <= attempt["from_step"]
            count = count + 1 if lost else 0
    return count


def _wait(cells: Sequence[CellRecorder], seconds: float) -> None:
    """Wait until the process of one of them has sent a message, for `seconds` at most."""
    pipes = [cell.process.connection for cell in cells]
    wait([pipe for pipe in pipes if not pipe.closed], timeout=seconds)
