"""A grid as a matrix: one row per group of configurations, one column per seed, each cell with its status."""

from __future__ import annotations

import streamlit as st

from dashboard import look, queries
from dashboard.live import while_running

st.title("Grid")
GRID = queries.chosen_grid()
MOST = 400  # rows of the matrix; a page with more is read by nobody


@while_running
def matrix() -> None:
    """Cells by status, with the seconds that training took."""
    groups, keys, seeds = queries.matrix(GRID)
    if not groups:
        look.notice("There are no cells here yet. `harness run demo` starts some.")
        return
    count = queries.counts(GRID)
    look.says(", ".join(f"{count[status]} {status}" for status in ("done", "running", "pending", "failed")) + ".")
    rows = [[*label, *(_cell(cells.get(seed)) for seed in seeds)] for label, cells in groups[:MOST]]
    look.table([*keys, *(f"seed {seed}" for seed in seeds)], rows, caption="Cells by status; seconds of training below")
    if len(groups) > MOST:
        look.notice(f"{len(groups) - MOST} more groups are not shown; choose a grid at the left.")
    look.downloads(queries.run_frame(GRID), f"runs-{GRID or 'all'}")


def _cell(found: tuple[str, float | None] | None) -> look.Cell:
    if found is None:
        return look.Cell("–")
    status, seconds = found
    return look.Cell(status, "" if seconds is None else f"{seconds:.0f} s", f"status-{status}")


matrix()
