"""What is done, what beats MLE, what runs now, what failed."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import boards, look, numbers, queries
from dashboard.glossary import WORDS
from dashboard.live import while_running

GRID = queries.chosen_grid()
STATUSES = ("done", "running", "pending", "failed")

look.page("Overview", "Which training objective writes better text, and how sure that is.")


def progress(count: dict[str, int]) -> None:
    """Cells by status, those at work with the time they may still take, and failures."""
    look.tiles([(status.capitalize(), look.number(count[status]), f"status-{status}") for status in STATUSES])
    if not count["cells"]:
        look.notice("Nothing was run yet. `harness demo` runs a small real ablation; this page then fills by itself.")
    if count["running"]:
        at_work()
    if count["failed"]:
        failures(count["failed"])


def at_work() -> None:
    """Cells that run now."""
    look.table(
        ["cell", "training", "step", "for", "left, about"],
        [
            [
                one.name,
                look.Cell(f"{one.share:.0%}", share=one.share),
                look.number(one.step),
                look.duration(one.spent),
                "–" if one.left is None else look.duration(one.left),
            ]
            for one in queries.working(GRID)
        ],
        caption="Running now; the time left is that of finished runs of the same benchmark and trainer",
        numbers=2,
    )


def failures(count: int) -> None:
    """Why cells failed, and what runs them again."""
    with st.expander(f"{count} failed: why, and how to try again"):
        for _, name, reason in queries.failures(GRID):
            look.notice(f"{name}\n{reason}", "bad")
        look.says("The same command tries failed cells again, and only those that are not done:")
        store = [] if queries.store_url() == queries.DEFAULT_STORE else [f"--store={queries.store_url()}"]
        commands = [
            shlex.join(["harness", "run", name, *store]) for name in ([GRID] if GRID else queries.failed_grids())
        ]
        st.code("\n".join(commands), language=None, wrap_lines=True)


def answers() -> None:
    """What the data say, benchmark by benchmark."""
    board = numbers.board(GRID)
    for place, table in enumerate(board.tables, start=1):
        boards.title(table, board)
        boards.answer(table)
        boards.draw(table)
        boards.legend(table)
        columns = boards.ordered(table)
        if columns and table.baseline is not None:
            st.subheader("How far from MLE?", anchor=False, help=WORDS["interval"])
            chosen = st.selectbox("Score", list(columns), key=f"far{place}", bind="query-params", width=360)
            boards.forest(table, columns[chosen])
        with st.expander("What the seeds can and cannot tell"):
            look.notes([*table.findings, *table.notes])
    look.notes(board.notes if board.tables else ())


while_running(GRID, progress)
answers()
