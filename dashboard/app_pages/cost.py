"""Scores against cost: time, tokens and sampled actions, with the Pareto front of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import charts, run_queries, score_queries, selectors, widgets
from dashboard.score_queries import Unit
from harness.report.rendering import BETTER
from harness.storage.queries import ScoreName

GRID = run_queries.chosen_grid()
SHOWN = 60  # rows of the table; the download has all
UNITS: dict[Unit, str] = {
    "seconds": "seconds of training",
    "tokens": "tokens through the model",
    "sampled": "actions sampled while training",
}
assert tuple(UNITS) == get_args(Unit)

widgets.page("Cost", "Scores against cost, and the groups that no other one beats for less.")


def page() -> None:
    """Choose a benchmark, a score and a unit of cost."""
    here = run_queries.groups(GRID)
    if not here:
        widgets.notice("There are no finished runs here yet.")
        return
    *places, middle, right = st.columns([2, 2, 3] if len(run_queries.short_titles(here)) > 1 else [3, 4])
    chosen = selectors.benchmark(here, *places)
    members = [run for group in chosen for run in group.runs.values()]
    on_the_way = [score for score in score_queries.interim_scores(GRID, members) if score.direction != "reference"]
    if on_the_way and st.segmented_control(
        "Scores", ["at the end", "while training"], default="while training", key="scored", bind="query-params",
        required=True, help="While training on the validation split, at the end on the test split.",
    ) != "at the end":  # fmt: skip
        along(chosen, selectors.score(on_the_way, middle), right)
        return
    scores = [score for score in score_queries.scores(GRID, members) if score.direction != "reference"]
    if not scores:
        widgets.notice("No score of this benchmark has a better direction.")
        return
    score = selectors.score(scores, middle)
    unit: Unit = right.segmented_control(
        "Paid in", list(UNITS), default="seconds", key="unit", bind="query-params", required=True
    ) or "seconds"  # fmt: skip
    frame = score_queries.costs(GRID, {run.run_id for run in members}, score.name, unit)
    if frame.empty:
        widgets.notice("No finished run recorded its cost.")
        return
    front = frame[frame["front"]].sort_values(unit)
    shown = frame.assign(outcome=["nothing is better for less" if one else "beaten for less" for one in frame["front"]])
    pen = charts.ink()
    few = len(frame) <= len(pen.palette)
    colour, shape, _ = charts.series("group" if few else "outcome", list(shown["group" if few else "outcome"]))
    across = alt.X(f"{unit}:Q", title=UNITS[unit], scale=alt.Scale(zero=False, padding=20))
    up = alt.Y("mean:Q", title=f"{score.metric} ({BETTER[score.direction]})", scale=alt.Scale(zero=False, padding=12))
    drawn = (
        alt.Chart(front).mark_line(strokeDash=[4, 4], color=pen.rule).encode(x=across, y=up)
        + alt.Chart(shown.dropna(subset=["low"])).mark_rule(strokeWidth=1.5).encode(
            x=across, y=alt.Y("low:Q", title=""), y2="high:Q", color=colour
        )
        + alt.Chart(shown).mark_point(filled=True, size=130, opacity=1).encode(
            x=across, y=up, color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("group:N"), alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip(f"{unit}:Q", format=",.4g"),
                alt.Tooltip("n:Q", title="seeds"),
            ],
        )
    )  # fmt: skip
    sentence = (
        f"Mean {score.metric} with its single 95 % interval over seeds against {UNITS[unit]}; along the dashed line no "
        f"group has a better mean for less: {', '.join(front['group'])}. Single intervals separate no groups: the "
        "Leaderboard does."
    )
    charts.show(drawn, sentence=sentence, height=400)
    tuned = bool(frame["trials"].any())
    columns = [
        "steps",
        "seconds",
        "tokens",
        "looked",
        "sampler",
        "speed",
        "sampled",
        "memory",
        *(["trials", "tuning"] if tuned else []),
    ]
    heads = ["steps", "seconds", "tokens", "without gradient", "in the sampler", "tokens per second"]
    heads += ["sampled actions", "peak memory (MiB)"]
    table(
        frame,
        [*heads, *(["trials", "seconds of all trials"] if tuned else [])],
        columns,
        "Means over a group's runs, bold along the dashed line; seconds and memory depend on the machine",
    )
    if len(frame) > SHOWN:
        widgets.caption(f"{len(frame) - SHOWN} more groups stand in the download.")
    widgets.downloads(frame, "cost")


def along(members: Sequence[run_queries.Group], score: ScoreName, place: DeltaGenerator) -> None:
    """Every group's scores along training, and the Pareto front of all their points."""
    units: dict[Unit, str] = {unit: words for unit, words in UNITS.items() if unit != "sampled"}
    unit: Unit = place.segmented_control(
        "Paid in", list(units), default="tokens", key="paid", bind="query-params", required=True
    ) or "tokens"  # fmt: skip
    by_group = {group.label: group.run_ids for group in members if not group.is_control}
    frame = score_queries.ways(GRID, by_group, score, unit)
    if frame.empty:
        widgets.notice("No finite score while training is stored for this benchmark.")
        return
    best = frame[frame["front"]].sort_values(unit)
    pen = charts.ink()
    colour, shape, _ = charts.series("group", list(frame["group"]))
    across = alt.X(f"{unit}:Q", title=units[unit], scale=alt.Scale(zero=False, padding=20))
    up = alt.Y("mean:Q", title=f"{score.metric} ({BETTER[score.direction]})", scale=alt.Scale(zero=False, padding=12))
    drawn = (
        alt.Chart(best).mark_line(strokeDash=[4, 4], color=pen.rule).encode(x=across, y=up)
        + alt.Chart(frame).mark_line(strokeWidth=1.5, opacity=0.6).encode(x=across, y=up, color=colour)
        + alt.Chart(frame.dropna(subset=["low"])).mark_rule(strokeWidth=1).encode(
            x=across, y=alt.Y("low:Q", title=""), y2="high:Q", color=colour
        )
        + alt.Chart(frame).mark_point(filled=True, size=70, opacity=1).encode(
            x=across, y=up, color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("group:N"), alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip(f"{unit}:Q", format=",.4g"),
                alt.Tooltip("steps:Q", format=",.4g"), alt.Tooltip("n:Q", title="seeds"),
            ],
        )
    )  # fmt: skip
    on = ", ".join(dict.fromkeys(best["group"]))
    charts.show(
        drawn,
        sentence=f"Mean {score.metric} on the validation split while training, with its single 95 % interval over "
        "seeds, against "
        f"{units[unit]}; along the dashed line no point is better for less: {on}. The intervals are single "
        "ones, which separate no groups.",
        height=400,
    )
    columns = ["steps", "seconds", "tokens", "mean"]
    caption = "Means over a group's runs at each point where they were scored, bold along the dashed line"
    table(frame, columns, columns, caption)
    widgets.downloads(frame, "cost-while-training")


def table(frame: pd.DataFrame, heads: Sequence[str], columns: Sequence[str], caption: str) -> None:
    """The first rows of `frame`: group, n and these columns under these heads."""
    widgets.table(
        ["group", "n", *heads],
        [
            [
                widgets.Cell(row["group"], css="best" if row["front"] else ""),
                str(row["n"]),
                *(widgets.number(None if pd.isna(row[key]) else row[key]) for key in columns),
            ]
            for row in frame.head(SHOWN).to_dict("records")
        ],
        caption=caption,
        numbers=1,
        tall=len(frame) > 15,
    )


page()
