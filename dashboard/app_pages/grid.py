"""A grid as a matrix: one row per group of configurations, one column per seed, each cell with its status."""

from __future__ import annotations

import streamlit as st

from dashboard import look, queries
from dashboard.live import while_running

st.title("Grid")


@while_running
def matrix() -> None:
    """Cells by status, and what failed."""
    grid = st.session_state.get("grid")
    frame = queries.runs(grid)
    if frame.empty:
        look.notice("There are no cells here yet. `harness run demo` starts some.")
        return
    count = queries.counts(grid)
    look.says(", ".join(f"{count[status]} {status}" for status in ("done", "running", "pending", "failed")) + ".")
    groups = queries.groups(grid)
    seeds = sorted(frame["seeds.train"].unique())
    rows = []
    for group in groups:
        cells = {run["seeds.train"]: run for run in group.runs}
        rows.append([*group.label, *(_cell(cells.get(seed)) for seed in seeds)])
    look.table([*queries.group_keys(grid), *(f"seed {seed}" for seed in seeds)], rows, caption="Cells by status")


def _cell(run: dict[str, object] | None) -> look.Cell:
    if run is None:
        return look.Cell("–")
    seconds = run["seconds"]
    return look.Cell(
        str(run["status"]), small="" if seconds != seconds or seconds is None else f"{seconds:.0f} s", css=f"status-{run['status']}"
    )


matrix()
