"""Cached queries about scores: leaderboards, costs, curves, profiles; the harness computes every number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from dashboard.run_queries import Stamp, finished, open_store, stamp, store_url
from harness.analysis import effects as factor_effects
from harness.analysis.budgets import pareto_front, score_curve
from harness.analysis.filters import known_keys, written
from harness.analysis.groups import mean
from harness.config.keys import last_part
from harness.report import validity as agreement
from harness.report.board import Leaderboard
from harness.report.compare import Comparison, compare
from harness.report.exports import Format, board_text
from harness.report.leaderboard import leaderboard
from harness.report.leaderboard_table import PREFERRED
from harness.report.validity import Validity
from harness.stats.intervals import t_interval
from harness.storage.queries import (
    Interims,
    ProfileName,
    Run,
    ScoreName,
    read_facts,
    read_interims,
    read_losses,
    read_names,
    read_names_by_data,
    read_profile,
    read_profile_names,
    read_values,
)

POINTS = 150  # of a learning curve; more are averaged in windows

Unit = Literal["seconds", "tokens", "sampled"]

# ------------------------------------------------------------------------------------------------ leaderboards


def board(grid: str | None, **asked: Any) -> Leaderboard:
    """Leaderboard, as `harness.report.leaderboard.leaderboard`."""
    return _board(store_url(), stamp(), grid, tuple(sorted((key, _frozen(value)) for key, value in asked.items())))


@st.cache_resource(max_entries=16, show_spinner=False)
def _board(url: str, at: Stamp, grid: str | None, asked: tuple[tuple[str, Any], ...]) -> Leaderboard:
    return leaderboard(open_store(), grid=grid, **dict(asked))


def export(form: Format, grid: str | None, **asked: Any) -> str:
    """Leaderboard as text in a format."""
    return board_text(board(grid, **asked), form)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def keys(grid: str | None) -> list[str]:
    """Configuration keys of finished runs, by their unambiguous last part where there is one."""
    known = known_keys(finished(grid))
    short = [last_part(key) for key in known]
    return [name if short.count(name) == 1 else key for key, name in zip(known, short, strict=True)]


def names(grid: str | None) -> list[ScoreName]:
    """The scores that runs have."""
    return _names(store_url(), stamp(), grid)


@st.cache_data(max_entries=16, show_spinner=False)
def _names(url: str, at: Stamp, grid: str | None) -> list[ScoreName]:
    return read_names(open_store(), grid)


def metrics(grid: str | None) -> list[str]:
    """Short names of the scores."""
    return list(dict.fromkeys(score.metric for score in names(grid)))


def values(grid: str | None, name: str) -> Mapping[str, float | str]:
    """Numbers of one score by run id, or the reasons why there is none."""
    return _values(store_url(), stamp(), grid, name)


@st.cache_resource(max_entries=64, show_spinner=False)
def _values(url: str, at: Stamp, grid: str | None, name: str) -> Mapping[str, float | str]:
    return read_values(open_store(), grid, [name]).get(name, {})


# ---------------------------------------------------------------------------------------- benchmark by benchmark


def scores(grid: str | None, members: Sequence[Run]) -> list[ScoreName]:
    """The scores that some of the runs have: first those that a leaderboard shows unasked."""
    by_data = _by_data(store_url(), stamp(), grid)
    known = {score.name: score for data in {run.data_hash for run in members} for score in by_data.get(data, ())}
    place = {metric: i for i, metric in enumerate(PREFERRED)}
    return sorted(known.values(), key=lambda score: place.get(score.metric, len(place)))


@st.cache_resource(max_entries=8, show_spinner=False)
def _by_data(url: str, at: Stamp, grid: str | None) -> dict[str | None, list[ScoreName]]:
    return read_names_by_data(open_store(), grid)


def pivot(members: Sequence[Run], numbers: Mapping[str, float | str], across: str, down: str) -> pd.DataFrame:
    """Mean over all runs with both settings: columns across, down, mean, runs."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in members:
        value = numbers.get(run.run_id)
        if across in run.config and down in run.config and isinstance(value, float) and math.isfinite(value):
            found.setdefault((written(run.config[across]), written(run.config[down])), []).append(value)
    rows = [(*place, mean(several), len(several)) for place, several in found.items()]
    return pd.DataFrame(rows, columns=["across", "down", "mean", "runs"])


