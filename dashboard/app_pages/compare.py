"""Comparison of two to six groups: configuration, scores and learning curves."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, run_queries, score_queries, selectors, widgets
from dashboard.glossary import WORDS, measure
from dashboard.run_queries import Group
from harness.report.compare import Comparison, ScoreLine
from harness.report.exports import csv_table
from harness.report.leaderboard_table import PREFERRED
from harness.report.rendering import ARROWS, BETTER, comparison_cells, rounded
from harness.report.sentences import bounded
from harness.stats.ranks import Difference
from harness.storage.queries import ScoreName
from harness.system.printable import printable

GRID = run_queries.chosen_grid()
LEAST, MOST = 2, 6
FIRST = "The others are compared with the first one."

widgets.page("Compare", "A few groups side by side: settings that differ, and differences of scores.")


def page() -> None:
    """Choose groups to compare; the first is the reference."""
    here = run_queries.groups(GRID)
    if len(here) < LEAST:
        widgets.notice("Two groups of finished runs are needed to compare anything; there are fewer here.")
        return
    here = selectors.benchmark(here)
    chosen = selectors.several(
        here, [group.label for group in here[:LEAST]], MOST, FIRST, "groups"
    )  # fmt: skip
    if len(chosen) < LEAST:
        widgets.notice(f"Choose at least {LEAST} groups.")
        return
    above = st.container()  # the configuration comes first, the selector of scores below it
    st.header("How the scores differ", anchor=False, help=f"{WORDS['interval']} p: {WORDS['p']}")
    every = st.toggle("All scores", key="all", bind="query-params", help="Otherwise those that a leaderboard shows.")
    metrics = None if every else [score.name for score in usual(chosen)]
    several = score_queries.comparison(GRID, [group.group_id for group in chosen], metrics)
    found = next(one for one in several if not set(chosen[0].run_ids).isdisjoint(one.sides[0].runs))
    with above:
        configuration(found, chosen)
    scores(found, chosen)
    learning(chosen)


def usual(chosen: Sequence[Group]) -> list[ScoreName]:
    """The scores that a leaderboard shows unasked, or all where there is none of them."""
    found = score_queries.scores(GRID, [run for group in chosen for run in group.runs.values()])
    return [score for score in found if score.metric in PREFERRED] or found


def configuration(found: Comparison, chosen: Sequence[Group]) -> None:
    """Keys with different values."""
    st.header("Settings that differ", anchor=False)
    if not found.settings:
        widgets.notice("Nothing: these groups have the same configuration.")
        return
    heads = ["key", *(group.label for group in chosen)]
    rows = [[printable(key), *map(printable, values)] for key, values in found.settings.items()]
    widgets.table(heads, rows, caption="Configuration keys with different values", tall=len(rows) > 15)
    widgets.downloads(lambda: pd.DataFrame(rows, columns=heads), "configuration")


def scores(found: Comparison, chosen: Sequence[Group]) -> None:
    """Means, and differences from the first group."""
    lines = found.lines
    widgets.table(
        ["score", chosen[0].label, *(group.label for group in chosen[1:])],
        [[_name(line), _mean(line, 0), *(_other(line, i) for i in range(1, len(chosen)))] for line in lines],
        caption=f"Mean ± single 95 % interval; below, the paired difference from {chosen[0].label} [simultaneous 95 % "
        "interval]: green is separated and better, orange separated and worse",
        numbers=1,
        tall=len(lines) > 12,
    )
    widgets.notes(found.notes)
    widgets.exports("compare", CSV=(lambda: csv_table(*comparison_cells(found)), "compare.csv"))


def _name(line: ScoreLine) -> widgets.Cell:
    score = line.score
    meaning = measure(score.metric)
    hint = f"{meaning + '; ' if meaning else ''}{BETTER[score.direction]}. Definition: {score.name}"
    return widgets.Cell(f"{score.metric} {ARROWS[score.direction]}", score.unit, hint=hint)


def _mean(line: ScoreLine, side: int) -> widgets.Cell:
    found = line.means[side]
    return widgets.Cell("no value" if found is None else rounded(found))


def _other(line: ScoreLine, side: int) -> widgets.Cell:
    mean, difference = line.means[side], line.differences[side - 1]
    if mean is None or difference is None or not difference.found.n:
        return _mean(line, side)
    note = f"{bounded(difference.interval, '+')}, p = {difference.found.p:.2g}"
    return widgets.Cell(rounded(mean), note, _css(line, difference))


def _css(line: ScoreLine, difference: Difference) -> str:
    if not difference.separated or line.score.direction == "reference":
        return "best" if difference.separated else ""
    better = (difference.interval.mean > 0) == (line.score.direction == "higher")
    return "best gain" if better else "best loss"


def learning(chosen: Sequence[Group]) -> None:
    """Mean loss of each group while it learns."""
    st.header("How they learned", anchor=False)
    against = (
        st.segmented_control(
            "Against", ["step", "tokens", "seconds"], default="step", key="against", bind="query-params", required=True
        )
        or "step"
    )
    frame = score_queries.learning({group.label: group.run_ids for group in chosen}, against)
    if frame.empty:
        widgets.notice("Nothing was logged for these groups.")
        return
    colour, _, dash = charts.series("group", [group.label for group in chosen])
    base = alt.Chart(frame).encode(x=alt.X(f"{against}:Q", title=against))
    up, name = charts.domain(frame["loss"]), "loss (nats per token)"
    banded = alt.Chart(frame[frame["n"] >= charts.BANDED]).encode(x=alt.X(f"{against}:Q", title=against))
    drawn = banded.mark_area(opacity=0.15, clip=True).encode(
        y=alt.Y("low:Q", title=name, scale=up), y2="high:Q", color=colour
    ) + base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y("loss:Q", title=name, scale=up), color=colour, strokeDash=dash,
        tooltip=[alt.Tooltip("group:N"), alt.Tooltip("loss:Q", format=".4g"), alt.Tooltip("n:Q", title="runs")],
    )  # fmt: skip
    charts.show(
        drawn,
        height=340,
        sentence=f"Training loss against {against}, in at most {score_queries.POINTS} windows: mean over runs, with "
        f"its 95 % interval from {charts.BANDED} runs on. Losses of different objectives are different quantities.",
    )
    widgets.downloads(frame, "learning-curves")


page()
