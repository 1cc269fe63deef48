"""What is done, what beats MLE, what failed."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import look, queries

st.title("Overview")
grid = st.session_state.get("grid")
count = queries.counts(grid)
for column, name in zip(st.columns(4), ("done", "running", "pending", "failed"), strict=True):
    column.metric(name.capitalize(), count[name], border=True)
frame = pd.DataFrame({"x": [1, 2, 3], "g": ["a", "b", "c"], "y": [3, 1, 2]})
colour, shape = look.series("g", "group", frame["g"].tolist())
look.chart(alt.Chart(frame).mark_point(filled=True, size=90).encode(x="x", y="y", color=colour, shape=shape), alt_text="x", sentence="A sentence.")
look.table(["a", "b"], [["1", look.Cell("2.0 ± .1", "rank 1-3")], ["<script>alert(1)</script>", "x"]], caption="cap", pinned=1, numbers=1)
look.downloads(frame, "test")
