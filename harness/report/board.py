"""The values of a leaderboard: tables, columns, rows and cells, which are printed, exported and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.costs import Cost, Tuning, Unit
from harness.analysis.groups import Record
from harness.stats.intervals import Interval
from harness.stats.ranks import Difference, Ranking


@dataclass(frozen=True)
class Column:
    """One score: its full name, short name, unit and better direction.

    `ranked_by` is the full name of the score that orders the rows: its own, that of the same area along its curve where
    ties move it, or for a `reference` measure that of its distance to the human texts' value; None where the runs
    stored no such score, so that nothing is better.
    """

    name: str
    metric: str
    unit: str
    direction: str
    ranked_by: str | None

    @property
    def higher_is_better(self) -> bool:
        """True if larger values of the score in `ranked_by` are better."""
        return self.direction == "higher"


@dataclass(frozen=True)
class Cell:
    """A row's number: mean and interval (None: no run has a value), and the reasons of runs without one.

    `rank` is the row's tied rank, None where the column has no order.  `difference` is the row minus the baseline, in
    the score that orders the column, or where there is none in the column's own.
    """

    interval: Interval | None
    unscored: Mapping[str, int]
    rank: tuple[int, int] | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class ColumnComparison:
    """Comparisons of one column's rows, by index: ranking (None: no order, or too many rows), differences from the
    baseline, and those from MLE at its best temperature, a family of their own (none where that row has no number)."""

    column: Column
    ranking: Ranking | None
    against: Mapping[int, Difference]
    beyond: Mapping[int, Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One group: `group` (key: value; a key it does not have is left out), `n` runs, their ids, cells by full name.

    `label` is the group in a few words.  `control` is the kind of control row, None for a row that is compared;
    `cost` is set where the leaderboard compares at an equal one, `tuning` where the row's settings were tuned.
    """

    group: Record
    n: int
    runs: tuple[str, ...]
    scores: Mapping[str, Cell]
    control: str | None
    label: str
    cost: Cost | None = None
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Table:
    """One benchmark's groups.

    Attributes:
        benchmark: its name and options (`name`, `corpus`, ...) and the `data_hash` of the texts it gave.
        title: its name, and the options in which it differs from the other tables.
        keys: the configuration keys that distinguish the rows.
        columns: the scores shown.
        rows: the rows, those that are controls last.
        findings: the differences that the seeds support, and those that they leave open, in words.
        notes: conditions of the table that qualify its numbers.
        baseline: the index of the row that the others' differences are from; None where there is none.
        baselines: indices of all rows that fit what a baseline is; where there are several, none is it.
        given: the start that all rows share and no seed varies, `, given one base model`; empty where none.
        headline: the rows that beat the baseline and MLE at its best temperature, and by how much, in words; the first
            finding where the seeds can separate anything.
    """

    benchmark: Record
    title: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    baseline: int | None
    given: str = ""
    baselines: tuple[int, ...] = ()
    headline: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """One table per benchmark, and the notes that hold for all of them.

    `per` is the unit of an equal cost, `at` the budget at which runs are compared, where asked for.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    per: Unit | None = None
    at: str | None = None

    def to_dict(self) -> Record:
        """Plain JSON values; a number that is not finite becomes the text `inf`, `-inf` or `nan`."""
        tables = [_table(table) for table in self.tables]
        return {"tables": tables, "notes": list(self.notes), "per": self.per, "at": self.at}


def plain(number: float | None) -> float | str | None:
    """A number as JSON has it: one that is not finite as the text `inf`, `-inf` or `nan`."""
    return number if number is None or math.isfinite(number) else str(number)


def plain_difference(difference: Difference) -> Record:
    """A difference as JSON values; `effect` is in sds of the paired differences.

    `low` and `high` are the ends of the simultaneous interval over `family` comparisons, which agrees with `p`, those
    with `single_` of the interval of this difference alone.
    """
    found = difference.found
    alone = {"single_low": found.difference.low, "single_high": found.difference.high}
    more = {"p": found.p, "effect": plain(found.effect), "seeds_needed": difference.seeds_needed}
    return plain_interval(difference.interval) | more | {"family": difference.family} | alone


def plain_interval(interval: Interval | None) -> Record:
    """A mean and its interval as JSON values; without a value n is 0 and the rest None."""
    if interval is None:
        return {"mean": None, "low": None, "high": None, "n": 0}
    return {"mean": plain(interval.mean), "low": interval.low, "high": interval.high, "n": interval.n}


def _cell(cell: Cell) -> Record:
    rank = None if cell.rank is None else list(cell.rank)
    difference = None if cell.difference is None else plain_difference(cell.difference)
    return plain_interval(cell.interval) | {"unscored": dict(cell.unscored), "rank": rank, "difference": difference}


def _table(table: Table) -> Record:
    rows: list[dict[str, Any]] = []
    for row in table.rows:
        cost = None if row.cost is None else row.cost.exported() | {"equal": row.cost.equal}
        plain_row = {"group": row.group, "label": row.label, "control": row.control, "n": row.n, "runs": list(row.runs)}
        plain_row["tuning"] = None if row.tuning is None else vars(row.tuning)
        rows.append(plain_row | {"cost": cost, "scores": {name: _cell(cell) for name, cell in row.scores.items()}})
    return {
        "benchmark": table.benchmark,
        "title": table.title,
        "keys": list(table.keys),
        "metrics": [vars(column) for column in table.columns],
        "baseline": table.baseline,
        "rows": rows,
        "findings": list(table.findings),
        "notes": list(table.notes),
    }
