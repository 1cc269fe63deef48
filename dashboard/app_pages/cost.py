"""What quality costs: scores against time, tokens and sampled actions, and which groups nothing beats at their price."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dashboard import look, numbers, queries

st.title("Cost")
GRID = queries.chosen_grid()
UNITS = {
    "seconds": "seconds of training",
    "tokens": "tokens through the forward pass",
    "sampled": "actions sampled while training",
}


def page() -> None:
    """Choose a benchmark, a score and what to pay in."""
    tables = numbers.tables(GRID)
    if not tables:
        look.notice("There are no finished runs here yet.")
        return
    left, middle, right = st.columns(3)
    title = left.selectbox("Benchmark", list(tables), key="benchmark", bind="query-params")
    scores = numbers.scores_in(GRID, tables[title])
    names = {name: score.direction for name, score in scores.items() if score.direction != "reference"}
    if not names:
        look.notice("No score of this benchmark says which way is better.")
        return
    score = middle.selectbox(
        "Score", list(names), key="score", bind="query-params", format_func=lambda name: name.partition("@")[0]
    )
    unit = right.segmented_control(
        "Paid in", list(UNITS), default="seconds", key="unit", bind="query-params", required=True
    ) or "seconds"  # fmt: skip
    frame = numbers.costs(GRID, title, score, unit)
    if frame.empty:
        look.notice("No finished run recorded this cost.")
        return
    metric, better = score.partition("@")[0], names[score]
    colour, shape = look.series("group", "group", frame["group"].tolist())
    front = frame[frame["front"]].sort_values(unit)
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=120, opacity=1)
        .encode(
            x=alt.X(f"{unit}:Q", title=UNITS[unit], scale=alt.Scale(zero=False)),
            y=alt.Y("mean:Q", title=f"{metric} ({better} is better)", scale=alt.Scale(zero=False)),
            color=colour,
            shape=shape,
            tooltip=["group:N", alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip(f"{unit}:Q", format=",.4g"), "n:Q"],
        )
    )
    bars = (
        alt.Chart(frame.dropna(subset=["low"]))
        .mark_rule()
        .encode(x=f"{unit}:Q", y=alt.Y("low:Q", title=""), y2="high:Q", color=colour)
    )
    line = alt.Chart(front).mark_line(strokeDash=[4, 4], color="#7F7F7F").encode(x=f"{unit}:Q", y="mean:Q")
    sentence = (
        f"Mean {metric} with its interval over seeds against {UNITS[unit]}; along the dashed line no group has a better "
        f"mean for less: {', '.join(front['group'])}. Means that intervals do not tell apart may change places."
    )
    look.chart((line + bars + points).properties(height=380), alt_text=sentence, sentence=sentence)
    look.table(
        ["group", "n", "steps", "seconds", "tokens", "tokens per second", "sampled actions", "peak memory (MiB)"],
        [
            [
                row["group"],
                str(row["n"]),
                *(queries.number(row[key]) for key in ("steps", "seconds", "tokens", "speed", "sampled", "memory")),
            ]
            for row in frame.to_dict("records")
        ],
        caption="Means over a group's runs; seconds and memory depend on the machine and on what else it did",
        numbers=1,
    )
    look.downloads(frame, "cost")


page()
