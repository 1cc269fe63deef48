"""Has cells computed by processes of which any may die at any moment: it claims, listens, writes, and starts anew.

The supervisor alone talks to the store, and it computes nothing, so that its signs of life never wait for anything
longer than a database.  What a worker process says (`harness/records/events.py`) is written in the order it was said; a
checkpoint counts from the transaction on that has every point of the curve up to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import pairwise
from multiprocessing.connection import wait
from typing import Any

from harness.config.run import RunConfig
from harness.errors import EnvironmentProblem, HarnessError, StoreError
from harness.records.progress import Progress
from harness.runner.options import DEFAULT, RunnerOptions, alike
from harness.runner.process import Ended, Seat
from harness.runner.worker import server
from harness.storage.store import Store
from harness.system.processes import host_of, this_owner

__all__ = ["DEFAULT", "RunnerOptions", "supervise"]

TICK = 0.2  # seconds between two looks at the clock
POLL = 1.0  # seconds between two attempts to claim something where nothing was free
LONGEST = 2.0  # seconds between two attempts to reach a store that is out of reach


class Unreadable(StoreError):
    """A cell that this version of the harness cannot compute; another's could."""


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
    """Work on free cells until none is left, in whoever's hands.

    `cells` None means all that the store has, or all of `grid`, with those that somebody adds meanwhile.  Stop reading,
    or let `stopping` say True, and the cells at hand are saved and given back.

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
    office = _Office(store, options, cells, grid)
    try:
        yield from office.run(stopping)
    finally:
        office.close()


class _Office:
    """The seats at which cells are computed, and what has become of the cells so far."""

    def __init__(
        self, store: Store, options: RunnerOptions, cells: Sequence[RunConfig] | None, grid: str | None
    ) -> None:
        context = server()
        self.store, self.options, self.grid = store, options, grid
        self.among = None if cells is None else [config.run_id for config in cells]
        self.known = {} if cells is None else {config.run_id: config for config in cells}
        self.position: dict[str, int] = {}
        self.seats = [Seat(store, options, context) for _ in range(options.workers)]
        self.ended: list[Ended] = []
        self.told: set[str] = set()
        self.died: dict[str, int] = {}
        self.last_claim, self.before = -POLL, time.monotonic()
        self._count()

    def _count(self) -> None:
        """Which cells there are to do: a grid may have grown."""
        if self.grid is not None:
            self.among = list(self.store.runs(self.grid)["run_id"])
        for run_id in self.among or ():
            self.position.setdefault(run_id, len(self.position) + 1)

    def run(self, stopping: Callable[[], bool]) -> Iterator[Progress]:
        reached, pause = time.monotonic(), TICK
        while not stopping():
            try:
                if not (yield from self._round()):
                    return
                reached, pause = time.monotonic(), TICK
            except Unreadable:
                raise
            except StoreError as error:  # a server may be starting again; what workers have said is kept meanwhile
                if time.monotonic() + pause - reached > self.store.lease:
                    raise
                for seat in self.seats:
                    if seat.claim is not None and pause == TICK:
                        yield self._progress(seat.claim.run_id, "waiting", 0.0, f"for the store: {error}")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)

    def _round(self) -> Generator[Progress, None, bool]:
        """Claim, listen, and write down what was said; False when nothing is left."""
        for seat in self.seats:
            yield from self._claim(seat)
        busy = [seat for seat in self.seats if seat.claim is not None]
        if not busy:
            left = self.store.unfinished(self.among)
            if not left and not self.options.forever:
                return False
            for run_id, owner in left.items():
                if owner is not None and run_id not in self.told:
                    self.told.add(run_id)
                    yield self._progress(run_id, "waiting", 0.0, f"held by {owner}")
        _wait(busy, TICK if busy else min(POLL, self.store.lease / 4))
        gap = time.monotonic() - self.before
        self.before += gap
        problem = None
        for seat in busy:
            if gap > 5 * TICK:  # frozen, or the database was busy: silence meanwhile was not the worker's
                seat.forgive(gap)
            try:
                yield from self._hear(seat)
            except StoreError as error:  # the others are heard all the same
                problem = error
        if problem is not None:
            raise problem
        return True

    def _claim(self, seat: Seat) -> Iterator[Progress]:
        since = time.monotonic() - self.last_claim
        if seat.claim is not None or since < min(POLL, self.store.lease / 4) or not seat.open():
            return
        claim = self.store.claim_next(this_owner(), self.among)
        if claim is None:
            self.last_claim = time.monotonic()
            self._count()
            return
        died = deaths(self.store.attempts(claim.run_id).to_dict("records"), self.options.crashes)
        if died >= self.options.crashes:
            error = f"its last {died} attempts ended with their workers; `harness retry {claim.run_id}` tries it again"
            self.store.fail(claim.run_id, claim.owner, error)
            yield from self._ended(claim.run_id, Ended("failed", error))
            return
        try:
            config = self.known.get(claim.run_id) or self.store.config(claim.run_id)
        except StoreError as error:
            self.store.release(claim.run_id, claim.owner)  # raises, too, where the store is out of reach
            raise Unreadable(f"{error}; the cell is free for workers of that version: have them finish it") from error
        self.known[claim.run_id] = config
        self.died[claim.run_id] = died
        seat.start(claim, config)
        step = claim.checkpoints[0].step if claim.checkpoints else 0
        yield self._progress(claim.run_id, "base", 0.0, f"goes on from step {step}" if step else "")

    def _hear(self, seat: Seat) -> Iterator[Progress]:
        assert seat.claim is not None
        run_id = seat.claim.run_id
        for at in seat.hear(again=self.died[run_id] + 1 < self.options.crashes):
            if not isinstance(at, Ended):
                yield self._progress(run_id, at.stage, at.fraction, at.message)
                continue
            if at.environment:
                raise EnvironmentProblem(at.error)
            yield from self._ended(run_id, at)

    def _ended(self, run_id: str, at: Ended) -> Iterator[Progress]:
        if at.final:
            self.ended.append(at)
        yield self._progress(run_id, at.stage, 1.0, at.error)
        self._judge()

    def _judge(self) -> None:
        """End it all where going on makes no sense."""
        failures = [one for one in self.ended if one.stage == "failed"]
        if failures and self.options.keep_going is False:
            raise FailedAlike(f"stopped at the first failed cell (--fail-fast): {failures[0].error}")
        first = self.ended[: self.options.alike]
        same = len(first) == self.options.alike and len({alike(one.error) for one in first}) == 1
        if same and first[0].stage == "failed" and self.options.keep_going is None:
            raise FailedAlike(
                f"the first {len(first)} cells failed alike: {first[-1].error}\n"
                "mend that, and the same command goes on; or add --keep-going to run the others all the same"
            )

    def _progress(self, run_id: str, stage: Any, fraction: float, message: str) -> Progress:
        config = self.known.get(run_id)
        label = "" if config is None else config.label
        at = self.position.setdefault(run_id, len(self.position) + 1)
        return Progress(run_id, at, len(self.position), stage, fraction, message, label)

    def close(self) -> None:
        """Let the workers save what they have, give their cells back, and end them."""
        try:
            for seat in self.seats:
                seat.ask_to_stop()
            deadline = time.monotonic() + self.options.grace
            while any(seat.claim for seat in self.seats) and time.monotonic() < deadline:
                busy = [seat for seat in self.seats if seat.claim is not None]
                _wait(busy, TICK)
                for seat in busy:
                    try:
                        for _ in seat.hear(again=True):
                            pass
                    except StoreError:  # the others save their cells all the same, and this one perhaps a moment later
                        time.sleep(TICK)
        finally:  # also where a second Ctrl-C ends the wait
            for seat in self.seats:
                seat.release()
                seat.close()


def deaths(attempts: Sequence[Mapping[Any, Any]], limit: int) -> int:
    """How many attempts in a row, up to the one before the last, died or fell silent, on whatever machine.

    An attempt that was lost with its worker counts unless the next one began further on: then the machine was taken
    away, and the cell gets on.  One that crashed as the `limit`-th has failed the cell; what follows was asked for.
    """
    count = 0
    for one, then in pairwise(sorted(attempts, key=lambda row: int(row["attempt"]))):
        if one["outcome"] in ("crashed", "stalled"):
            count = 0 if count + 1 >= limit else count + 1
        else:
            count = count + 1 if one["outcome"] == "lost" and then["from_step"] <= one["from_step"] else 0
    return count


def _wait(seats: Sequence[Seat], seconds: float) -> None:
    """Until one of them has something to say."""
    wait([seat.connection for seat in seats if not seat.connection.closed], timeout=seconds)
