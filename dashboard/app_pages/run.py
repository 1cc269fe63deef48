"""One run: configuration, curves, scores with their definitions, and where it came from."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import look, queries
from harness.readings import Run
from harness.selection import written

st.title("Run")


def page() -> None:
    """Everything about the run that the URL names."""
    members = {run.run_id: run for run in queries.runs(st.session_state.get("grid"))}
    if not members:
        look.notice("There are no runs here yet. `harness run demo` starts some.")
        return
    names = queries.run_names(list(members.values()))
    asked = st.selectbox(
        "Run", list(names), key="run", bind="query-params", format_func=lambda run: f"{names[run]} · {run}"
    )
    run = members[asked]
    facts = queries.provenance(asked)
    state(run, facts)
    curves(asked)
    scores(asked)
    with st.expander("Configuration"):
        pairs = {key: written(value) for key, value in run.config.items()}
        pairs |= {f"seeds.{name}": str(value) for name, value in run.seeds._asdict().items()}
        look.table(["key", "value"], [list(pair) for pair in pairs.items()], caption="Configuration")
        look.downloads(pd.DataFrame(pairs.items(), columns=["key", "value"]), f"config-{asked}")
    with st.expander("Provenance"):
        st.code(queries.as_lines(facts) or "nothing is recorded before a run is done", language=None, wrap_lines=True)


def state(run: Run, facts: dict[str, Any]) -> None:
    """Status, time and cost."""
    shown = {
        "Status": run.status,
        "Steps": queries.number(run.steps),
        "Tokens": queries.number(run.tokens),
        "Seconds of training": queries.number(run.seconds),
    }
    for column, (label, value) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.metric(label, value, border=True)
    if run.status == "failed":
        look.notice(queries.error_of(run.run_id), "bad")
        look.says("The same `harness run` command tries failed cells again.")


def curves(run_id: str) -> None:
    """Loss and its terms over training."""
    st.subheader("Learning curve")
    frame = queries.curves(run_id)
    if frame.empty:
        look.notice("Nothing was logged yet.")
        return
    against = st.segmented_control(
        "Against", ["step", "tokens", "seconds"], default="step", key="against", bind="query-params", required=True
    )
    terms = [name for name in frame.columns if name == "loss" or name.startswith("terms.")]
    term = st.selectbox(
        "Term", terms, key="term", bind="query-params", format_func=lambda name: name.removeprefix("terms.")
    )
    drawn = (
        alt.Chart(frame[[against, term]].dropna())
        .mark_line()
        .encode(
            x=alt.X(f"{against}:Q", title=against),
            y=alt.Y(f"{queries.quoted(term)}:Q", title=term, scale=alt.Scale(zero=False)),
        )
    )
    first, last = frame[term].iloc[0], frame[term].iloc[-1]
    look.chart(
        drawn,
        alt_text=f"{term} against {against}, from {first:.4g} to {last:.4g}",
        sentence=f"{term} against {against}: {first:.4g} at the start, {last:.4g} at the end of {len(frame)} logged steps.",
    )
    look.downloads(frame, f"curve-{run_id}")


def scores(run_id: str) -> None:
    """Every score under its full name."""
    st.subheader("Scores")
    frame = queries.scores_of(run_id)
    if frame.empty:
        look.notice("There are no scores before a run is done.")
        return
    rows = [
        [row["metric"], look.Cell(row["name"], row["unit"]), row["direction"], str(row["n"]),
         queries.number(row["value"]) if row["kind"] is not None else look.Cell("no value", str(row["reason"]))]
        for row in frame.to_dict("records")
    ]  # fmt: skip
    look.table(["score", "definition", "better", "n", "value"], rows, caption="Scores of this run", numbers=3)
    look.downloads(frame, f"scores-{run_id}")


page()
