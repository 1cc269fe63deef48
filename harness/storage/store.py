"""Everything that runs leave behind: one database, and their rollouts as Parquet files beside it.

How workers share it stands in `storage/queue.py`: whoever writes results holds a claim, and loses it by being silent.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import ValidationError

from harness.config.keys import flatten
from harness.config.run import RunConfig, is_control, key_order
from harness.errors import StoreError
from harness.records.data import Example
from harness.records.events import SavedCheckpoint
from harness.records.rollout import Rollout
from harness.records.score import Point, Profile, Score
from harness.records.training import Interim, Step
from harness.storage.engines import Mode, insert, place_of
from harness.storage.queue import LEASE, OVER, LostClaim, now, of_grid, status_now
from harness.storage.reader import Ledger
from harness.storage.rollout_files import from_parquet, to_parquet
from harness.storage.rows import profile_row, score_row, step_row
from harness.storage.schema import (
    CELLS,
    CHECKPOINTS,
    CURVES,
    PROFILES,
    REPRODUCTIONS,
    ROLLOUTS,
    RUNS,
    SCORES,
    STATUSES,
    number,
)
from harness.system.files import write_durably

__all__ = ["LostClaim", "Store"]


class Store(Ledger):
    """Runs, grids, curves, scores and rollouts in one database; only plain values and DataFrames leave it.

    Every method raises `StoreError` when the database cannot be read or written, saying what to do about it.
    """

    def __init__(self, url: str, *, mode: Mode = "rwc", lease: float = LEASE) -> None:
        """Open the store at `url`; where there is none, mode `rwc` creates it, its folder too.

        `url` is `sqlite:///PATH`, or `postgresql://USER@HOST/DATABASE?files=/FOLDER`; `lease` is in seconds.
        """
        super().__init__(url, mode, lease)
        self._folder = self.folder / "rollouts"

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Store:
        """The store that stands at `url` already.

        Raises:
            StoreError: there is none.
        """
        path = place_of(url).path
        if path is not None and not path.exists():
            raise StoreError(f"{url}: nothing is stored there yet; `harness run GRID --store {url}` starts it")
        return cls(url, mode="ro" if read_only else "rw")

    def close(self) -> None:
        """Give the connections back; the store can still be used afterwards."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------------- writing

    def enqueue(self, grid: str, configs: Sequence[RunConfig], *, alone: bool = False) -> None:
        """Make the configurations cells of a grid, in this order.

        What is known already stays as it is, position and status included; new cells come after the old ones.  With
        `alone` other runs are no cells of this grid any longer; the runs themselves stay.
        """
        ids = list(dict.fromkeys(config.run_id for config in configs))
        fresh = {config.run_id: config for config in reversed(configs)}
        with self._database.write() as connection:
            self._database.alone(connection)
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
        """Append steps to the run's curve; with `saved`, make that checkpoint count in the same transaction.

        `steps` and `interims` then must hold all that was not logged before, up to the checkpoint's own step.

        Raises:
            LostClaim: `owner` does not hold the run; a checkpoint file stays without meaning.
        """
        if not steps and not interims and saved is None:
            return
        rows = [step_row(run_id, step) for step in steps]
        last = {key: rows[-1][key] for key in ("step", "tokens", "seconds")} if rows else {}
        with self._database.write() as connection:
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
        provenance: Mapping[str, Any],
    ) -> None:
        """Store a run's results and mark it done, all or nothing.

        `rollouts[i]` answers `prompts[i]`.  `provenance` holds JSON values; its `data_hash` tells leaderboards which
        runs saw the same data.

        Raises:
            LostClaim: `owner` does not hold the run; nothing is changed, its rollouts file included.
            ValueError: prompts and rollouts differ in number.
        """
        content = to_parquet(prompts, rollouts)
        final = self._folder / f"{run_id}.parquet"
        partial = self._folder / f"{run_id}.{uuid.uuid4().hex}.partial"
        where = {"path": final.relative_to(self.folder).as_posix(), "n": len(rollouts)}
        where |= {"run_id": run_id, "sha256": hashlib.sha256(content).hexdigest()}
        done = {"status": "done", "finished": now(), "provenance": provenance}
        with self._database.translated_errors():
            self._folder.mkdir(exist_ok=True)
        try:
            with self._database.write() as connection:
                self._fence(connection, run_id, owner, done | {"data_hash": provenance.get("data_hash")})
                for table in (SCORES, PROFILES, ROLLOUTS, CHECKPOINTS):
                    connection.execute(sa.delete(table).where(table.c.run_id == run_id))
                if scores:
                    connection.execute(sa.insert(SCORES), [score_row(run_id, score) for score in scores])
                if profiles:
                    connection.execute(sa.insert(PROFILES), [profile_row(run_id, profile) for profile in profiles])
                connection.execute(sa.insert(ROLLOUTS), [where])
                # Inside the transaction: whoever lost the claim has been stopped above and cannot replace the file.
                write_durably(content, partial, final)
                self._end_attempt(connection, run_id, "done", None)
        finally:
            partial.unlink(missing_ok=True)
        shutil.rmtree(self._checkpoint_folder(run_id), ignore_errors=True)

    def rescore(self, found: Mapping[str, tuple[Sequence[Score], Sequence[Profile]]]) -> None:
        """Give finished runs further scores and profiles, in place of those of the same names; all runs or none.

        Raises:
            StoreError: a run is not finished, or its stored scores are about other texts; nothing is changed.
        """
        with self._database.write() as connection:
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
        """Keep what became of a run that was trained again; earlier verdicts stay."""
        row = {"run_id": run_id, "at": now(), "verdict": verdict, "details": details}
        with self._database.write() as connection:
            connection.execute(sa.insert(REPRODUCTIONS), [row])

    # -------------------------------------------------------------------------------------------------- reading

    def reproductions(self, run_id: str | None = None) -> pd.DataFrame:
        """One row per verdict on a run, or on all: run_id, at (UTC), verdict, details (a dict)."""
        query = sa.select(REPRODUCTIONS).order_by(REPRODUCTIONS.c.at)
        with self._database.read() as connection:
            found = connection.execute(query if run_id is None else query.where(REPRODUCTIONS.c.run_id == run_id))
            return pd.DataFrame(found.mappings().all(), columns=[column.name for column in REPRODUCTIONS.c])

    def grids(self) -> list[str]:
        """Names of the grids that have cells here, sorted."""
        with self._database.read() as connection:
            return sorted(connection.execute(sa.select(CELLS.c.grid).distinct()).scalars())

    def counts(self, grid: str | None = None) -> dict[str, int]:
        """How many `cells` there are, and how many of them are `done`, `failed`, `running` and `pending`.

        A run whose process is dead or silent counts as pending: the next worker takes it.
        """
        with self._database.read() as connection:
            query = of_grid(sa.select(RUNS.c.status, RUNS.c.owner, OVER.label("over")), grid)
            found = [status_now(row.status, row.owner, row.over) for row in connection.execute(query)]
        return {"cells": len(found)} | {
            status: found.count(status) for status in ("done", "failed", "running", "pending")
        }

    def controls(self, grid: str) -> int:
        """How many of a grid's cells are there to read the others by."""
        with self._database.read() as connection:
            return sum(map(is_control, connection.execute(of_grid(sa.select(RUNS.c.config), grid)).scalars()))

    def config(self, run_id: str) -> RunConfig:
        """The configuration that the run was stored with.

        Raises:
            UnknownName: no such run.
            StoreError: this version of the harness cannot read it.
        """
        with self._database.read() as connection:
            stored = self._row(connection, run_id).config
        try:
            return RunConfig.model_validate(stored)
        except ValidationError as error:
            advice = "read it with the version that wrote it (see its provenance)"
            raise StoreError(
                f"run {run_id}: its configuration is not one of this version's: {error}; {advice}"
            ) from error

    def provenance(self, run_id: str) -> dict[str, Any] | None:
        """What `finish` was given, or None while the run is unfinished.

        Raises:
            UnknownName: no such run.
        """
        with self._database.read() as connection:
            stored: dict[str, Any] | None = self._row(connection, run_id).provenance
        return stored

    def runs(self, grid: str | None = None, status: str | None = None) -> pd.DataFrame:
        """One row per run, in the grid's order or else in order of creation.

        Columns: run_id, group_id, status, owner, attempts, created, started, finished (UTC), step, tokens, seconds
        (of the last logged step), error, data_hash, then the configuration under dotted keys (`trainer.name`), in
        its own order; NaN where a run has no such key.
        """
        if status not in (None, *STATUSES):
            raise ValueError(f"status={status!r}; use one of {', '.join(STATUSES)}")
        with self._database.read() as connection:
            order = [RUNS.c.created, RUNS.c.run_id] if grid is None else [CELLS.c.position]
            columns = [column for column in RUNS.c if column.name != "provenance"]  # large, and for another question
            query = of_grid(sa.select(*columns, OVER.label("over")), grid)
            found = connection.execute(query.order_by(*order)).mappings().all()
        fixed = [column.name for column in columns if column.name not in ("config", "lease_until")]
        rows = []
        for row in found:
            config = row["config"]
            names = ",".join(plugin["name"] for plugin in config["metrics"] or ())
            record = {name: row[name] for name in fixed} | flatten({**config, "metrics": names})
            rows.append(record | {"status": status_now(row["status"], row["owner"], row["over"])})
        # dtype=object keeps an integer option an integer in a column where some runs have no such option.
        keys = {key for row in rows for key in row}.difference(fixed)
        frame = pd.DataFrame(rows, columns=[*fixed, *sorted(keys, key=key_order)], dtype=object)
        for moment in ("created", "started", "finished"):
            frame[moment] = pd.to_datetime(frame[moment], utc=True, format="ISO8601")
        return frame if status is None else frame[frame["status"] == status].reset_index(drop=True)

    def scores(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per score of the finished runs of a grid, of one run, or of all.

        Columns: run_id, name (the full one), metric, definition, parameters (a dict), value, kind, reason, n, unit,
        direction, texts_hash.  Where `kind` is None there is no value, only a reason.
        """
        query = of_grid(sa.select(SCORES).join(RUNS, RUNS.c.run_id == SCORES.c.run_id), grid)
        if run_id is not None:
            query = query.where(SCORES.c.run_id == run_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(SCORES.c.run_id, SCORES.c.name)).mappings().all()
        rows = [dict(row) | {"value": number(row["value"], row["kind"])} for row in found]
        frame = pd.DataFrame(rows, columns=[column.name for column in SCORES.c], dtype=object)
        return frame.astype({"value": float, "n": int})

    def profiles(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per point of every number by position, of the finished runs of a grid, of one run, or of all.

        Columns: run_id, name (the full one), metric, definition, parameters (a dict), axis (what x is), unit,
        direction, x, value, n (of texts or states at that x).
        """
        query = of_grid(sa.select(PROFILES).join(RUNS, RUNS.c.run_id == PROFILES.c.run_id), grid)
        if run_id is not None:
            query = query.where(PROFILES.c.run_id == run_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(PROFILES.c.run_id, PROFILES.c.name)).mappings().all()
        columns = [column.name for column in PROFILES.c if column.name != "points"]
        rows = [[*(row[name] for name in columns), *point] for row in found for point in row["points"]]
        return pd.DataFrame(rows, columns=[*columns, *Point._fields])

    def curves(self, run_id: str) -> pd.DataFrame:
        """One row per logged step: step, tokens, seconds, loss, lr, and one column `terms.NAME` per term."""
        query = sa.select(CURVES).where(CURVES.c.run_id == run_id).order_by(CURVES.c.step)
        fixed = ["step", "tokens", "seconds", "loss", "lr"]
        with self._database.read() as connection:
            found = connection.execute(query).mappings().all()
        rows = []
        for row in found:
            record = {name: row[name] for name in fixed} | {"loss": number(row["loss"], row["kind"])}
            rows.append(record | {f"terms.{name}": value for name, value in row["terms"].items()})
        return pd.DataFrame(rows, columns=None if rows else fixed)

    def stored_files(self) -> list[tuple[str, str]]:
        """(path, sha256) of every rollouts file."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(ROLLOUTS.c.path, ROLLOUTS.c.sha256).order_by(ROLLOUTS.c.path))
            return [(row.path, row.sha256) for row in rows]

    def rollouts(self, run_id: str) -> pd.DataFrame:
        """One row per rollout, as `records.Rollout` has it; `reference` is the human continuation.

        Columns prompt, text, reference, stop; lists prompt_tokens, tokens, actions, injected, log_probs, pieces,
        candidates.

        Raises:
            StoreError: the run has none, or the file is missing or not the one that was stored.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.run_id == run_id)).first()
        if row is None:
            raise StoreError(f"run {run_id} has no rollouts here; finished runs do: see `harness ls runs`")
        path = self.folder / row.path
        with self._database.translated_errors():
            if not path.is_file():
                raise StoreError(f"{path} is missing; restore it from a copy")
            content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != row.sha256:
            raise StoreError(
                f"{path} is not the file that was stored: sha256 {found[:12]}..., expected {row.sha256[:12]}...; "
                "restore it from a copy"
            )
        return from_parquet(content)
