"""Which factor matters: the mean score for any two factors, and each factor's effect with its interval."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import look, numbers
from dashboard.glossary import WORDS
from harness.effects import factors
from harness.selection import last_part, written

st.title("Ablations")
GRID: str | None = st.session_state.get("grid")


def page() -> None:
    """Choose a benchmark, a score and two factors."""
    tables = numbers.tables(GRID)
    if not tables:
        look.notice("There are no finished runs here yet.")
        return
    titles = list(tables)
    left, right = st.columns(2)
    title = left.selectbox("Benchmark", titles, key="benchmark", bind="query-params")
    members = tables[title]
    scores = numbers.scores_in(GRID, members)
    names = factors(members)
    if not scores or not names:
        look.notice("All runs of this benchmark have the same configuration, so there is nothing to compare.")
        return
    score = right.selectbox(
        "Score", list(scores), key="score", bind="query-params", format_func=lambda name: name.partition("@")[0]
    )
    if len(names) > 1:
        across, down = st.columns(2)
        first = across.selectbox("Across", names, key="across", bind="query-params", format_func=last_part)
        rest = [name for name in names if name != first]
        second = down.selectbox("Down", rest, key="down", bind="query-params", format_func=last_part)
        heat(numbers.pivot(members, numbers.values(GRID, score), first, second), score, first, second)
    effects(numbers.effects(members, numbers.values(GRID, score)), score)


def heat(frame: pd.DataFrame, score: str, first: str, second: str) -> None:
    """Mean over everything but two factors."""
    st.subheader("Two factors")
    metric = score.partition("@")[0]
    if frame.empty:
        look.notice("No run has a number for this score under both factors.")
        return
    square = alt.Chart(frame).encode(
        x=alt.X("across:N", title=last_part(first), sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("down:N", title=last_part(second), sort=None),
    )
    low, high = frame["mean"].min(), frame["mean"].max()
    drawn = square.mark_rect().encode(
        color=alt.Color("mean:Q", title=metric, scale=alt.Scale(scheme="cividis")),
        tooltip=["across:N", "down:N", alt.Tooltip("mean:Q", format=".4g"), "runs:Q"],
    ) + square.mark_text(fontSize=13).encode(
        text=alt.Text("mean:Q", format=".3g"),
        color=alt.condition(alt.datum.mean > (low + high) / 2, alt.value("#111111"), alt.value("#ffffff")),
    )
    sentence = (
        f"Mean {metric} over all runs with both settings, from {low:.3g} to {high:.3g}; a cell's tooltip says how many."
    )
    look.chart(drawn.properties(height=60 + 44 * frame["down"].nunique()), alt_text=sentence, sentence=sentence)
    look.downloads(frame, "two-factors")


def effects(frame: pd.DataFrame, score: str) -> None:
    """Main effects with intervals."""
    st.subheader("Main effects", help=WORDS["effect"])
    metric = score.partition("@")[0]
    if frame.empty:
        look.notice("No setting was run at every level of a factor with a shared seed, so no effect can be told.")
        return
    frame = frame.assign(level=[f"{last_part(row.factor)} = {written(row.level)}" for row in frame.itertuples()])
    place = alt.Y("level:N", title=None, sort=None, axis=alt.Axis(labelLimit=420))
    drawn = (
        alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="#7F7F7F").encode(x="x:Q")
        + alt.Chart(frame)
        .mark_rule(strokeWidth=2, color=look.COLOURS[0])
        .encode(x=alt.X("low:Q", title=""), x2="high:Q", y=place)
        + alt.Chart(frame)
        .mark_point(filled=True, size=90, opacity=1, color=look.COLOURS[0])
        .encode(
            x=alt.X("effect:Q", title=f"{metric}: distance from the factor's mean"),
            y=place,
            tooltip=["level:N", alt.Tooltip("effect:Q", format=".4g"), "seeds:Q", "settings:Q"],
        )
    )
    clear = [row.level for row in frame.itertuples() if row.low is not None and (row.low > 0 or row.high < 0)]
    sentence = (
        "Each level's distance from the mean over its factor's levels, over settings run at all of them, with a 95 % "
        f"interval over seeds (one at a time). Intervals that leave out 0: {', '.join(clear) or 'none'}."
    )
    look.chart(drawn.properties(height=40 + 28 * len(frame)), alt_text=sentence, sentence=sentence)
    look.downloads(frame, "main-effects")


page()
