"""What quality costs: scores against time, tokens and sampled actions, and which groups are worth their price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import charts, choices, look, numbers, queries
from dashboard.numbers import Unit
from harness.report.rendering import BETTER
from harness.storage.queries import ScoreName

GRID = queries.chosen_grid()
SHOWN = 60  # rows of the table; the download has all
UNITS: dict[Unit, str] = {
    "seconds": "seconds of training",
    "tokens": "tokens through the model",
    "sampled": "actions sampled while training",
}
assert tuple(UNITS) == get_args(Unit)

look.page("Cost", "What a better score costs, and which groups are worth their price.")


def page() -> None:
    """Choose a benchmark, a score and what to pay in."""
    here = queries.groups(GRID)
    if not here:
        look.notice("There are no finished runs here yet.")
        return
    *places, middle, right = st.columns([2, 2, 3] if len(queries.short_titles(here)) > 1 else [3, 4])
    chosen = choices.benchmark(here, *places)
    members = [run for group in chosen for run in group.runs.values()]
    on_the_way = [score for score in numbers.interim_scores(GRID, members) if score.direction != "reference"]
    if on_the_way and st.segmented_control(
        "Scores", ["at the end", "while training"], default="while training", key="scored", bind="query-params",
        required=True, help="While training on the validation split, at the end on the test split.",
    ) != "at the end":  # fmt: skip
        along(chosen, choices.score(on_the_way, middle), right)
        return
    scores = [score for score in numbers.scores(GRID, members) if score.direction != "reference"]
    if not scores:
        look.notice("No score of this benchmark says which way is better.")
        return
    score = choices.score(scores, middle)
    unit: Unit = right.segmented_control(
        "Paid in", list(UNITS), default="seconds", key="unit", bind="query-params", required=True
    ) or "seconds"  # fmt: skip
    frame = numbers.costs(GRID, {run.run_id for run in members}, score.name, unit)
    if frame.empty:
        look.notice("No finished run recorded what it cost.")
        return
    front = frame[frame["front"]].sort_values(unit)
    told = frame.assign(told=["nothing is better for less" if one else "beaten for less" for one in frame["front"]])
    pen = charts.ink()
    few = len(frame) <= len(pen.palette)
    colour, shape, _ = charts.series("group" if few else "told", list(told["group" if few else "told"]))
    across = alt.X(f"{unit}:Q", title=UNITS[unit], scale=alt.Scale(zero=False, padding=20))
    up = alt.Y("mean:Q", title=f"{score.metric} ({BETTER[score.direction]})", scale=alt.Scale(zero=False, padding=12))
    drawn = (
        alt.Chart(front).mark_line(strokeDash=[4, 4], color=pen.rule).encode(x=across, y=up)
        + alt.Chart(told.dropna(subset=["low"])).mark_rule(strokeWidth=1.5).encode(
            x=across, y=alt.Y("low:Q", title=""), y2="high:Q", color=colour
        )
        + alt.Chart(told).mark_point(filled=True, size=130, opacity=1).encode(
            x=across, y=up, color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("group:N"), alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip(f"{unit}:Q", format=",.4g"),
                alt.Tooltip("n:Q", title="seeds"),
            ],
        )
    )  # fmt: skip
    sentence = (
        f"Mean {score.metric} with its interval over seeds against {UNITS[unit]}; along the dashed line no group has a "
        f"better mean for less: {', '.join(front['group'])}. Means that intervals do not tell apart may change places."
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
        look.says(f"{len(frame) - SHOWN} more groups stand in the download.")
    look.downloads(frame, "cost")


def along(members: Sequence[queries.Group], score: ScoreName, place: DeltaGenerator) -> None:
    """Every group's way through training, and where on these ways nothing better was to be had for less."""
    units: dict[Unit, str] = {unit: words for unit, words in UNITS.items() if unit != "sampled"}
    unit: Unit = place.segmented_control(
        "Paid in", list(units), default="tokens", key="paid", bind="query-params", required=True
    ) or "tokens"  # fmt: skip
    by_group = {group.label: group.run_ids for group in members if not group.is_control}
    frame = numbers.ways(GRID, by_group, score, unit)
    if frame.empty:
        look.notice("No finite score while training is stored for this benchmark.")
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
        sentence=f"Mean {score.metric} on the validation split while training, with its interval over seeds, against "
        f"{units[unit]}; along the dashed line nothing better was to be had for less: {on}. Means that intervals do "
        "not tell apart may change places.",
        height=400,
    )
    columns = ["steps", "seconds", "tokens", "mean"]
    caption = "Means over a group's runs at each point where they were scored, bold along the dashed line"
    table(frame, columns, columns, caption)
    look.downloads(frame, "cost-while-training")


def table(frame: pd.DataFrame, heads: Sequence[str], columns: Sequence[str], caption: str) -> None:
    """The first rows of `frame`: group, n and these columns under these heads."""
    look.table(
        ["group", "n", *heads],
        [
            [
                look.Cell(row["group"], css="best" if row["front"] else ""),
                str(row["n"]),
                *(look.number(row[key]) for key in columns),
            ]
            for row in frame.head(SHOWN).to_dict("records")
        ],
        caption=caption,
        numbers=1,
        tall=len(frame) > 15,
    )


page()
