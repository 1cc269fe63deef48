"""What a store remembers beside its runs' final results: scores on the way there, and what settings came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from harness.records.training import Interim
from harness.records.trial import Trial
from harness.storage.database import Database
from harness.storage.queue import Queue, of_grid
from harness.storage.rows import interim_rows
from harness.storage.schema import INTERIMS, RUNS, TRIALS, number


class Ledger(Queue):
    """The part of a store that is about what happened before a run was done."""

    @property
    def database(self) -> Database:
        """The open file, for `harness.storage.queries`, which reads more than one run's worth of numbers at a time."""
        return self._database

    def record_interims(self, connection: sa.Connection, run_id: str, interims: Sequence[Interim]) -> None:
        """Append scores to what a run had while it trained, inside a fenced transaction."""
        rows = [row for interim in interims for row in interim_rows(run_id, interim)]
        if rows:
            connection.execute(sa.insert(INTERIMS), rows)

    def interims(self, grid: str | None = None, run_id: str | None = None) -> pd.DataFrame:
        """One row per score on the validation split while a run trained, of a grid's runs, of one, or of all.

        Columns: run_id, step, tokens, seconds (what training had taken), and the rest as `Store.scores` has it.
        """
        query = of_grid(sa.select(INTERIMS).join(RUNS, RUNS.c.run_id == INTERIMS.c.run_id), grid)
        if run_id is not None:
            query = query.where(INTERIMS.c.run_id == run_id)
        with self._database.read() as connection:
            order = (INTERIMS.c.run_id, INTERIMS.c.step, INTERIMS.c.name)
            found = connection.execute(query.order_by(*order)).mappings().all()
        rows = [dict(row) | {"value": number(row["value"], row["kind"])} for row in found]
        fixed = ["run_id", "step", "tokens", "seconds", "name"]
        columns = fixed + [column.name for column in INTERIMS.c if column.name not in fixed]
        return pd.DataFrame(rows, columns=columns, dtype=object).astype({"value": float})

    def record_trials(self, grid: str, trials: Sequence[Trial]) -> None:
        """Keep which trials the cells of `grid` were chosen from, in place of what was kept for it before."""
        rows = [{"grid": grid, **dataclasses.asdict(trial)} for trial in trials]
        with self._database.write() as connection:
            connection.execute(sa.delete(TRIALS).where(TRIALS.c.grid == grid))
            if rows:
                connection.execute(sa.insert(TRIALS), rows)

    def trials(self, grid: str) -> list[Trial]:
        """The trials that the cells of a grid were chosen from, group by group; none where it was not tuned."""
        columns = [TRIALS.c[field.name] for field in dataclasses.fields(Trial)]
        query = sa.select(*columns).where(TRIALS.c.grid == grid).order_by(TRIALS.c.asked, TRIALS.c.number)
        with self._database.read() as connection:
            return [Trial(*row) for row in connection.execute(query)]
