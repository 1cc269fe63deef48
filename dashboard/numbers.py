"""What the pages ask of a store about scores: boards, factors, effects and costs, each computed by the harness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.queries import Stamp, finished, open_store, stamp, store_url
from harness import effects as factor_effects
from harness.board import Leaderboard
from harness.groups import mean, titles
from harness.groups import tables as by_benchmark
from harness.readings import Run, ScoreName, read_names, read_values
from harness.report import leaderboard
from harness.selection import known_keys, last_part, written


def board(grid: str | None, **asked: Any) -> Leaderboard:
    """As `harness.report.leaderboard`."""
    return _board(store_url(), stamp(), grid, tuple(sorted((key, _frozen(value)) for key, value in asked.items())))


@st.cache_data(max_entries=64, show_spinner=False)
def _board(url: str, at: Stamp, grid: str | None, asked: tuple[tuple[str, Any], ...]) -> Leaderboard:
    return leaderboard(open_store(), grid=grid, **dict(asked))


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


def values(grid: str | None, name: str) -> dict[str, float | str]:
    """The numbers of one score, or the reasons why there is none, by run id."""
    return _values(store_url(), stamp(), grid, name)


@st.cache_data(max_entries=64, show_spinner=False)
def _values(url: str, at: Stamp, grid: str | None, name: str) -> dict[str, float | str]:
    return read_values(open_store(), grid, [name]).get(name, {})


# ---------------------------------------------------------------------------------------- benchmark by benchmark


def tables(grid: str | None) -> dict[str, list[Run]]:
    """Finished runs by the title of their benchmark."""
    members = by_benchmark(finished(grid))
    return dict(zip(titles(members), members, strict=True))


def scores_in(grid: str | None, members: Sequence[Run]) -> dict[str, ScoreName]:
    """The scores that some of the runs have, by full name."""
    ids = {run.run_id for run in members}
    return {score.name: score for score in names(grid) if not ids.isdisjoint(values(grid, score.name))}


def pivot(members: Sequence[Run], numbers: dict[str, float | str], across: str, down: str) -> pd.DataFrame:
    """Mean over all runs with both settings: columns across, down, mean, runs."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in members:
        value = numbers.get(run.run_id)
        if across in run.config and down in run.config and isinstance(value, float) and math.isfinite(value):
            found.setdefault((written(run.config[across]), written(run.config[down])), []).append(value)
    rows = [(*place, mean(several), len(several)) for place, several in found.items()]
    return pd.DataFrame(rows, columns=["across", "down", "mean", "runs"])


def effects(members: Sequence[Run], numbers: dict[str, float | str]) -> pd.DataFrame:
    """Every factor's main effects: columns factor, level, effect, low, high, seeds, settings."""
    rows = [
        (one.factor, one.level, one.effect.mean, one.effect.low, one.effect.high, one.effect.n, one.settings)
        for factor in factor_effects.factors(members)
        for one in factor_effects.main_effects(members, numbers, factor)
    ]
    return pd.DataFrame(rows, columns=["factor", "level", "effect", "low", "high", "seeds", "settings"])


def costs(grid: str | None, title: str, score: str, unit: str) -> pd.DataFrame:
    """Each row's mean score beside what its training cost; `front`: no row has a better mean for less of `unit`."""
    found = board(grid, metrics=[score], per="second")
    table = next((one for one in found.tables if one.title == title), None)
    if table is None:
        return pd.DataFrame()
    rows = []
    for row in table.rows:
        cell = row.scores.get(score)
        if row.cost is None or cell is None or cell.interval is None or not math.isfinite(cell.interval.mean):
            continue
        facts = [queries.provenance(run) for run in row.runs]
        sampled = mean([float(one.get("sampled_actions", 0)) for one in facts])
        memory = mean([one.get("peak_memory_bytes", math.nan) / 2**20 for one in facts])
        interval = cell.interval
        rows.append(
            {"group": row.label, "n": row.n, "mean": interval.mean, "low": interval.low, "high": interval.high}
            | {"steps": row.cost.steps, "tokens": row.cost.tokens, "seconds": row.cost.seconds, "sampled": sampled}
            | {"speed": row.cost.tokens / row.cost.seconds if row.cost.seconds else math.nan, "memory": memory}
        )
    better = 1.0 if table.columns[0].higher_is_better else -1.0
    for one in rows:
        one["front"] = not any(
            other[unit] <= one[unit]
            and better * other["mean"] >= better * one["mean"]
            and (other[unit], other["mean"]) != (one[unit], one["mean"])
            for other in rows
        )
    return pd.DataFrame(rows)
