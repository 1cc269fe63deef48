"""What refreshes by itself while cells run, and stops when nothing is active."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import queries

SECONDS = 3


def while_running(draw: Callable[[], None]) -> Callable[[], None]:
    """Draw again every few seconds for as long as a cell is running; once, when none is."""

    def drawn() -> None:
        active = queries.counts(st.session_state.get("grid"))["running"] > 0

        @st.fragment(run_every=SECONDS if active else None)
        def part() -> None:
            draw()
            if active and queries.counts(st.session_state.get("grid"))["running"] == 0:
                st.rerun()  # ends the timer

        part()

    return drawn
