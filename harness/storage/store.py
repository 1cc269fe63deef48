"""`Store`: writes the results of runs, under a claim.

One database, and the rollouts of every finished run as a Parquet file beside it.  `Store` inherits claims from `Queue`
(`queue.py`) and all reading from `Reader` (`reader.py`).  Results are written under a claim, and refused without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from harness.config.run import RunConfig
from harness.errors import StoreError
from harness.records.data import Example
from harness.records.events import SavedCheckpoint
from harness.records.rollout import Rollout
from harness.records.score import Profile, Score
from harness.records.training import Interim, Step
from harness.records.trial import Trial
from harness.storage.engines import insert, place_of
from harness.storage.queue import Queue, now
from harness.storage.rollout_files import to_parquet
from harness.storage.rows import interim_rows, profile_row, score_row, step_row
from harness.storage.schema import (
    CELLS,
    CHECKPOINTS,
    CURVES,
    INTERIMS,
    PROFILES,
    REPRODUCTIONS,
    ROLLOUTS,
    RUNS,
    SCORES,
    TRIALS,
)
from harness.system.files import write_durably


class Store(Queue):
    """Runs, grids, curves, scores and rollouts in one database; only plain values and DataFrames leave it.

    Every method raises `StoreError` with advice when the database cannot be read or written.
    """

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Store:
        """Open an existing store.

        Raises:
            StoreError: there is none at `url`.
        """
        path = place_of(url).path
        if path is not None and not path.exists():
            raise StoreError(f"{url}: nothing is stored there yet; `harness run GRID --store {url}` starts it")
        return cls(url, mode="ro" if read_only else "rw")

    def enqueue(self, grid: str, configs: Sequence[RunConfig], *, alone: bool = False) -> None:
        """Add configurations as cells of a grid, in this order.

        Known cells stay as they are, position and status included; new ones come after them.  With `alone` other runs
        are no longer cells of this grid; the runs themselves stay.
        """
        ids = list(dict.fromkeys(config.run_id for config in configs))
        fresh = {config.run_id: config for config in reversed(configs)}
        with self.database.write() as connection:
            self.database.alone(connection)
            for run_id in ids:
                config = fresh[run_id]
                row = {"run_id": run_id, "group_id": config.group_id, "config": config.model_dump(mode="json")}
                row |= {"status": "pending", "created": now()}
                connection.execute(insert(connection, RUNS).values(row).on_conflict_do_nothing())
            here = CELLS.c.grid == grid
            if alone:
                connection.execute(sa.delete(CELLS).where(here))
            known = set(connection.execute(sa.select(CELLS.c.run_id).where(here)).scalars())
            top = connection.execute(sa.select(sa.func.max(CELLS.c.position)).where(here)).scalar()
            new = [run_id for run_id in ids if run_id not in known]
            first = 0 if top is None else top + 1
            cells = [{"grid": grid, "position": first + i, "run_id": run_id} for i, run_id in enumerate(new)]
            if cells:
                connection.execute(sa.insert(CELLS), cells)

    def log(
        self,
        run_id: str,
        owner: str,
        steps: Sequence[Step],
        saved: SavedCheckpoint | None = None,
        interims: Sequence[Interim] = (),
    ) -> None:
        """Append steps to the run's curve; with `saved`, register that checkpoint in the same transaction.

        `steps` and `interims` then must hold all that was not logged before, up to the checkpoint's own step.

        Raises:
            LostClaim: `owner` does not hold the run; the checkpoint file stays, unregistered.
        """
        if not steps and not interims and saved is None:
            return
        rows = [step_row(run_id, step) for step in steps]
        last = {key: rows[-1][key] for key in ("step", "tokens", "seconds")} if rows else {}
        with self.database.write() as connection:
            self._fence(connection, run_id, owner, last)
            before = self._checkpoints(connection, run_id)
            if rows:
                connection.execute(sa.insert(CURVES), rows)
            self.record_interims(connection, run_id, interims)
            if saved is not None:
                self.register(connection, run_id, saved)
            kept = {one.path for one in self._checkpoints(connection, run_id)}
        for one in before:
            if one.path not in kept:
                (self.folder / one.path).unlink(missing_ok=True)

    def finish(
        self,
        run_id: str,
        owner: str,
        *,
        scores: Sequence[Score],
        profiles: Sequence[Profile] = (),
        prompts: Sequence[Example],
        rollouts: Sequence[Rollout],
        backspace_id: int | None,
        provenance: Mapping[str, Any],
    ) -> None:
        """Store a run's results and mark it done, all or nothing.

        `rollouts[i]` answers `prompts[i]`.  `backspace_id` is the action `<backspace>`, None in a space without it.
        `provenance` holds JSON values; leaderboards compare runs of equal `data_hash` in it.

        Raises:
            LostClaim: `owner` does not hold the run; nothing is changed, its rollouts file included.
            ValueError: prompts and rollouts differ in number.
        """
        content = to_parquet(prompts, rollouts, backspace_id)
        folder = self.folder / "rollouts"
        final, partial = folder / f"{run_id}.parquet", folder / f"{run_id}.{uuid.uuid4().hex}.partial"
        where = {"path": final.relative_to(self.folder).as_posix(), "n": len(rollouts)}
        where |= {"run_id": run_id, "sha256": hashlib.sha256(content).hexdigest()}
        done = {"status": "done", "finished": now(), "provenance": provenance}
        with self.database.translated_errors():
            folder.mkdir(exist_ok=True)
        try:
            with self.database.write() as connection:
                self._fence(connection, run_id, owner, done | {"data_hash": provenance.get("data_hash")})
                for table in (SCORES, PROFILES, ROLLOUTS, CHECKPOINTS):
                    connection.execute(sa.delete(table).where(table.c.run_id == run_id))
                if scores:
                    connection.execute(sa.insert(SCORES), [score_row(run_id, score) for score in scores])
                if profiles:
                    connection.execute(sa.insert(PROFILES), [profile_row(run_id, profile) for profile in profiles])
                connection.execute(sa.insert(ROLLOUTS), [where])
                # Inside the transaction: the fence above keeps a worker without the claim from replacing the file.
                write_durably(content, partial, final)
                self._end_attempt(connection, run_id, "done", None)
        finally:
            partial.unlink(missing_ok=True)
        shutil.rmtree(self._checkpoint_folder(run_id), ignore_errors=True)

    def rescore(self, found: Mapping[str, tuple[Sequence[Score], Sequence[Profile]]]) -> None:
        """Add scores and profiles to finished runs, in place of those of the same names; all runs or none.

        Raises:
            StoreError: a run is not finished, or its stored scores are about other texts; nothing is changed.
        """
        with self.database.write() as connection:
            for run_id, (scores, profiles) in found.items():
                if self._row(connection, run_id).status != "done":
                    raise StoreError(f"run {run_id} is not finished; `harness run` its grid, then rescore it")
                of_run = sa.select(SCORES.c.texts_hash).where(SCORES.c.run_id == run_id)
                stored = set(connection.execute(of_run).scalars())
                if stored and not stored.issuperset(score.texts_hash for score in scores):
                    raise StoreError(f"run {run_id} has other texts by now: another process ran it again; try again")
                given = (SCORES, [score_row(run_id, one) for one in scores])
                for table, rows in (given, (PROFILES, [profile_row(run_id, one) for one in profiles])):
                    same = sa.and_(table.c.run_id == run_id, table.c.name.in_([row["name"] for row in rows]))
                    connection.execute(sa.delete(table).where(same))
                    if rows:
                        connection.execute(sa.insert(table), rows)

    def record_verdict(self, run_id: str, verdict: str, details: Mapping[str, Any]) -> None:
        """Store the verdict on a run that was trained again; earlier verdicts stay."""
        row = {"run_id": run_id, "at": now(), "verdict": verdict, "details": details}
        with self.database.write() as connection:
            connection.execute(sa.insert(REPRODUCTIONS), [row])

    def record_interims(self, connection: sa.Connection, run_id: str, interims: Sequence[Interim]) -> None:
        """Append interim scores to a run, inside a fenced transaction; those of a step replace what it has.

        A training that was saved in a step that was then scored, and lost before the next checkpoint, scores it again.
        """
        steps = [interim.spent.step for interim in interims]
        if steps:
            same = sa.and_(INTERIMS.c.run_id == run_id, INTERIMS.c.step.in_(steps))
            connection.execute(sa.delete(INTERIMS).where(same))
        rows = [row for interim in interims for row in interim_rows(run_id, interim)]
        if rows:
            connection.execute(sa.insert(INTERIMS), rows)

    def record_trials(self, grid: str, trials: Sequence[Trial]) -> None:
        """Store the trials that the cells of `grid` were chosen from, in place of those stored for it before."""
        rows = [{"grid": grid, **dataclasses.asdict(trial)} for trial in trials]
        with self.database.write() as connection:
            connection.execute(sa.delete(TRIALS).where(TRIALS.c.grid == grid))
            if rows:
                connection.execute(sa.insert(TRIALS), rows)
