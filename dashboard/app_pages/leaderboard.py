"""The leaderboard: tied ranks with intervals, control rows under a rule, and every export."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import boards, run_queries, score_queries, widgets
from harness.analysis.filters import split_list
from harness.storage.url import DEFAULT_STORE, printable_url

GRID = run_queries.chosen_grid()
UNITS = {"anything": None, "step": "step", "token": "token", "second": "second"}

widgets.page("Leaderboard", "Every group of runs with its scores and ranks, tied where the seeds do not separate.")


def page() -> None:
    """Filters in the URL, then one table per benchmark."""
    keys, metrics = score_queries.keys(GRID), score_queries.metrics(GRID)
    if not metrics:
        widgets.notice("There are no finished runs here yet.")
        return
    with st.container(border=True):
        left, right = st.columns(2)
        shown = left.multiselect(
            "Scores", metrics, key="metric", bind="query-params", placeholder="the usual ones",
            help="Scores of different definitions never share a column.",
        )  # fmt: skip
        by = right.multiselect(
            "Group by", keys, key="by", bind="query-params", placeholder="everything but the seeds",
            help="Order and choice of the settings that make a row; others that vary are added: means are over seeds.",
        )  # fmt: skip
        left, right = st.columns(2)
        wanted = left.text_input(
            "Filter", key="filter", bind="query-params", placeholder="trainer=bc, backspace=true, alpha in 0.01|0.1",
            help='Conditions separated by commas; all must hold: key=value, key!=value, key in a|b, key="a,b".',
        )  # fmt: skip
        per = right.segmented_control(
            "Rank only rows of equal cost per", list(UNITS), key="per", default="anything", bind="query-params",
            required=True, help="Rows that cost the same in this unit, within 10 %, are ranked against each other.",
        )  # fmt: skip
    asked = {
        "metrics": shown or None,
        "group_by": by or None,
        "filters": [part for part in split_list(wanted or "") if part],
        "per": UNITS[per or "anything"],
    }
    board = score_queries.board(GRID, **asked)
    for table in board.tables:
        boards.title(table, board)
        boards.draw(table)
        boards.legend(table)
        widgets.notes([*table.findings, *table.notes])
    if board.tables:
        st.header("How to read it", anchor=False)
    widgets.notes(board.notes)
    if not board.tables:
        return
    name = f"leaderboard-{GRID or 'all'}"
    widgets.exports(
        name,
        CSV=(lambda: score_queries.export("csv", GRID, **asked), f"{name}.csv"),
        Markdown=(lambda: score_queries.export("md", GRID, **asked), f"{name}.md"),
        LaTeX=(lambda: score_queries.export("latex", GRID, **asked), f"{name}.tex"),
    )
    st.header("The same on the command line", anchor=False)
    words = ["harness", "leaderboard", *([GRID] if GRID else [])]
    words += [f"--metric={','.join(shown)}"] if shown else []
    words += [f"--group-by={','.join(by)}"] if by else []
    words += [f"--filter={one}" for one in asked["filters"] or ()]
    words += [f"--per={asked['per']}"] if asked["per"] else []
    words += [] if run_queries.store_url() == DEFAULT_STORE else [f"--store={printable_url(run_queries.store_url())}"]
    st.code(shlex.join(words), language=None, wrap_lines=True)


page()
