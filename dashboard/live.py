"""Parts of a page that refresh by themselves while cells run, and stop when none is active."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import run_queries, widgets
from harness.errors import HarnessError

SECONDS = 3


def while_running(grid: str | None, draw: Callable[[dict[str, int]], None]) -> None:
    """Draw with the cells' counts, and again every few seconds for as long as a cell is running.

    As soon as a run is done, or none is running any more, the whole page is drawn again: its tables are about finished
    runs, and the timer ends with the last one.
    """
    before = run_queries.counts(grid)
    active = before["running"] > 0

    @st.fragment(run_every=SECONDS if active else None)
    def part() -> None:
        try:
            now = run_queries.counts(grid)
            if active and (now["running"] == 0 or now["done"] != before["done"]):
                st.rerun()
            draw(now)
        except HarnessError as error:  # the store may have been moved away meanwhile
            widgets.notice(str(error), "bad")

    part()
