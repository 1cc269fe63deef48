"""Has cells computed by processes of which any may die at any moment: it claims, listens, writes, and starts anew.

The supervisor alone talks to the store, and it computes nothing, so that its signs of life never wait for anything
longer than a database.  What a worker process says (`harness/events.py`) is written in the order it was said; a
checkpoint counts from the transaction on that has every point of the curve up to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from harness.config import RunConfig
from harness.errors import EnvironmentProblem, HarnessError, StoreError
from harness.owners import host_of, this_owner
from harness.records import Progress
from harness.rules import DEFAULT, Rules, alike
from harness.seat import Ended, Seat
from harness.store import Store
from harness.worker import server

__all__ = ["DEFAULT", "Rules", "supervise"]

TICK = 0.2  # seconds between two looks at the clock
POLL = 1.0  # seconds between two attempts to claim something where nothing was free


class FailedAlike(HarnessError):
    """The first cells all failed, and for the same reason."""

    exit_code = 1


def supervise(
    store: Store, rules: Rules, cells: Sequence[RunConfig] | None, stopping: Callable[[], bool]
) -> Iterator[Progress]:
    """Work on free cells until none is left, in whoever's hands; `cells` None means all that the store has.

    Stop reading, or let `stopping` say True, and the cells at hand are saved and given back.

    Raises:
        StoreError: the store is out of reach, or SQLite and in use on another host.
        EnvironmentProblem: no room for a checkpoint.
        FailedAlike: the first cells failed alike, and `rules.keep_going` is None.
    """
    elsewhere = store.hosts() - {host_of(this_owner())}
    if elsewhere and store.is_file:
        raise StoreError(
            f"{store.url} is in use on {', '.join(sorted(elsewhere))}: SQLite serves one host; for several give "
            "--store postgresql://USER@HOST/DATABASE?files=/FOLDER"
        )
    store.sweep()
    office = _Office(store, rules, cells)
    try:
        yield from office.run(stopping)
    finally:
        office.close()


class _Office:
    """The seats at which cells are computed, and what has become of the cells so far."""

    def __init__(self, store: Store, rules: Rules, cells: Sequence[RunConfig] | None) -> None:
        context = server()
        self.store, self.rules = store, rules
        self.among = None if cells is None else [config.run_id for config in cells]
        self.known = {} if cells is None else {config.run_id: config for config in cells}
        self.position = {run_id: at for at, run_id in enumerate(self.among or (), start=1)}
        self.seats = [Seat(store, rules, context) for _ in range(rules.workers)]
        self.ended: list[Ended] = []
        self.crashes: dict[str, int] = {}
        self.last_claim = -POLL

    def run(self, stopping: Callable[[], bool]) -> Iterator[Progress]:
        told: set[str] = set()
        before = time.monotonic()
        while not stopping():
            for seat in self.seats:
                yield from self._claim(seat)
            busy = [seat for seat in self.seats if seat.claim is not None]
            if not busy:
                left = self.store.unfinished(self.among)
                if not left and not self.rules.forever:
                    return
                for run_id, owner in left.items():
                    if owner is not None and run_id not in told:
                        told.add(run_id)
                        yield self._progress(run_id, "waiting", 0.0, f"held by {owner}")
            wait([seat.connection for seat in busy], timeout=TICK if busy else min(POLL, self.store.lease / 4))
            gap = time.monotonic() - before
            before += gap
            for seat in busy:
                if gap > 5 * TICK:  # frozen, or the database was busy: silence meanwhile was not the worker's
                    seat.forgive(gap)
                yield from self._hear(seat)

    def _claim(self, seat: Seat) -> Iterator[Progress]:
        since = time.monotonic() - self.last_claim
        if seat.claim is not None or since < min(POLL, self.store.lease / 4) or not seat.open():
            return
        claim = self.store.claim_next(this_owner(), self.among)
        if claim is None:
            self.last_claim = time.monotonic()
            return
        try:
            config = self.known.get(claim.run_id) or self.store.config(claim.run_id)
        except StoreError as error:
            self.store.fail(claim.run_id, claim.owner, str(error))
            return
        self.known[claim.run_id] = config
        seat.start(claim, config)
        step = claim.checkpoints[0].step if claim.checkpoints else 0
        yield self._progress(claim.run_id, "base", 0.0, f"goes on from step {step}" if step else "")

    def _hear(self, seat: Seat) -> Iterator[Progress]:
        assert seat.claim is not None
        run_id = seat.claim.run_id
        crashes = self.crashes.get(run_id, 0)
        for at in seat.hear(again=crashes + 1 < self.rules.crashes):
            if not isinstance(at, Ended):
                yield self._progress(run_id, at.stage, at.fraction, at.message)
                continue
            if at.environment:
                raise EnvironmentProblem(at.error)
            if at.crashed:
                self.crashes[run_id] = crashes + 1
            if at.final:
                self.ended.append(at)
            yield self._progress(run_id, at.stage, 1.0, at.error)
            self._judge()

    def _judge(self) -> None:
        """End it all where going on makes no sense."""
        failures = [one for one in self.ended if one.stage == "failed"]
        if failures and self.rules.keep_going is False:
            raise FailedAlike(f"stopped at the first failed cell (--fail-fast): {failures[0].error}")
        first = self.ended[: self.rules.alike]
        same = len(first) == self.rules.alike and len({alike(one.error) for one in first}) == 1
        if same and first[0].stage == "failed" and self.rules.keep_going is None:
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
            deadline = time.monotonic() + self.rules.grace
            while any(seat.claim for seat in self.seats) and time.monotonic() < deadline:
                busy = [seat for seat in self.seats if seat.claim is not None]
                wait([seat.connection for seat in busy], timeout=TICK)
                for seat in busy:
                    for _ in seat.hear(again=True):
                        pass
        finally:  # also where a second Ctrl-C ends the wait
            for seat in self.seats:
                seat.release()
                seat.close()
