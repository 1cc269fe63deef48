"""Benchmarks with a known law: exact divergences, growth and recovery of errors, and cheap scores that track them."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import streamlit as st

from dashboard import boards, charts, run_queries, score_queries, selectors, widgets
from dashboard.glossary import WORDS, exact, measure
from dashboard.run_queries import Group
from harness.report.exports import csv_table, markdown_table
from harness.report.rendering import BETTER, validity_cells
from harness.report.validity import Validity
from harness.storage.queries import ProfileName, ScoreName

GRID = run_queries.chosen_grid()
MOST = 6  # curves in a chart
QUICK = 400  # models that are correlated unasked
SHOWN = 14  # scores in the chart of rank correlations

widgets.page("Exact lab", "Benchmarks with a known law: the distance of each model from it is exact, not estimated.")


def page() -> None:
    """Divergences, curves by position, and what tracks what."""
    here = run_queries.groups(GRID)
    if not here:
        widgets.notice("There are no finished runs here yet.")
        return
    here = selectors.benchmark(here)
    scores = score_queries.scores(GRID, [run for group in here for run in group.runs.values()])
    known = [score for name in exact() for score in scores if score.metric == name]
    divergences(known, here)
    profiles(here)
    st.header("Cheap scores that track an exact one", anchor=False, help=WORDS["spearman"])
    if not scores:
        widgets.notice("No run of this benchmark has a score.")
        return
    tracking(list(dict.fromkeys([*known, *scores])), here)


def divergences(known: Sequence[ScoreName], here: Sequence[Group]) -> None:
    """The exact scores of every group."""
    st.header("How far from the law", anchor=False)
    if not known:
        widgets.notice("This benchmark has no law that is known exactly; `language` has one.")
        return
    ids = {run_id for group in here for run_id in group.run_ids}
    asked = {"metrics": [score.name for score in known]}
    for table in score_queries.board(GRID, **asked).tables:
        if any(not ids.isdisjoint(row.runs) for row in table.rows):
            boards.draw(table, brief=True)
            boards.legend(table)
    widgets.exports("exact", CSV=(lambda: score_queries.export("csv", GRID, **asked), "exact.csv"))


def profiles(here: Sequence[Group]) -> None:
    """One number by position, as a curve for each group."""
    st.header("Curves by position", anchor=False)
    stored = score_queries.profile_names(GRID, [run for group in here for run in group.runs.values()])
    if not stored:
        widgets.notice(
            "No number by position was stored for these runs; `harness rescore` adds what their metrics have now."
        )
        return
    short = [one.metric for one in stored]
    named = {one.metric if short.count(one.metric) == 1 else one.name: one for one in stored}
    order = {name: i for i, name in enumerate(exact())}
    wanted = min(range(len(stored)), key=lambda i: order.get(stored[i].metric, len(order)))
    left, _ = st.columns([1, 1])
    profile = named[
        left.selectbox("Number", list(named), index=wanted, key="profile", bind="query-params")
    ]  # fmt: skip
    chosen = selectors.several(here, [group.label for group in here[:4]], MOST, "One curve each.", "curves")
    if not chosen:
        widgets.notice("Choose a group to see its curve.")
        return
    curves(profile, chosen)


def curves(profile: ProfileName, chosen: Sequence[Group]) -> None:
    """Means over seeds with their intervals."""
    frame = score_queries.profile(profile.name, {group.label: group.run_ids for group in chosen})
    if frame.empty:
        widgets.notice("None of these groups has it.")
        return
    colour, shape, dash = charts.series("group", [group.label for group in chosen])
    name = f"{profile.metric} ({profile.unit})" if profile.unit else profile.metric
    across = alt.X("x:Q", title=profile.axis, axis=alt.Axis(format="~g"))
    up = charts.domain(frame["mean"])
    drawn = (
        alt.Chart(frame[frame["n"] >= charts.BANDED]).mark_area(opacity=0.14, clip=True).encode(
            x=across, y=alt.Y("low:Q", title=name, scale=up), y2="high:Q", color=colour
        )
        + alt.Chart(frame).mark_line(strokeWidth=2).encode(
            x=across, y=alt.Y("mean:Q", title=name, scale=up), color=colour, strokeDash=dash
        )
        + alt.Chart(frame).mark_point(filled=True, size=45, opacity=1).encode(
            x=across, y=alt.Y("mean:Q", title=name, scale=up), color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("group:N"), alt.Tooltip("x:Q"), alt.Tooltip("mean:Q", format=".4g"),
                alt.Tooltip("n:Q", title="runs"),
            ],
        )
    )  # fmt: skip
    meaning = measure(profile.metric)
    ends = [
        f"{group.label} from {own['mean'].iloc[0]:.3g} to {own['mean'].iloc[-1]:.3g}"
        for group in chosen
        if not (own := frame[frame["group"] == group.label]).empty
    ]
    charts.show(
        drawn,
        height=360,
        sentence=f"{profile.metric}{': ' + meaning if meaning else ''} ({BETTER[profile.direction]}), mean over seeds "
        f"with its 95 % interval from {charts.BANDED} seeds on: {'; '.join(ends)}.",
    )
    widgets.downloads(frame, f"profile-{profile.metric}")


def tracking(scores: Sequence[ScoreName], here: Sequence[Group]) -> None:
    """Rank correlations of every score with one that is taken for the truth."""
    left, right = st.columns(2)
    target = selectors.score(scores, left, "The score to track")
    over = right.segmented_control(
        "Each model is", ["a run", "a group's mean"], default="a run", key="over", bind="query-params", required=True,
        help="Runs that differ in seeds only are not independent: with few groups, take means.",
    )  # fmt: skip
    means = over == "a group's mean"
    models = len(here) if means else sum(len(group.runs) for group in here)
    if models > QUICK and not st.toggle(
        f"Set {models:,} models side by side", key="many", bind="query-params", help="This takes a while."
    ):
        widgets.notice("So many are compared only on demand.")
        return
    members = [run_id for group in here for run_id in group.run_ids]
    found = score_queries.validity(GRID, target.name, "groups" if means else "runs", members)
    if not found:
        widgets.notice(f"No model of this benchmark has a number for {target.metric}, so nothing can be set beside it.")
    for one in found:
        agreement(one)


def agreement(found: Validity) -> None:
    """The chart of the strongest correlations, and all of them as a table."""
    target = found.target.metric
    kinds: dict[str, charts.Kind] = {
        "puts models in the same order": "good",
        "in the opposite order": "bad",
        "unclear": "plain",
        "has no better end": "accent",
    }
    words = dict(zip(("agrees", "disagrees", "unclear", ""), kinds, strict=True))
    readings = [
        charts.Reading(
            one.score.metric, one.correlation.mean, one.correlation.low, one.correlation.high, words[one.verdict],
            f"{one.correlation.n} models",
        )
        for one in found.agreements
        if one.correlation is not None
    ]  # fmt: skip
    if not readings:
        widgets.notice(f"No score can be set beside {target}: too few models have both.")
        return
    same = [one.label for one in readings if kinds[one.outcome] == "good"]
    charts.intervals(
        _unique(readings[:SHOWN]),
        axis=f"rank correlation with {target}",
        kinds=kinds,
        sentence=f"Rank correlation of each score with {target} over models, with the simultaneous 95 % interval of "
        "them all. Whether a score "
        f"agrees depends on which end of it is better. It puts models in the same order: {', '.join(same) or 'none'}.",
    )
    heads, rows = validity_cells(found)
    widgets.table(heads, rows, caption=f"Rank correlation with {found.target.name}", numbers=1, tall=len(rows) > 12)
    widgets.notes(found.notes)
    widgets.exports(
        f"tracks-{found.title}-{found.target.name}",
        CSV=(lambda: csv_table(heads, rows), f"tracks-{target}.csv"),
        Markdown=(lambda: markdown_table(heads, rows), f"tracks-{target}.md"),
    )


def _unique(readings: Sequence[charts.Reading]) -> list[charts.Reading]:
    """The same readings with distinct labels, also for definitions of one metric."""
    seen: dict[str, int] = {}
    labelled = []
    for one in readings:
        seen[one.label] = seen.get(one.label, 0) + 1
        labelled.append(one if seen[one.label] == 1 else charts.renamed(one, f"{one.label} ({seen[one.label]})"))
    return labelled


page()
