"""Overview: cells done, rows that beat MLE, cells at work, failures."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import boards, run_queries, score_queries, widgets
from dashboard.glossary import WORDS
from dashboard.live import while_running
from harness.storage.url import DEFAULT_STORE, printable_url

GRID = run_queries.chosen_grid()
STATUSES = ("done", "running", "pending", "failed")

widgets.page(
    "Overview", "Training objectives compared by the texts of their models, with the certainty of each difference."
)


def progress(count: dict[str, int]) -> None:
    """Cells by status, those at work with the time they may still take, and failures."""
    widgets.tiles([(status.capitalize(), widgets.number(count[status]), f"status-{status}") for status in STATUSES])
    if not count["cells"]:
        widgets.notice(
            "Nothing was run yet. `harness demo` runs a small real ablation; this page then fills by itself."
        )
    if count["running"]:
        at_work()
    if count["failed"]:
        failures(count["failed"])


def at_work() -> None:
    """Cells that run now."""
    widgets.table(
        ["cell", "training", "step", "for", "left, about"],
        [
            [
                one.name,
                widgets.Cell(f"{one.share:.0%}", share=one.share),
                widgets.number(one.step),
                widgets.duration(one.spent),
                "–" if one.left is None else widgets.duration(one.left),
            ]
            for one in run_queries.working(GRID)
        ],
        caption="Running now; the time left is that of finished runs of the same benchmark and trainer",
        numbers=2,
    )


def failures(count: int) -> None:
    """Reasons why cells failed, and the command that runs them again."""
    with st.expander(f"{count} failed: why, and how to try again"):
        for _, name, reason in run_queries.failures(GRID):
            widgets.notice(f"{name}\n{reason}", "bad")
        widgets.caption("The same command tries failed cells again, and only those that are not done:")
        store = (
            [] if run_queries.store_url() == DEFAULT_STORE else [f"--store={printable_url(run_queries.store_url())}"]
        )
        commands = [
            shlex.join(["harness", "run", name, *store]) for name in ([GRID] if GRID else run_queries.failed_grids())
        ]
        st.code("\n".join(commands), language=None, wrap_lines=True)


def answers() -> None:
    """Findings, benchmark by benchmark."""
    board = score_queries.board(GRID)
    if not board.tables and run_queries.runs(GRID):
        widgets.notice("No run is done yet, so there is nothing to compare.")
    for place, table in enumerate(board.tables, start=1):
        boards.title(table, board)
        boards.answer(table)
        boards.draw(table, brief=True)
        boards.legend(table)
        columns = boards.ordered(table)
        if columns and table.baseline is not None:
            st.subheader("How far from MLE?", anchor=False, help=WORDS["interval"])
            chosen = st.selectbox("Score", list(columns), key=f"far{place}", bind="query-params", width=360)
            boards.forest(table, columns[chosen])
        with st.expander("Differences that the seeds support"):
            widgets.notes([*table.findings, *table.notes])
    widgets.notes(board.notes if board.tables else ())


while_running(GRID, progress)
answers()
