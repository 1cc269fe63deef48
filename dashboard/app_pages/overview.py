"""What is done, what beats MLE, what runs now, what failed."""

from __future__ import annotations

import streamlit as st

from dashboard import boards, look, numbers, queries
from dashboard.glossary import WORDS
from dashboard.live import while_running

st.title("Overview")
GRID: str | None = st.session_state.get("grid")


@while_running
def progress() -> None:
    """Cells by status, those at work with the time they may still take, and failures."""
    count = queries.counts(GRID)
    for column, status in zip(st.columns(4), ("done", "running", "pending", "failed"), strict=True):
        column.metric(status.capitalize(), count[status], border=True)
    if not count["cells"]:
        look.notice("Nothing was run yet. `harness demo` runs a small real ablation; this page then fills by itself.")
    rows = queries.active(GRID)
    if rows:
        look.table(["running", "step", "for", "left, about"], rows, caption="Cells at work", numbers=1)
    failed = queries.failures(GRID)
    if failed:
        with st.expander(f"{count['failed']} failed; the first reasons", expanded=not count["done"]):
            for name, reason in failed:
                look.notice(f"{name}\n{reason}", "bad")
            look.says("The same command tries failed cells again:")
            st.code(f"harness run {GRID or 'GRID'}", language=None)


def answer() -> None:
    """What the data say, benchmark by benchmark."""
    board = numbers.board(GRID)
    for table in board.tables:
        look.heading(table.title)
        ordered = [column for column in table.columns if column.ranked_by is not None]
        boards.draw(table)
        if ordered and table.baseline is not None:
            st.subheader("What beats MLE?", help=WORDS["interval"])
            names = {column.name: column.metric for column in ordered}
            chosen = st.selectbox(
                "Score", list(names), format_func=lambda name, names=names: names[name], key=f"forest-{table.title}"
            )
            boards.forest(table, next(column for column in ordered if column.name == chosen))
    for note in board.notes:
        look.says(note)


progress()
answer()
