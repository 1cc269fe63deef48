"""Which runs are to be done, who holds them, and what their attempts left: how workers share a store.

A run is *claimed* by one owner at a time, under a *lease* that the owner renews.  Every later write starts by
touching the row of the run that the owner holds, and is refused when that row is no longer his: this *fence* makes
it harmless to take a run from somebody who seems dead and is not.  The database is the only coordinator, and its
clock the only one that leases know.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from harness.errors import StoreError, UnknownName
from harness.records.events import SavedCheckpoint
from harness.storage.database import Database
from harness.storage.engines import Mode, database_time
from harness.storage.schema import ATTEMPTS, CELLS, CHECKPOINTS, CURVES, INTERIMS, RUNS, STATUSES
from harness.system.processes import host_of, is_dead

LEASE = 60.0  # seconds
KEPT = 2  # checkpoints per run: where the newest is damaged, the one before it serves
_CHUNK = 10_000  # run ids that one statement may name


class LostClaim(StoreError):
    """Somebody else holds the run now, or it has been released or finished: drop the work."""


@dataclass(frozen=True)
class Claim:
    """A run that is held: by whom, the attempt's number, and the checkpoints it may go on from, newest first.

    `owner` is one of a kind: it ends in the attempt's number, which every claim of the run raises.
    """

    run_id: str
    owner: str
    attempt: int
    checkpoints: tuple[SavedCheckpoint, ...]


def now() -> str:
    """The moment as the store writes it, for people: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Queue:
    """The half of a store that workers coordinate through.

    Attributes:
        folder: where the store's files are; paths in the database are relative to it.
        lease: seconds for which a claim holds after its last sign of life.
    """

    def __init__(self, url: str, mode: Mode, lease: float) -> None:
        """Open the database at `url`."""
        self._database = Database(url, mode)
        self.url, self.lease = url, lease
        self.folder = self._database.place.folder

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file, which serves one host only."""
        return self._database.place.path is not None

    @property
    def path(self) -> Path:
        """The SQLite file.

        Raises:
            StoreError: the database is a server.
        """
        if self._database.place.path is None:
            raise StoreError(f"{self._database.url} is a server, not a file; its files are in {self.folder}")
        return self._database.place.path

    # ------------------------------------------------------------------------------------------------ claiming

    def claim(self, run_id: str, owner: str) -> bool:
        """Try to hold a run under this very name; True when `owner` holds it now.

        Free are pending and failed runs, running ones whose lease is over or whose process on this host is dead,
        and the owner's own.

        Raises:
            UnknownName: no such run.
        """
        with self._database.write() as connection:
            self._row(connection, run_id)
            self._release_dead(connection)
            mine = sa.and_(RUNS.c.status == "running", RUNS.c.owner == owner)
            wanted = sa.and_(RUNS.c.run_id == run_id, sa.or_(_FREE, RUNS.c.status == "failed", mine))
            return self._take(connection, wanted, lambda _: owner) is not None

    def claim_next(self, owner: str, among: Sequence[str] | None = None) -> Claim | None:
        """Hold the first free run, in order of creation; None when there is none.

        Free are pending runs, and running ones whose lease is over or whose process on this host is dead.  Curve
        rows beyond the newest checkpoint go: the attempt writes them again.

        Args:
            owner: who claims, as `this_owner` says it.
            among: only these runs.
        """
        with self._database.write() as connection:
            self._release_dead(connection)
            for part in _chunks(among):
                here = _FREE if part is None else sa.and_(_FREE, RUNS.c.run_id.in_(part))
                first = sa.select(RUNS.c.run_id).where(here).order_by(RUNS.c.created, RUNS.c.run_id).limit(1)
                wanted = RUNS.c.run_id == first.with_for_update(skip_locked=True).scalar_subquery()
                claim = self._take(connection, wanted, lambda attempt: f"{owner}#{attempt}")
                if claim is not None:
                    return claim
        return None

    def _take(self, connection: sa.Connection, wanted: sa.ColumnElement[bool], named: Any) -> Claim | None:
        blank = dict.fromkeys(("finished", "error"))
        values = {"status": "running", "attempts": RUNS.c.attempts + 1, "started": now(), **blank}
        lease = database_time() + self.lease
        taken = sa.update(RUNS).where(wanted).values(values | {"lease_until": lease})
        row = connection.execute(taken.returning(RUNS.c.run_id, RUNS.c.attempts)).first()
        if row is None:
            return None
        claim = Claim(row.run_id, named(row.attempts), row.attempts, self._checkpoints(connection, row.run_id))
        self._end_attempt(connection, claim.run_id, "lost", "its worker died, or was silent for longer than its lease")
        step = claim.checkpoints[0].step if claim.checkpoints else 0
        self._cut(connection, claim.run_id, step, {"owner": claim.owner})
        attempt = {"run_id": claim.run_id, "attempt": claim.attempt, "owner": claim.owner, "started": now()}
        connection.execute(sa.insert(ATTEMPTS), [attempt | {"outcome": "running", "from_step": step}])
        # Under the lock: what the attempts before left and never registered, nobody can register any more.
        kept = {self.folder / saved.path for saved in claim.checkpoints}
        for file in self._checkpoint_folder(claim.run_id).glob("*"):
            if file not in kept:
                file.unlink(missing_ok=True)
        for leftover in (self.folder / "rollouts").glob(f"{claim.run_id}.*.partial"):
            leftover.unlink(missing_ok=True)
        return claim

    def _release_dead(self, connection: sa.Connection) -> None:
        """End the leases of processes that this host knows to be dead.

        A row that another transaction holds is left to it: two that wait for each other's rows would wait for ever.
        """
        running = RUNS.c.status == "running"
        owners = connection.execute(sa.select(RUNS.c.owner).where(running).distinct()).scalars().all()
        for part in _chunks([owner for owner in owners if owner is not None and is_dead(owner)]):
            theirs = sa.select(RUNS.c.run_id).where(running, RUNS.c.owner.in_(part or []))
            free = theirs.with_for_update(skip_locked=True)
            connection.execute(sa.update(RUNS).where(RUNS.c.run_id.in_(free)).values(lease_until=0.0))

    def _cut(self, connection: sa.Connection, run_id: str, step: int, values: Mapping[str, Any]) -> None:
        """Make a run's curve and interim scores end at `step`, and its row say so."""
        for table in (CURVES, INTERIMS):
            connection.execute(sa.delete(table).where(table.c.run_id == run_id, table.c.step > step))
        last = sa.select(CURVES).where(CURVES.c.run_id == run_id).order_by(CURVES.c.step.desc()).limit(1)
        found = connection.execute(last).mappings().first()
        row: Mapping[Any, Any] = {} if found is None else found
        there = {name: row.get(name) for name in ("step", "tokens", "seconds")}
        connection.execute(sa.update(RUNS).where(RUNS.c.run_id == run_id).values(**there, **values))

    # -------------------------------------------------------------------------------------------- holding a run

    def heartbeat(self, run_id: str, owner: str) -> None:
        """Renew the lease.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self._database.write() as connection:
            self._fence(connection, run_id, owner, {})

    def register(self, connection: sa.Connection, run_id: str, saved: SavedCheckpoint) -> None:
        """Make a checkpoint file count, inside a fenced transaction; the ones it replaces go."""
        row = {"run_id": run_id, **dataclasses.asdict(saved)}
        here = CHECKPOINTS.c.run_id == run_id
        connection.execute(sa.delete(CHECKPOINTS).where(here, CHECKPOINTS.c.step >= saved.step))
        connection.execute(sa.insert(CHECKPOINTS), [row])
        for old in self._checkpoints(connection, run_id)[KEPT:]:
            connection.execute(sa.delete(CHECKPOINTS).where(here, CHECKPOINTS.c.step == old.step))

    def rewind(self, run_id: str, owner: str, step: int) -> None:
        """Go back to an older checkpoint, or to 0: what lies beyond `step` turned out to be damaged.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self._database.write() as connection:
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
        """End an attempt with a sentence that says why; the run is failed, or with `again` free for the next attempt.

        Its curve and its checkpoints stay.  `output` is the end of what the attempt printed.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        failed = {"status": "pending", "owner": None} if again else {"status": "failed", "finished": now()}
        with self._database.write() as connection:
            self._fence(connection, run_id, owner, {**failed, "error": error})
            self._end_attempt(connection, run_id, outcome, error, output)

    def release(self, run_id: str, owner: str) -> None:
        """Give an unfinished run back; it goes on from its checkpoint, or is as if it had never been started.

        Raises:
            LostClaim: `owner` does not hold the run.
        """
        with self._database.write() as connection:
            self._fence(connection, run_id, owner, {"status": "pending", "owner": None, "started": None})
            saved = self._checkpoints(connection, run_id)
            self._cut(connection, run_id, saved[0].step if saved else 0, {})
            self._end_attempt(connection, run_id, "released", None)

    def retry(self, run_ids: Sequence[str]) -> int:
        """Make failed runs free again; how many of these were failed."""
        count = 0
        with self._database.write() as connection:
            for part in _chunks(run_ids):
                failed = sa.and_(RUNS.c.status == "failed", RUNS.c.run_id.in_(part or []))
                count += connection.execute(sa.update(RUNS).where(failed).values(status="pending")).rowcount
        return count

    def _fence(self, connection: sa.Connection, run_id: str, owner: str, values: Mapping[str, Any]) -> None:
        """Every transaction of a worker starts here: it goes on only for the one who holds the run."""
        held = sa.and_(RUNS.c.run_id == run_id, RUNS.c.owner == owner, RUNS.c.status == "running")
        renewed = {"lease_until": database_time() + self.lease, **values}
        if connection.execute(sa.update(RUNS).where(held).values(renewed)).rowcount != 1:
            row = self._row(connection, run_id)
            raise LostClaim(f"run {run_id} is {row.status}, held by {row.owner}, not by {owner}; drop this attempt")

    def _end_attempt(
        self, connection: sa.Connection, run_id: str, outcome: str, error: str | None, output: str | None = None
    ) -> None:
        mine = sa.and_(ATTEMPTS.c.run_id == run_id, ATTEMPTS.c.outcome == "running")
        ended = {"outcome": outcome, "ended": now(), "error": error, "output": output}
        connection.execute(sa.update(ATTEMPTS).where(mine).values(ended))

    # ------------------------------------------------------------------------------------------------- looking

    def unfinished(self, among: Sequence[str] | None = None) -> dict[str, str | None]:
        """Runs that are pending or running, with who holds them (None: nobody)."""
        found: dict[str, str | None] = {}
        with self._database.read() as connection:
            for part in _chunks(among):
                query = sa.select(RUNS.c.run_id, RUNS.c.status, RUNS.c.owner, RUNS.c.lease_until)
                query = query.where(RUNS.c.status.in_(("pending", "running")))
                for row in connection.execute(query if part is None else query.where(RUNS.c.run_id.in_(part))):
                    found[row.run_id] = row.owner if row.status == "running" else None
        return found

    def hosts(self) -> set[str]:
        """The hosts whose claims have not run out."""
        alive = sa.and_(RUNS.c.status == "running", RUNS.c.lease_until > database_time())
        with self._database.read() as connection:
            owners = connection.execute(sa.select(RUNS.c.owner).where(alive).distinct()).scalars()
            return {host_of(owner) for owner in owners if owner is not None}

    def attempts(self, run_id: str | None = None) -> pd.DataFrame:
        """One row per attempt of a run, or of all: run_id, attempt, owner, started, ended, outcome, from_step, error,
        output (the last lines it printed)."""
        query = sa.select(ATTEMPTS).order_by(ATTEMPTS.c.started, ATTEMPTS.c.run_id)
        with self._database.read() as connection:
            found = connection.execute(query if run_id is None else query.where(ATTEMPTS.c.run_id == run_id))
            return pd.DataFrame(found.mappings().all(), columns=[column.name for column in ATTEMPTS.c], dtype=object)

    def checkpoints(self, run_id: str) -> tuple[SavedCheckpoint, ...]:
        """The checkpoints that count, newest first."""
        with self._database.read() as connection:
            return self._checkpoints(connection, run_id)

    def checkpoint_files(self) -> list[tuple[str, str]]:
        """(path, sha256) of every checkpoint that counts."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(CHECKPOINTS.c.path, CHECKPOINTS.c.sha256))
            return [(row.path, row.sha256) for row in rows]

    def database_time(self) -> float:
        """Seconds since 1970 by the clock that leases follow."""
        with self._database.read() as connection:
            return float(connection.execute(sa.select(database_time())).scalar_one())

    def sweep(self) -> None:
        """Remove the checkpoint files that nobody can need: of runs that are done, or that the store does not know."""
        here = [folder.name for folder in (self.folder / "checkpoints").glob("*")]
        needed: set[str] = set()
        with self._database.read() as connection:
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

    def _row(self, connection: sa.Connection, run_id: str) -> sa.Row[Any]:
        row = connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run_id)).first()
        if row is None:
            raise UnknownName(f"{self._database.url} has no run {run_id!r}; `harness ls runs` lists them")
        return row


OVER: sa.ColumnElement[bool] = RUNS.c.lease_until < database_time()
"""Whether a run's lease is over, by the database's clock."""
_FREE: sa.ColumnElement[bool] = sa.or_(RUNS.c.status == "pending", sa.and_(RUNS.c.status == "running", OVER))


def _chunks(among: Sequence[str] | None) -> Sequence[Sequence[str] | None]:
    """Parts that fit into one statement; one None where all runs are meant."""
    return [None] if among is None else [among[i : i + _CHUNK] for i in range(0, len(among), _CHUNK)]


def of_grid(query: sa.Select[Any], grid: str | None) -> sa.Select[Any]:
    """A query over runs, narrowed to the cells of a grid."""
    return query if grid is None else query.join(CELLS, CELLS.c.run_id == RUNS.c.run_id).where(CELLS.c.grid == grid)


def status_now(status: str, owner: str | None, over: bool | None) -> str:
    """As stored, but `pending` where the next worker may take the run from a silent or dead one; `over` as `OVER`."""
    if status != "running":
        return status
    return "pending" if over or (owner is not None and is_dead(owner)) else status