def effects(members: Sequence[Run], numbers: Mapping[str, float | str]) -> list[factor_effects.Effect]:
    """Every factor's main effects, as one family."""
    return factor_effects.main_effects(members, numbers)


def costs(grid: str | None, run_ids: set[str], score: str, unit: Unit) -> pd.DataFrame:
    """Mean score of each row of the table with these runs, beside the cost of training.

    Returns:
        Columns group, n, mean, low, high, steps, tokens, of which looked (without gradient) and sampler, seconds, speed
        (tokens per second), sampled (actions), trials
        and tuning (the runs that its settings were chosen from, and their seconds together; in nothing else), memory
        (MiB), and front: no row has a better mean for less of `unit`.
    """
    found = board(grid, metrics=[score], per="second")
    here = (table for table in found.tables if any(not run_ids.isdisjoint(row.runs) for row in table.rows))
    table = next(here, None)
    if table is None:
        return pd.DataFrame()
    facts = _facts(store_url(), stamp(), grid)
    rows: list[dict[str, Any]] = []
    for row in table.rows:
        cell = row.scores.get(score)
        if row.cost is None or cell is None or cell.interval is None or not math.isfinite(cell.interval.mean):
            continue
        interval = cell.interval
        own = [facts.get(run_id, {}) for run_id in row.runs]
        rows.append(
            {"group": row.label, "n": row.n, "mean": interval.mean, "low": interval.low, "high": interval.high}
            | {"steps": row.cost.steps, "tokens": row.cost.tokens, "seconds": row.cost.seconds}
            | {"speed": row.cost.tokens / row.cost.seconds if row.cost.seconds else math.nan}
            | {"looked": row.cost.without_gradient, "sampler": row.cost.sampled}
            | {"sampled": mean([float(one.get("sampled_actions", 0)) for one in own])}
            | {"trials": 0 if row.tuning is None else row.tuning.trials}
            | {"tuning": 0.0 if row.tuning is None else row.tuning.seconds}
            | {"memory": mean([one.get("peak_memory_bytes", math.nan) / 2**20 for one in own])}
        )
    return _with_front(rows, unit, higher=table.columns[0].higher_is_better)


def _with_front(rows: list[dict[str, Any]], unit: str, *, higher: bool) -> pd.DataFrame:
    """The rows with a column `front`, those that cost less first."""
    on = pareto_front([row[unit] for row in rows], [row["mean"] for row in rows], higher=higher)
    return pd.DataFrame([row | {"front": one} for row, one in zip(rows, on, strict=True)])


def interim_scores(grid: str | None, members: Sequence[Run]) -> list[ScoreName]:
    """Interim scores that some of the runs have: first those that a leaderboard shows unasked."""
    known, interims = _interims(store_url(), stamp(), grid)
    ids = {run.run_id for run in members}
    place = {metric: i for i, metric in enumerate(PREFERRED)}
    found = [known[name] for name, scored in interims.items() if not ids.isdisjoint(scored)]
    return sorted(found, key=lambda score: place.get(score.metric, len(place)))


def ways(grid: str | None, members: Mapping[str, Sequence[str]], score: ScoreName, unit: Unit) -> pd.DataFrame:
    """Each group's mean scores along its training, on the validation split, beside the cost up to then.

    Args:
        grid: whose runs.
        members: run ids by the group's name.
        score: which score.
        unit: seconds or tokens.

    Returns:
        Columns group, n, mean, low, high, steps, tokens, seconds, and front: nowhere a better mean for less of `unit`.
    """
    _, interims = _interims(store_url(), stamp(), grid)
    rows = [
        {"group": group, "n": place.score.n, "mean": place.score.mean, "low": place.score.low, "high": place.score.high}
        | {"steps": place.steps, "tokens": place.tokens, "seconds": place.seconds}
        for group, run_ids in members.items()
        for place in score_curve(run_ids, interims.get(score.name, {}))
        if math.isfinite(place.score.mean)
    ]
    return _with_front(rows, unit, higher=score.direction == "higher")


@st.cache_resource(max_entries=4, show_spinner=False)
def _interims(url: str, at: Stamp, grid: str | None) -> tuple[dict[str, ScoreName], Interims]:
    return read_interims(open_store(), grid)


@st.cache_resource(max_entries=4, show_spinner=False)
def _facts(url: str, at: Stamp, grid: str | None) -> dict[str, dict[str, Any]]:
    return read_facts(open_store(), grid, ("sampled_actions", "peak_memory_bytes"))


