"""The leaderboard: tied ranks with intervals, control rows under a rule, and every export."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import boards, look, numbers
from dashboard.glossary import WORDS

st.title("Leaderboard")
GRID: str | None = st.session_state.get("grid")
UNITS = {"anything": None, "step": "step", "token": "token", "second": "second"}


def page() -> None:
    """Filters in the URL, then one table per benchmark."""
    keys, metrics = numbers.keys(GRID), numbers.metrics(GRID)
    if not keys:
        look.notice("There are no finished runs here yet.")
        return
    with st.container(border=True):
        left, middle, right = st.columns([3, 3, 2])
        shown = left.multiselect(
            "Scores", metrics, key="metric", bind="query-params", placeholder="the usual ones",
            help="Scores of different definitions never share a column.",
        )  # fmt: skip
        by = middle.multiselect(
            "Group by", keys, key="by", bind="query-params", placeholder="everything but the seeds",
            help="Rows are averaged over what is not named here.",
        )  # fmt: skip
        per = right.segmented_control(
            "Equal", list(UNITS), key="per", default="anything", bind="query-params", required=True,
            help="Only rows that cost the same in this unit, within 10 %, are ranked against each other.",
        )  # fmt: skip
        wanted = st.text_input(
            "Filter", key="filter", bind="query-params", placeholder="trainer=bc, backspace=true, alpha in 0.01|0.1",
            help="Conditions separated by commas; all must hold: key=value, key!=value, key in a|b.",
        )  # fmt: skip
    asked = {
        "metrics": shown or None,
        "group_by": by or None,
        "filters": [part.strip() for part in (wanted or "").split(",") if part.strip()],
        "per": UNITS[per or "anything"],
    }
    board = numbers.board(GRID, **asked)
    look.says(f"Ranks: {WORDS['rank']}")
    for table in board.tables:
        look.heading(table.title)
        boards.draw(table)
        for note in table.notes:
            look.says(note)
    for note in board.notes:
        look.says(note)
    look.downloads(
        numbers.board_frame(GRID, **asked),
        f"leaderboard-{GRID or 'all'}",
        Markdown=(numbers.board_text("md", GRID, **asked), f"leaderboard-{GRID or 'all'}.md"),
        LaTeX=(numbers.board_text("latex", GRID, **asked), f"leaderboard-{GRID or 'all'}.tex"),
    )
    st.subheader("The same on the command line")
    words = ["harness", "leaderboard", *([GRID] if GRID else [])]
    words += [f"--metric={','.join(shown)}"] if shown else []
    words += [f"--group-by={','.join(by)}"] if by else []
    words += [f"--filter={one}" for one in asked["filters"] or ()]
    words += [f"--per={asked['per']}"] if asked["per"] else []
    st.code(shlex.join(words), language=None, wrap_lines=True)


page()
