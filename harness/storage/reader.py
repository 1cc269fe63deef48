"""`Reader`: the reading half of the store, runs and their results as plain values and DataFrames.

Reading needs no claim.  `Queue` (claims) stands on it, and `Store` (writing results) on both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pandas as pd
import sqlalchemy as sa
from pydantic import ValidationError

from harness.config.keys import flatten
from harness.config.run import RunConfig, is_control, key_order
from harness.errors import Archived, StoreError, UnknownName
from harness.records.score import Point
from harness.records.trial import Trial
from harness.storage.database import Database
from harness.storage.engines import Mode, database_time
from harness.storage.rollout_files import from_parquet
from harness.storage.schema import (
    ATTEMPTS,
    CELLS,
    CHECKPOINTS,
    CURVES,
    INTERIMS,
    META,
    PROFILES,
    REPRODUCTIONS,
    ROLLOUTS,
    RUNS,
    SCORES,
    STATUSES,
    TRIALS,
    number,
    unescape,
)
from harness.system.processes import has_ended

OVER: sa.ColumnElement[bool] = RUNS.c.lease_until < database_time()
"""True where a run's lease is over, by the database's clock."""
GRID_KEY, RUN_KEY = "archived:grid:", "archived:run:"
"""Beginnings of the keys in `meta` of archived grids and runs; the grid's name, escaped, or the run's id follows."""


def archive_of(beginning: str) -> sa.Select[Any]:
    """The rest of the keys in `meta` that begin so: names, escaped, or run ids."""
    return sa.select(sa.func.substr(META.c.key, len(beginning) + 1)).where(META.c.key.startswith(beginning))


class Reader:
    """An open store, as far as it is only read.

    Attributes:
        database: the connections, also for `harness.storage.queries`.
        url: as it was given.
        folder: of the store's files; paths in the database are relative to it.
    """

    def __init__(self, url: str, mode: Mode) -> None:
        """Open the database at `url`."""
        self.database = Database(url, mode)
        self.url = url
        self.folder = self.database.place.folder

    @property
    def is_file(self) -> bool:
        """True if the database is a SQLite file, which serves one host only."""
        return self.database.place.path is not None

    @property
    def path(self) -> Path:
        """The SQLite file.

        Raises:
            StoreError: the database is a server.
        """
        if self.database.place.path is None:
            raise StoreError(f"{self.database.url} is a server, not a file; its files are in {self.folder}")
        return self.database.place.path

    def close(self) -> None:
        """Close the connections; the store can still be used afterwards."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------- runs

    def grids(self) -> list[str]:
        """Names of the grids that have cells here and are not archived, sorted."""
        query = sa.select(CELLS.c.grid).distinct().where(CELLS.c.grid.not_in(archive_of(GRID_KEY)))
        with self.database.read() as connection:
            return sorted(connection.execute(query).scalars())

    def archived_grids(self) -> list[str]:
        """Names of the grids that are archived, sorted."""
        with self.database.read() as connection:
            return sorted(map(unescape, connection.execute(archive_of(GRID_KEY)).scalars()))

    def archived_runs(self) -> list[str]:
        """Ids of the runs that are archived themselves, sorted; runs of archived grids are not among them."""
        with self.database.read() as connection:
            return sorted(connection.execute(archive_of(RUN_KEY)).scalars())

    def grids_of(self, run_id: str) -> list[str]:
        """Names of the grids that have this run as a cell, archived ones included, sorted."""
        with self.database.read() as connection:
            query = sa.select(CELLS.c.grid).where(CELLS.c.run_id == run_id)
            return sorted(connection.execute(query).scalars())

    def refuse_archived(self, grid: str) -> None:
        """Raise `Archived`, with the command that brings it back, if the grid is archived."""
        if grid in self.archived_grids():
            raise Archived(f"grid {grid} is archived; `harness restore {shlex.quote(grid)}` brings it back")

    def counts(self, grid: str | None = None) -> dict[str, int]:
        """Number of `cells`, and of those that are `done`, `failed`, `running` and `pending`.

        A run whose process has ended, or whose lease is over, counts as pending: the next worker takes it.
        """
        with self.database.read() as connection:
            query = of_grid(sa.select(RUNS.c.status, RUNS.c.owner, OVER.label("over")), grid)
            found = [status_now(row.status, row.owner, row.over) for row in connection.execute(query)]
        return {"cells": len(found)} | {
            status: found.count(status) for status in ("done", "failed", "running", "pending")
        }

    def controls(self, grid: str) -> int:
        """Number of a grid's cells that are controls."""
        with self.database.read() as connection:
            return sum(map(is_control, connection.execute(of_grid(sa.select(RUNS.c.config), grid)).scalars()))

    def runs(self, grid: str | None = None, status: str | None = None, archived: bool | None = False) -> pd.DataFrame:
        """One row per run, in the grid's order or else in order of creation; `archived` as of `of_grid`.

        Columns: run_id, group_id, status, owner, attempts, created, started, finished (UTC), step, tokens, seconds
        (of the last logged step), error, data_hash, then the configuration under dotted keys (`trainer.name`), in
        its own order; NaN where a run has no such key.
        """
        if status not in (None, *STATUSES):
            raise ValueError(f"status={status!r}; use one of {', '.join(STATUSES)}")
        with self.database.read() as connection:
            order = [RUNS.c.created, RUNS.c.run_id] if grid is None else [CELLS.c.position]
            columns = [column for column in RUNS.c if column.name != "provenance"]  # large, and for another question
            query = of_grid(sa.select(*columns, OVER.label("over")), grid, archived=archived)
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

    def attempts(self, run_id: str | None = None) -> pd.DataFrame:
        """One row per attempt of a run, or of all: run_id, attempt, owner, started, ended, outcome, from_step, error,
        output (the last lines it printed)."""
        query = sa.select(ATTEMPTS).order_by(ATTEMPTS.c.started, ATTEMPTS.c.run_id)
        with self.database.read() as connection:
            found = connection.execute(query if run_id is None else query.where(ATTEMPTS.c.run_id == run_id))
            return pd.DataFrame(found.mappings().all(), columns=[column.name for column in ATTEMPTS.c], dtype=object)

    def trials(self, grid: str) -> list[Trial]:
        """The trials that the cells of a grid were chosen from, group by group; none where it was not tuned."""
        columns = [TRIALS.c[field.name] for field in dataclasses.fields(Trial)]
        query = sa.select(*columns).where(TRIALS.c.grid == grid).order_by(TRIALS.c.asked, TRIALS.c.number)
        with self.database.read() as connection:
            return [Trial(*row) for row in connection.execute(query)]

    # --------------------------------------------------------------------------------- one run and its results

    def config(self, run_id: str) -> RunConfig:
        """The configuration that the run was stored with.

        Raises:
            UnknownName: no such run.
            StoreError: this version of the harness cannot read it.
        """
        with self.database.read() as connection:
            stored = self._row(connection, run_id).config
        try:
            return RunConfig.model_validate(stored)
        except ValidationError as error:
            advice = "read it with the version that wrote it (see its provenance)"
            raise StoreError(
                f"run {run_id}: its configuration is not one of this version's: {error}; {advice}"
            ) from error

    def configs(self, grid: str | None = None, archived: bool | None = False) -> dict[str, RunConfig]:
        """Configurations by run id, of a grid's cells or of all runs; those of another version are left out."""
        query = of_grid(sa.select(RUNS.c.run_id, RUNS.c.config), grid, archived=archived)
        with self.database.read() as connection:
            stored = connection.execute(query).all()
        found: dict[str, RunConfig] = {}
        for run_id, config in stored:
            with suppress(ValidationError):
                found[run_id] = RunConfig.model_validate(config)
        return found

    def provenance(self, run_id: str) -> dict[str, Any] | None:
        """The provenance that `Store.finish` was given, or None while the run is unfinished.

        Raises:
            UnknownName: no such run.
        """
        with self.database.read() as connection:
            stored: dict[str, Any] | None = self._row(connection, run_id).provenance
        return stored

    def curves(self, run_id: str) -> pd.DataFrame:
        """One row per logged step: step, tokens, seconds, loss, lr, and one column `terms.NAME` per term."""
        query = sa.select(CURVES).where(CURVES.c.run_id == run_id).order_by(CURVES.c.step)
        fixed = ["step", "tokens", "seconds", "loss", "lr"]
        with self.database.read() as connection:
            found = connection.execute(query).mappings().all()
        rows = []
        for row in found:
            record = {name: row[name] for name in fixed} | {"loss": number(row["loss"], row["kind"])}
            rows.append(record | {f"terms.{name}": value for name, value in row["terms"].items()})
        return pd.DataFrame(rows, columns=None if rows else fixed)

    def interims(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per score on the validation split while a run trained, of a grid's runs, of one, or of all.

        Columns: run_id, step, tokens, seconds (spent on training by then), and the rest as `scores` has it.
        """
        query = _of_runs(INTERIMS, grid, run_id)
        with self.database.read() as connection:
            order = (INTERIMS.c.run_id, INTERIMS.c.step, INTERIMS.c.name)
            found = connection.execute(query.order_by(*order)).mappings().all()
        rows = [dict(row) | {"value": number(row["value"], row["kind"])} for row in found]
        fixed = ["run_id", "step", "tokens", "seconds", "name"]
        columns = fixed + [column.name for column in INTERIMS.c if column.name not in fixed]
        return pd.DataFrame(rows, columns=columns, dtype=object).astype({"value": float})

    def scores(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per score of the finished runs of a grid, of one run, or of all.

        Columns: run_id, name (the full one), metric, definition, parameters (a dict), value, kind, reason, n, unit,
        direction, texts_hash.  Where `kind` is None there is no value, only a reason.
        """
        query = _of_runs(SCORES, grid, run_id)
        with self.database.read() as connection:
            found = connection.execute(query.order_by(SCORES.c.run_id, SCORES.c.name)).mappings().all()
        rows = [dict(row) | {"value": number(row["value"], row["kind"])} for row in found]
        frame = pd.DataFrame(rows, columns=[column.name for column in SCORES.c], dtype=object)
        return frame.astype({"value": float, "n": int})

    def profiles(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per point of every profile of the finished runs of a grid, of one run, or of all.

        Columns: run_id, name (the full one), metric, definition, parameters (a dict), axis (the meaning of x), unit,
        direction, x, value, n (of texts or states at that x).
        """
        query = _of_runs(PROFILES, grid, run_id)
        with self.database.read() as connection:
            found = connection.execute(query.order_by(PROFILES.c.run_id, PROFILES.c.name)).mappings().all()
        columns = [column.name for column in PROFILES.c if column.name != "points"]
        rows = [[*(row[name] for name in columns), *point] for row in found for point in row["points"]]
        return pd.DataFrame(rows, columns=[*columns, *Point._fields])

    def rollouts(self, run_id: str) -> pd.DataFrame:
        """One row per rollout, as `records.Rollout` has it; `reference` is the human continuation.

        Columns prompt, text, reference, stop; lists prompt_tokens, tokens, actions, injected, log_probs, pieces,
        candidates; discarded.  `rollout_files.backspace_of` says of the frame which action is `<backspace>`.

        Raises:
            StoreError: the run has none, or the file is missing or not the one that was stored.
        """
        with self.database.read() as connection:
            row = connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.run_id == run_id)).first()
        if row is None:
            raise StoreError(f"run {run_id} has no rollouts here; finished runs do: see `harness ls runs`")
        path = self.folder / row.path
        with self.database.translated_errors():
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

    def reproductions(self, run_id: str | None = None) -> pd.DataFrame:
        """One row per verdict on a run, or on all: run_id, at (UTC), verdict, details (a dict)."""
        query = sa.select(REPRODUCTIONS).order_by(REPRODUCTIONS.c.at)
        with self.database.read() as connection:
            found = connection.execute(query if run_id is None else query.where(REPRODUCTIONS.c.run_id == run_id))
            return pd.DataFrame(found.mappings().all(), columns=[column.name for column in REPRODUCTIONS.c])

    # --------------------------------------------------------------------------------------------------- files

    def stored_files(self) -> list[tuple[str, str]]:
        """(path, sha256) of every rollouts file."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(ROLLOUTS.c.path, ROLLOUTS.c.sha256).order_by(ROLLOUTS.c.path))
            return [(row.path, row.sha256) for row in rows]

    def checkpoint_files(self) -> list[tuple[str, str]]:
        """(path, sha256) of every registered checkpoint."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(CHECKPOINTS.c.path, CHECKPOINTS.c.sha256))
            return [(row.path, row.sha256) for row in rows]

    def _row(self, connection: sa.Connection, run_id: str) -> sa.Row[Any]:
        row = connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run_id)).first()
        if row is None:
            raise UnknownName(f"{self.database.url} has no run {run_id!r}; `harness ls runs` lists them")
        return row


def of_grid(
    query: sa.Select[Any], grid: str | None, table: sa.Table = RUNS, archived: bool | None = False
) -> sa.Select[Any]:
    """A query over a table with run ids, narrowed to the cells of a grid, and to what is not archived.

    With `archived` to what is archived alone; with None to neither.
    """
    if grid is None:
        hidden = is_hidden(table)
    else:
        query = query.join(CELLS, CELLS.c.run_id == table.c.run_id).where(CELLS.c.grid == grid)
        hidden = sa.or_(table.c.run_id.in_(archive_of(RUN_KEY)), CELLS.c.grid.in_(archive_of(GRID_KEY)))
    return query if archived is None else query.where(hidden if archived else sa.not_(hidden))


def _of_runs(table: sa.Table, grid: str | None, run_id: str | None) -> sa.Select[Any]:
    """The rows of a grid's runs, of one, or of all; a run that is named is read although it is archived."""
    query = sa.select(table).join(RUNS, RUNS.c.run_id == table.c.run_id)
    query = of_grid(query, grid, archived=False if run_id is None else None)
    return query if run_id is None else query.where(table.c.run_id == run_id)


def is_hidden(table: sa.Table) -> sa.ColumnElement[bool]:
    """True for a run that is archived, or whose grids all are; one of no grid is not."""
    gone, others = CELLS.alias(), CELLS.alias()
    shown = sa.select(others.c.run_id).where(others.c.grid.not_in(archive_of(GRID_KEY)))
    # no subquery looks at the outer row, so that each is evaluated once; the last only where a grid is archived
    of_gone = sa.select(gone.c.run_id).where(gone.c.grid.in_(archive_of(GRID_KEY)), gone.c.run_id.not_in(shown))
    return sa.or_(table.c.run_id.in_(archive_of(RUN_KEY)), table.c.run_id.in_(of_gone))


def status_now(status: str, owner: str | None, over: bool | None) -> str:
    """The stored status, but `pending` where the next worker may take a running run; `over` as `OVER`.

    That is where the lease is over, or the owner's process has ended.
    """
    if status != "running":
        return status
    return "pending" if over or (owner is not None and has_ended(owner)) else status