# ------------------------------------------------------------------------------------------- group by group


def comparison(grid: str | None, group_ids: Sequence[str], metrics: Sequence[str] | None) -> list[Comparison]:
    """Comparison of groups, as `harness.report.compare.compare`."""
    return _comparison(store_url(), stamp(), grid, tuple(group_ids), None if metrics is None else tuple(metrics))


@st.cache_resource(max_entries=16, show_spinner=False)
def _comparison(
    url: str, at: Stamp, grid: str | None, group_ids: tuple[str, ...], metrics: tuple[str, ...] | None
) -> list[Comparison]:
    return compare(open_store(), group_ids, grid=grid, metrics=metrics)


def learning(members: Mapping[str, Sequence[str]], against: str) -> pd.DataFrame:
    """Mean loss over a group's runs by step, tokens or seconds, in at most `POINTS` windows.

    Args:
        members: run ids by the group's name.
        against: step, tokens or seconds.

    Returns:
        Columns group, `against` (mean over the window), loss, low, high (95 % interval over runs), n.
    """
    return _learning(store_url(), stamp(), tuple((name, tuple(ids)) for name, ids in members.items()), against)


@st.cache_data(max_entries=16, show_spinner=False)
def _learning(url: str, at: Stamp, members: tuple[tuple[str, tuple[str, ...]], ...], against: str) -> pd.DataFrame:
    losses = read_losses(open_store(), [run_id for _, ids in members for run_id in ids])
    found = []
    for name, ids in members:
        curves = [losses[run_id] for run_id in ids if run_id in losses]
        shared = sorted(set.intersection(*({loss.step for loss in curve} for curve in curves)) if curves else ())
        width = max(1, -(-len(shared) // POINTS))
        window = {step: i // width for i, step in enumerate(shared)}
        by_window: dict[int, list[list[tuple[float, float]]]] = {}
        for i, curve in enumerate(curves):
            for loss in curve:
                if loss.step in window:
                    each = by_window.setdefault(window[loss.step], [[] for _ in curves])
                    each[i].append((float(getattr(loss, against)), loss.loss))
        for several in by_window.values():
            interval = t_interval([mean([loss for _, loss in one]) for one in several])
            place = mean([x for one in several for x, _ in one])
            found.append((name, place, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(found, columns=["group", against, "loss", "low", "high", "n"])


def profile_names(grid: str | None, members: Sequence[Run]) -> list[ProfileName]:
    """Names of the numbers by position that runs on the same data as these have."""
    by_data = _profile_names(store_url(), stamp(), grid)
    known = {one.name: one for data in {run.data_hash for run in members} for one in by_data.get(data, ())}
    return list(known.values())


@st.cache_resource(max_entries=8, show_spinner=False)
def _profile_names(url: str, at: Stamp, grid: str | None) -> dict[str | None, list[ProfileName]]:
    return read_profile_names(open_store(), grid)


def profile(name: str, members: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One number by position: columns group, x, mean, low, high (95 % interval over runs), n (runs)."""
    return _profile(store_url(), stamp(), name, tuple((group, tuple(ids)) for group, ids in members.items()))


@st.cache_data(max_entries=16, show_spinner=False)
def _profile(url: str, at: Stamp, name: str, members: tuple[tuple[str, tuple[str, ...]], ...]) -> pd.DataFrame:
    stored = read_profile(open_store(), name, [run_id for _, ids in members for run_id in ids])
    found = []
    for group, ids in members:
        at_x: dict[float, list[float]] = {}
        for run_id in ids:
            for x, value, _ in stored.get(run_id, ()):
                at_x.setdefault(x, []).append(value)
        for x in sorted(at_x):
            interval = t_interval(at_x[x])
            found.append((group, x, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(found, columns=["group", "x", "mean", "low", "high", "n"])


def validity(grid: str | None, target: str, over: Literal["runs", "groups"], run_ids: Sequence[str]) -> list[Validity]:
    """Validity of metrics over these runs, as `harness.report.validity.validity`."""
    return _validity(store_url(), stamp(), grid, target, over, tuple(run_ids))


@st.cache_resource(max_entries=8, show_spinner=False)
def _validity(
    url: str, at: Stamp, grid: str | None, target: str, over: Literal["runs", "groups"], run_ids: tuple[str, ...]
) -> list[Validity]:
    return agreement.validity(open_store(), target, grid=grid, over=over, among=frozenset(run_ids))
