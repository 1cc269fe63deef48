"""`Queue`: claims, leases, fences, attempts and checkpoints, through which workers share a store.

A run is *claimed* by one owner at a time, under a *lease* that the owner renews.  Every later write starts by
updating the row of the run under the condition that the owner still holds it, and is refused otherwise.  This *fence*
makes it harmless to take a run from a worker that seems dead and is not.  The database is the only coordinator, and
its clock the only one that leases follow.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from harness.errors import StoreError
from harness.records.events import SavedCheckpoint
from harness.storage.engines import Mode, database_time
from harness.storage.reader import OVER, Reader, is_hidden
from harness.storage.schema import ATTEMPTS, CHECKPOINTS, CURVES, INTERIMS, RUNS, STATUSES
from harness.system.processes import has_ended, host_of

LEASE = 60.0  # seconds
KEPT = 2  # checkpoints per run: where the newest is damaged, the one before it serves
_CHUNK = 10_000  # run ids that one statement may name
_FREE: sa.ColumnElement[bool] = sa.or_(RUNS.c.status == "pending", sa.and_(RUNS.c.status == "running", OVER))
_SHOWN: sa.ColumnElement[bool] = sa.not_(is_hidden(RUNS))


class LostClaim(StoreError):
    """The run is held by another owner now, or has been released or finished: drop the work."""


@dataclass(frozen=True)
class Claim:
    """A run that is held: its owner, the attempt's number, and the checkpoints it may resume from, newest first.

    `owner` is unique: it ends in the attempt's number, which every claim of the run raises.
    """

    run_id: str
    owner: str
    attempt: int
    checkpoints: tuple[SavedCheckpoint, ...]


def now() -> str:
    """The current time as the store writes it for readers: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Queue(Reader):
    """A store through which workers coordinate: every method about claims and attempts, reading ones included.

    Attributes:
        lease: seconds for which a claim holds after its last renewal.
    """

    def __init__(self, url: str, *, mode: Mode = "rwc", lease: float = LEASE) -> None:
        """Open the store at `url`; where there is none, mode `rwc` creates it, its folder too.

        `url` is `sqlite:///PATH`, or `postgresql://USER@HOST/DATABASE?files=/FOLDER`; `lease` is in seconds.
        """
        super().__init__(url, mode)
        self.lease = lease

    # ------------------------------------------------------------------------------------------------ claiming

    def claim(self, run_id: str, owner: str) -> bool:
        """Claim a run under exactly this owner's name; True if `owner` holds it now.

        Free are pending and failed runs, running ones whose lease is over or whose process on this host has ended,
        and the owner's own.

        Raises:
            UnknownName: no such run.
        """
        with self.database.write() as connection:
            self._row(connection, run_id)
            self._release_ended(connection)
            mine = sa.and_(RUNS.c.status == "running", RUNS.c.owner == owner)
            wanted = sa.and_(RUNS.c.run_id == run_id, sa.or_(_FREE, RUNS.c.status == "failed", mine))
            return self._take(connection, wanted, lambda _: owner) is not None

    def claim_next(self, owner: str, among: Sequence[str] | None = None) -> Claim | None:
        """Claim the first free run, in order of creation; None when there is none.

        Free are pending runs, and running ones whose lease is over or whose process on this host has ended, unless
        they are archived.  Curve rows beyond the newest checkpoint are deleted: the attempt writes them again.

        Args:
            owner: name of the claiming process, as `this_owner` gives it.
            among: only these runs.
        """
        with self.database.write() as connection:
            self._release_ended(connection)
            for part in _chunks(among):
                here = sa.and_(_FREE, _SHOWN) if part is None else sa.and_(_FREE, _SHOWN, RUNS.c.run_id.in_(part))
                first = sa.select(RUNS.c.run_id).where(here).order_by(RUNS.c.created, RUNS.c.run_id).limit(1)
                wanted = RUNS.c.run_id == first.with_for_update(skip_locked=True).scalar_subquery()
                claim = self._take(connection, wanted, lambda attempt: f"{owner}#{attempt}")
                if claim is not None:
                    return claim
        return None

    def _take(self, connection: sa.Connection, wanted: sa.ColumnElement[bool], named: Any) -> Claim | None:
        """Claim the one wanted run if it is free: end the lost attempt, cut to the checkpoint, remove its leftovers.

        `named(attempt)` is the owner's name.
        """
        blank = dict.fromkeys(("finished", "error"))
        values = {"status": "running", "attempts": RUNS.c.attempts + 1, "started": now(), **blank}
        lease = database_time() + self.lease
        taken = sa.update(RUNS).where(wanted).values(values | {"lease_until": lease})
        row = connection.execute(taken.returning(RUNS.c.run_id, RUNS.c.attempts)).first()
        if row is None:
            return None
        claim = Claim(row.run_id, named(row.attempts), row.attempts, self._checkpoints(connection, row.run_id))
        self._end_attempt(connection, claim.run_id, "lost", "its worker ended, or did not renew its lease in time")
        step = claim.checkpoints[0].step if claim.checkpoints else 0
        self._cut(connection, claim.run_id, step, {"owner": claim.owner})
        attempt = {"run_id": claim.run_id, "attempt": claim.attempt, "owner": claim.owner, "started": now()}
        connection.execute(sa.insert(ATTEMPTS), [attempt | {"outcome": "running", "from_step": step}])
        # Under the lock: no earlier attempt can still register a file that it left.
        kept = {self.folder / saved.path for saved in claim.checkpoints}
        for file in self._checkpoint_folder(claim.run_id).glob("*"):
            if file not in kept:
                file.unlink(missing_ok=True)
        for leftover in (self.folder / "rollouts").glob(f"{claim.run_id}.*.partial"):
            leftover.unlink(missing_ok=True)
        return claim

    def _release_ended(self, connection: sa.Connection) -> None:
        """End the leases of processes of this host that have ended.

        A row that another transaction has locked is skipped: two that wait for each other's rows would wait for ever.
        """
        running = RUNS.c.status == "running"
        owners = connection.execute(sa.select(RUNS.c.owner).where(running).distinct()).scalars().all()
        for part in _chunks([owner for owner in owners if owner is not None and has_ended(owner)]):
            theirs = sa.select(RUNS.c.run_id).where(running, RUNS.c.owner.in_(part or []))
            free = theirs.with_for_update(skip_locked=True)
            connection.execute(sa.update(RUNS).where(RUNS.c.run_id.in_(free)).values(lease_until=0.0))

    def _cut(self, connection: sa.Connection, run_id: str, step: int, values: Mapping[str, Any]) -> None:
        """Delete a run's curve and interim scores beyond `step`, and update its row to match."""
        for table in (CURVES, INTERIMS):
            connection.execute(sa.delete(table).where(table.c.run_id == run_id, table.c.step > step))
        last = sa.select(CURVES).where(CURVES.c.run_id == run_id).order_by(CURVES.c.step.desc()).limit(1)
        found = connection.execute(last).mappings().first()
        row: Mapping[Any, Any] = {} if found is None else found
        there = {name: row.get(name) for name in ("step", "tokens", "seconds")}
        connection.execute(sa.update(RUNS).where(RUNS.c.run_id == run_id).values(**there, **values))

    # ------------------------------------------------------------------------------------------ holding a claim

    def heartbeat(self, run_id: str, owner: str) -> None:
        """Renew the lease of a run.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self.database.write() as connection:
            self._fence(connection, run_id, owner, {})

    def register(self, connection: sa.Connection, run_id: str, saved: SavedCheckpoint) -> None:
        """Register a checkpoint file, inside a fenced transaction; rows of the ones it replaces are deleted."""
        row = {"run_id": run_id, **dataclasses.asdict(saved)}
        here = CHECKPOINTS.c.run_id == run_id
        connection.execute(sa.delete(CHECKPOINTS).where(here, CHECKPOINTS.c.step >= saved.step))
        connection.execute(sa.insert(CHECKPOINTS), [row])
        for old in self._checkpoints(connection, run_id)[KEPT:]:
            connection.execute(sa.delete(CHECKPOINTS).where(here, CHECKPOINTS.c.step == old.step))

    def rewind(self, run_id: str, owner: str, step: int) -> None:
        """Go back to an older checkpoint, or to step 0, because the checkpoints beyond `step` are damaged.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self.database.write() as connection:
            self._fence(connection, run_id, owner, {})
            connection.execute(sa.delete(CHECKPOINTS).where(CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.step > step))
            self._cut(connection, run_id, step, {})
            mine = sa.and_(ATTEMPTS.c.run_id == run_id, ATTEMPTS.c.outcome == "running")
            connection.execute(sa.update(ATTEMPTS).where(mine).values(from_step=step))

    def fail(
        self,
        run_id: str,
        owner: str,
        error: str,
        *,
        outcome: str = "failed",
        output: str | None = None,
        again: bool = False,
    ) -> None:
        """End an attempt with the reason; the run is failed, or with `again` free for the next attempt.

        Its curve and its checkpoints stay.  `output` holds the last lines that the attempt printed.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        failed = {"status": "pending", "owner": None} if again else {"status": "failed", "finished": now()}
        with self.database.write() as connection:
            self._fence(connection, run_id, owner, {**failed, "error": error})
            self._end_attempt(connection, run_id, outcome, error, output)

    def release(self, run_id: str, owner: str) -> None:
        """End a claim of an unfinished run: it is pending again, and the next attempt resumes from its checkpoint.

        Without a checkpoint it is as if it had never been started.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self.database.write() as connection:
            self._fence(connection, run_id, owner, {"status": "pending", "owner": None, "started": None})
            saved = self._checkpoints(connection, run_id)
            self._cut(connection, run_id, saved[0].step if saved else 0, {})
            self._end_attempt(connection, run_id, "released", None)

    def retry(self, run_ids: Sequence[str]) -> int:
        """Make failed runs pending again; returns the number of these that were failed."""
        count = 0
        with self.database.write() as connection:
            for part in _chunks(run_ids):
                failed = sa.and_(RUNS.c.status == "failed", RUNS.c.run_id.in_(part or []))
                count += connection.execute(sa.update(RUNS).where(failed).values(status="pending")).rowcount
        return count

    def _fence(self, connection: sa.Connection, run_id: str, owner: str, values: Mapping[str, Any]) -> None:
        """Begin a worker's transaction: set `values` and renew the lease if `owner` holds the run, else `LostClaim`."""
        held = sa.and_(RUNS.c.run_id == run_id, RUNS.c.owner == owner, RUNS.c.status == "running")
        renewed = {"lease_until": database_time() + self.lease, **values}
        if connection.execute(sa.update(RUNS).where(held).values(renewed)).rowcount != 1:
            row = connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run_id)).first()
            if row is None:
                raise LostClaim(f"run {run_id} was removed; drop this attempt of {owner}")
            raise LostClaim(f"run {run_id} is {row.status}, held by {row.owner}, not by {owner}; drop this attempt")

    def _end_attempt(
        self, connection: sa.Connection, run_id: str, outcome: str, error: str | None, output: str | None = None
    ) -> None:
        mine = sa.and_(ATTEMPTS.c.run_id == run_id, ATTEMPTS.c.outcome == "running")
        ended = {"outcome": outcome, "ended": now(), "error": error, "output": output}
        connection.execute(sa.update(ATTEMPTS).where(mine).values(ended))

    # ------------------------------------------------------------------------------------------------- reading

    def unfinished(self, among: Sequence[str] | None = None) -> dict[str, str | None]:
        """Runs that are pending or running and not archived, with their owners (None: not claimed)."""
        found: dict[str, str | None] = {}
        with self.database.read() as connection:
            for part in _chunks(among):
                query = sa.select(RUNS.c.run_id, RUNS.c.status, RUNS.c.owner, RUNS.c.lease_until)
                query = query.where(RUNS.c.status.in_(("pending", "running")), _SHOWN)
                for row in connection.execute(query if part is None else query.where(RUNS.c.run_id.in_(part))):
                    found[row.run_id] = row.owner if row.status == "running" else None
        return found

    def hosts(self) -> set[str]:
        """Names of the hosts with claims whose lease is not over."""
        alive = sa.and_(RUNS.c.status == "running", RUNS.c.lease_until > database_time())
        with self.database.read() as connection:
            owners = connection.execute(sa.select(RUNS.c.owner).where(alive).distinct()).scalars()
            return {host_of(owner) for owner in owners if owner is not None}

    def checkpoints(self, run_id: str) -> tuple[SavedCheckpoint, ...]:
        """The registered checkpoints of a run, newest first."""
        with self.database.read() as connection:
            return self._checkpoints(connection, run_id)

    def database_time(self) -> float:
        """Seconds since 1970 by the clock that leases follow."""
        with self.database.read() as connection:
            return float(connection.execute(sa.select(database_time())).scalar_one())

    def sweep(self) -> None:
        """Remove checkpoint files that no attempt can need: of runs that are done, or unknown to the store."""
        here = [folder.name for folder in (self.folder / "checkpoints").glob("*")]
        needed: set[str] = set()
        with self.database.read() as connection:
            for part in _chunks(here):
                open_ = sa.and_(RUNS.c.status.in_(set(STATUSES) - {"done"}), RUNS.c.run_id.in_(part or []))
                needed |= set(connection.execute(sa.select(RUNS.c.run_id).where(open_)).scalars())
        for run_id in set(here) - needed:
            shutil.rmtree(self._checkpoint_folder(run_id), ignore_errors=True)

    def _checkpoint_folder(self, run_id: str) -> Path:
        return self.folder / "checkpoints" / run_id

    def _checkpoints(self, connection: sa.Connection, run_id: str) -> tuple[SavedCheckpoint, ...]:
        query = sa.select(CHECKPOINTS).where(CHECKPOINTS.c.run_id == run_id).order_by(CHECKPOINTS.c.step.desc())
        return tuple(SavedCheckpoint(row.step, row.path, row.sha256, row.threads) for row in connection.execute(query))


def _chunks(among: Sequence[str] | None) -> Sequence[Sequence[str] | None]:
    """Parts that fit into one statement; one None where all runs are meant."""
    return [None] if among is None else [among[i : i + _CHUNK] for i in range(0, len(among), _CHUNK)]
