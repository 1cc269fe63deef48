"""The leaderboard: finished runs by configuration, with n, mean, single 95 % interval and tied rank per score.

Numbers of different benchmarks do not compare, so every benchmark (its options and data included) has its own
table; scores of different full names never share a column.  Rows stand in the grid's order unless asked otherwise.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.analysis.budgets import EqualBudget, values_at
from harness.analysis.costs import Unit
from harness.analysis.filters import known_keys, parse_filter, select, stored_key
from harness.analysis.groups import Record, tables, titles
from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.report import sentences
from harness.report.board import Cell, Column, Leaderboard, Row, Table
from harness.report.leaderboard_table import PREFERRED, LeaderboardRequest, matches, table
from harness.storage.queries import (
    Run,
    ScoreName,
    Values,
    read_interims,
    read_names,
    read_nodes,
    read_runs,
    read_trials,
    read_values,
)
from harness.storage.store import Store
from harness.storage.url import DEFAULT_STORE

__all__ = ["Cell", "Column", "Leaderboard", "Record", "Row", "Table", "check_grid", "check_metrics", "leaderboard"]


def leaderboard(
    store: Store,
    *,
    grid: str | None = None,
    metrics: Sequence[str] | None = None,
    group_by: Sequence[str] | None = None,
    filters: Sequence[str] = (),
    baseline: Sequence[str] = (),
    per: Unit | None = None,
    sort: str | None = None,
    at: str | None = None,
) -> Leaderboard:
    """Compare the finished runs of a grid, or of the whole store.

    Args:
        store: where the runs are.
        grid: its name; None takes every run.
        metrics: short names (`mauve`: every definition and parameter of it), `name@definition`, or full names; None
            shows `leaderboard_table.PREFERRED`.
        group_by: configuration keys, of which the last part is enough where it is unambiguous (`backspace`), as is
            the section of a plug-in or model (`trainer` is `trainer.name`); None groups by everything but the seeds.
        filters: `key=value`, `key!=value` or `key in a|b`, all of which must hold.
        baseline: filters that together name the row to take differences from; none takes `config.BASELINE`.
        per: rank rows of equal cost in this unit only, and show each one's cost.
        sort: a metric whose best mean comes first; None keeps the grid's order.
        at: a budget such as `tokens=200000`: compare each run's last scores while it trained that are not beyond it.

    Raises:
        UnknownName: the store has no such grid.
        ConfigError: an unknown or ambiguous key, a value that no run has, a metric that no run stored (to sort by:
            that is not shown), a baseline that no row fits, or several, or a budget at which no run was scored.
    """
    budget = None if at is None else EqualBudget.parse(at)
    if budget is not None and per is not None:
        raise ConfigError(f"--at {at} compares at that budget already; leave --per {per} out")
    check_grid(store, grid)
    everything = read_runs(store, grid)
    done = [run for run in everything if run.status == "done"]
    notes = _progress(everything)
    if not done:
        return Leaderboard((), tuple(notes or ["no runs yet; `harness run GRID` starts some"]), per)
    known = known_keys(done)
    left = select(done, filters, known)
    if not left:
        return Leaderboard((), (*notes, f"no finished run has {' and '.join(filters)}"), per, at)
    if budget is None:
        names = {score.name: score for score in read_names(store, grid)}
    else:
        names, interims = read_interims(store, grid)
        if not names:
            raise ConfigError(f"--at {at}: no finished run was scored while training; set evaluation.at_{budget.unit}")
        stored, where = values_at(interims, left, budget)
        notes.append(where)
    if metrics is not None:
        check_metrics(metrics, names.values())
    members = tables(left)

    def read(wanted: set[str]) -> Values:
        if budget is None:
            return read_values(store, grid, wanted)
        return {name: stored[name] for name in wanted if name in stored}

    asked = LeaderboardRequest(
        values=_values(read, names, metrics, members),
        names=names,
        metrics=metrics,
        keys=None if group_by is None else list(dict.fromkeys(stored_key(given, known) for given in group_by)),
        baseline=[parse_filter(text, left, known) for text in baseline],
        per=per,
        nodes=None if per is None else read_nodes(store, grid),
        sort=sort,
        trials=read_trials(store, grid),
        again="" if budget is not None else _again(store, grid, bool(filters)),
    )
    made = [table(runs, title, asked) for runs, title in zip(members, titles(members), strict=True)]
    shown = [column for one in made for column in one.columns]
    if sort is not None and not any(matches(sort, column) for column in shown):
        raise ConfigError(f"--sort {sort}: no such column; {did_you_mean(sort, {column.metric for column in shown})}")
    if baseline and all(one.baseline is None for one in made):
        raise ConfigError(f"--baseline {','.join(baseline)}: no row has all of that; name one row, as trainer=mle does")
    ranked = any(cell.rank for one in made for row in one.rows for cell in row.scores.values())
    alone = all(row.n == 1 for one in made for row in one.rows)
    notes += [sentences.coverage(left, alone), *([sentences.reading()] if ranked else [])]
    order = "in the grid's order" if sort is None else f"by their mean {sort}"
    return Leaderboard(tuple(made), (*notes, f"rows stand {order}, which is no rank"), per, at)


def check_grid(store: Store, grid: str | None) -> None:
    """Refuse a grid of which the store has nothing (`UnknownName`)."""
    if grid is not None and grid not in store.grids():
        store.refuse_archived(grid)
        hint = did_you_mean(grid, store.grids())
        raise UnknownName(f"no run of grid {grid!r} in {store.database.url}; {hint} (`harness run {grid}` starts it)")


def check_metrics(metrics: Iterable[str], stored: Iterable[ScoreName]) -> None:
    """Refuse a metric that is not among the stored scores (`ConfigError`)."""
    known = list(stored)
    for asked in metrics:
        if not any(matches(asked, score) for score in known):
            hint = did_you_mean(asked, {score.name if "@" in asked else score.metric for score in known})
            raise ConfigError(f"metric {asked!r}: no finished run has such a score; {hint}")


def _values(
    stored: Callable[[set[str]], Values],
    names: Mapping[str, ScoreName],
    metrics: Sequence[str] | None,
    members: Sequence[Sequence[Run]],
) -> Values:
    """The scores that some table may show, and those that rank them; all where a table has none of the usual ones.

    `stored` gives the values of full names.
    """
    chosen = [s for s in names.values() if metrics is None or any(matches(asked, s) for asked in metrics)]

    def read(scores: Iterable[ScoreName]) -> Values:
        return stored({name for s in scores for name in (s.name, s.gap, s.curve) if name in names})

    if metrics is not None:
        return read(chosen)
    found = read(score for score in chosen if score.metric in PREFERRED)
    scored = {run_id for values in found.values() for run_id in values}
    return found if all(any(run.run_id in scored for run in runs) for runs in members) else read(chosen)


def _again(store: Store, grid: str | None, filtered: bool) -> str:
    """The command that adds MLE at its best temperature to the board."""
    url = store.database.url
    words = ["harness", "run", grid or "GRID", *([] if url == DEFAULT_STORE else ["--store", url])]
    hidden = "a filter may leave it out; " if filtered else ""
    return f"{hidden}`{shlex.join(words)}` adds it, unless the grid says `controls: false`"


def _progress(runs: Sequence[Run]) -> list[str]:
    count = Counter(run.status for run in runs)
    if count["done"] == len(runs):
        return []
    parts = ", ".join(f"{count[one]} {one}" for one in ("done", "running", "pending", "failed") if count[one])
    return [f"{len(runs)} runs: {parts}; only finished ones are shown"]
