"""One run: configuration, curves, scores with their definitions, and provenance."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, run_queries, selectors, widgets
from dashboard.glossary import measure
from harness.analysis.filters import written
from harness.report.rendering import ARROWS, BETTER
from harness.storage.queries import Run
from harness.system.printable import printable

GRID = run_queries.chosen_grid()

widgets.page("Run", "One configuration with one seed: its learning curves, scores and provenance.")


def page() -> None:
    """Everything about the run that the URL names."""
    here = run_queries.groups(GRID, unfinished=True)
    if not here:
        widgets.notice("There are no runs here yet. `harness run demo` starts some.")
        return
    several = len(run_queries.short_titles(here)) > 1
    places = st.columns([2, 4, 1] if several else [5, 1])
    group = selectors.group(selectors.benchmark(here, places[0]), places[-2])
    run = group.runs[selectors.seed(group.runs, places[-1])]
    state(run)
    curves(run.run_id)
    scores(run.run_id)
    st.header("Where it came from", anchor=False)
    with st.expander("Configuration"):
        pairs = {key: written(value) for key, value in run.config.items()}
        pairs |= {f"seeds.{name}": str(value) for name, value in run.seeds._asdict().items()}
        widgets.table(["key", "value"], [list(pair) for pair in pairs.items()], caption="Every setting of this run")
        widgets.downloads(lambda: pd.DataFrame(pairs.items(), columns=["key", "value"]), f"config-{run.run_id}")
    attempts(run.run_id)
    with st.expander("Provenance"):
        facts = run_queries.as_lines(run_queries.provenance(run.run_id)) or "nothing is recorded before a run is done"
        st.code("\n".join(map(printable, facts.split("\n"))), language=None, wrap_lines=True)


def attempts(run_id: str) -> None:
    """Attempts at the run, each with its outcome."""
    found = run_queries.attempts_at(run_id)
    with st.expander(f"Attempts ({len(found)})"):
        if not found:
            widgets.notice("This run has not been started yet.")
            return
        widgets.table(
            ["attempt", "outcome", "started (UTC)", "ended", "from step", "by", "message"],
            [
                [
                    str(one["attempt"]),
                    one["outcome"],
                    widgets.moment(one["started"]),
                    widgets.moment(one["ended"]),
                    widgets.number(one["from_step"]),
                    str(one["owner"]),
                    widgets.Cell(str(one["error"] or "–"), str(one["output"] or ""), css="texts"),
                ]
                for one in found
            ],
            caption="Every attempt at this run, the first one first",
        )


def state(run: Run) -> None:
    """Status, time and cost."""
    widgets.tiles(
        [
            ("Status", run.status, f"status-{run.status}"),
            ("Steps", widgets.number(run.steps), ""),
            ("Tokens", widgets.number(run.tokens), ""),
            ("Training", "–" if run.seconds is None else widgets.duration(run.seconds), ""),
        ]
    )
    widgets.caption(f"Run {run.run_id}.")
    if run.status == "failed":
        widgets.notice(run_queries.error_of(run.run_id), "bad")
        widgets.caption("The same `harness run` command tries failed cells again.")


def curves(run_id: str) -> None:
    """Loss and its terms over training."""
    st.header("How it learned", anchor=False)
    frame = run_queries.curves(run_id)
    if frame.empty:
        widgets.notice("Nothing was logged for this run.")
        return
    left, right = st.columns(2)
    terms = {printable(name.removeprefix("terms.")): name for name in frame.columns if name.startswith("terms.")}
    terms = {"loss": "loss", **{name: column for name, column in terms.items() if frame[column].notna().any()}}
    term = left.selectbox("Curve", list(terms), key="term", bind="query-params")
    against = (
        right.segmented_control(
            "Against", ["step", "tokens", "seconds"], default="step", key="against", bind="query-params", required=True
        )
        or "step"
    )
    shown = frame[[against, terms[term]]].set_axis(["x", "y"], axis=1).dropna().astype(float)
    drawn = (
        alt.Chart(shown)
        .mark_line(strokeWidth=1.5, color=charts.ink().accent)
        .encode(
            x=alt.X("x:Q", title=against),
            y=alt.Y("y:Q", title=term, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("x:Q", title=against), alt.Tooltip("y:Q", title="value", format=".4g")],
        )
    )
    ends = f"{shown['y'].iloc[0]:.4g} at the start, {shown['y'].iloc[-1]:.4g} at the end" if len(shown) else "no number"
    charts.show(drawn, height=320, sentence=f"{term} against {against}: {ends} of {len(frame):,} logged steps.")
    widgets.downloads(frame, f"curve-{run_id}")


def scores(run_id: str) -> None:
    """Every score under its full name."""
    st.header("What it scored", anchor=False)
    frame = run_queries.scores_of(run_id)
    if frame.empty:
        widgets.notice("There are no scores before a run is done.")
        return
    rows = [
        [
            widgets.Cell(f"{row['metric']} {ARROWS[row['direction']]}", hint=measure(row["metric"])),
            widgets.Cell(widgets.number(row["value"]))
            if row["kind"] is not None
            else widgets.Cell("no value", str(row["reason"])),
            row["unit"],
            f"{row['n']:,}",
            widgets.Cell(row["name"], BETTER[row["direction"]], css="texts"),
        ]
        for row in frame.to_dict("records")
    ]
    widgets.table(
        ["score", "value", "unit", "n", "definition"],
        rows,
        caption="Each with how many texts or states it is from",
        tall=True,
    )
    widgets.downloads(frame, f"scores-{run_id}")


page()
