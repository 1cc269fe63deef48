"""Two to six groups against each other: what differs in configuration, in scores, and while learning."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dashboard import look, numbers, queries
from dashboard.glossary import WORDS

st.title("Compare")
GRID: str | None = st.session_state.get("grid")
LEAST, MOST = 2, 6


def page() -> None:
    """Choose groups; the first is what the others are compared with."""
    groups = queries.group_names(queries.finished(GRID))
    if len(groups) < LEAST:
        look.notice("Two groups of finished runs are needed to compare anything; there are fewer here.")
        return
    chosen = st.multiselect(
        "Groups", list(groups), default=list(groups)[:LEAST], key="groups", bind="query-params", max_selections=MOST,
        format_func=lambda group: groups.get(group, "?"), help="The first one is what the others are compared with.",
    )  # fmt: skip
    if len(chosen) < LEAST:
        look.notice(f"Choose at least {LEAST} groups.")
        return
    found = numbers.comparison(GRID, tuple(chosen))
    st.subheader("What differs in configuration")
    differing = found.configuration
    look.table(
        ["key", *(groups[group] for group in chosen)],
        [[key, *(values)] for key, values in differing] or [["nothing", *("" for _ in chosen)]],
        caption="Configuration keys with different values",
    )
    st.subheader("What differs in scores", help=WORDS["interval"])
    look.table(
        ["score", *(groups[group] for group in chosen)],
        [[look.Cell(row.metric, row.name), *row.cells] for row in found.scores],
        caption=f"Mean and interval; difference from {groups[chosen[0]]} with p over all comparisons of the score",
        numbers=1,
    )
    for note in found.notes:
        look.says(note)
    look.downloads(found.frame, "compare")
    learning(chosen, groups)


def learning(chosen: list[str], groups: dict[str, str]) -> None:
    """Mean loss of each group while it learns."""
    st.subheader("Learning curves")
    against = st.segmented_control(
        "Against", ["step", "tokens", "seconds"], default="step", key="against", bind="query-params", required=True
    )
    frame = queries.learning(GRID, tuple(chosen), against or "step")
    if frame.empty:
        look.notice("Nothing was logged for these groups.")
        return
    frame = frame.assign(group=[groups[one] for one in frame["group"]])
    colour, _ = look.series("group", "group", [groups[one] for one in chosen])
    drawn = (
        alt.Chart(frame)
        .mark_line()
        .encode(
            x=alt.X(f"{against}:Q", title=against),
            y=alt.Y("loss:Q", scale=alt.Scale(zero=False)),
            color=colour,
            strokeDash=alt.StrokeDash("group:N", legend=None),
        )
    )
    sentence = f"Training loss (nats per token, mean over seeds) against {against}. Losses of different objectives do not compare."
    look.chart(drawn, alt_text=sentence, sentence=sentence)
    look.downloads(frame, "learning-curves")


page()
