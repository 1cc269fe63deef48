"""One run: configuration, curves, scores with their definitions, and where it came from."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import look, queries

st.title("Run")


def page() -> None:
    """Everything about the run that the URL names."""
    frame = queries.runs(st.session_state.get("grid"))
    if frame.empty:
        look.notice("There are no runs here yet. `harness run demo` starts some.")
        return
    names = queries.run_names(frame)
    ids = list(names)
    asked = st.selectbox("Run", ids, key="run", bind="query-params", format_func=lambda run: f"{names[run]} · {run}")
    row = frame[frame["run_id"] == asked].iloc[0]
    facts = queries.provenance(asked) or {}
    state(row, facts)
    curves(asked)
    scores(asked)
    with st.expander("Configuration"):
        pairs = queries.configuration(row)
        look.table(["key", "value"], [[key, value] for key, value in pairs.items()], caption="Configuration")
        look.downloads(pd.DataFrame(pairs.items(), columns=["key", "value"]), f"config-{asked}")
    with st.expander("Provenance"):
        st.code(queries.as_yaml(facts) or "nothing is recorded before a run is done", language="yaml", wrap_lines=True)


def state(row: pd.Series, facts: dict[str, Any]) -> None:
    """Status, time and cost."""
    shown = {
        "Status": row["status"],
        "Steps": queries.number(row["step"]),
        "Tokens": queries.number(row["tokens"]),
        "Seconds of training": queries.number(row["seconds"]),
    }
    for column, (label, value) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.metric(label, value, border=True)
    if row["status"] == "failed":
        look.notice(str(row["error"]), "bad")
        look.says("The same `harness run` command tries failed cells again.")
    if facts.get("git", {}).get("dirty") if isinstance(facts.get("git"), dict) else False:
        look.notice("This run was made from code with changes that were not committed.")


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
    term = st.selectbox("Term", terms, key="term", bind="query-params", format_func=lambda name: name.removeprefix("terms."))
    drawn = (
        alt.Chart(frame[[against, term]].dropna())
        .mark_line()
        .encode(x=alt.X(f"{against}:Q", title=against), y=alt.Y(f"{queries.quoted(term)}:Q", title=term, scale=alt.Scale(zero=False)))
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
