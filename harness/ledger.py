"""What a store remembers beside its runs' final results: which trials a tuned grid was chosen from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from harness.database import TRIALS, Database
from harness.queue import Queue
from harness.trials import Trial


class Ledger(Queue):
    """The part of a store that is about what runs were chosen from."""

    @property
    def database(self) -> Database:
        """The open file, for `harness.report.readings`, which reads more than one run's worth of numbers at a time."""
        return self._database

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
