"""A grid as a matrix: one row per group of configurations, one column per seed, each cell with its status."""

from __future__ import annotations

from dashboard import run_queries, widgets
from dashboard.live import while_running
from dashboard.run_queries import Group
from harness.storage.queries import Run

GRID = run_queries.chosen_grid()
MOST = 200  # rows of the matrix
STATUSES = ("done", "running", "pending", "failed")

widgets.page("Grid", "Every cell of the grid: done, running, pending or failed.")


def matrix(count: dict[str, int]) -> None:
    """Cells by status, with the seconds that training took."""
    widgets.tiles([(status.capitalize(), widgets.number(count[status]), f"status-{status}") for status in STATUSES])
    groups = run_queries.groups(GRID, unfinished=True)
    if not groups:
        widgets.notice("There are no cells here yet. `harness run demo` starts some.")
        return
    shown = groups[:MOST]
    for name, title in run_queries.short_titles(groups).items():
        here = [group for group in shown if group.benchmark == title]
        if here:
            benchmark(name, here)
    if len(groups) > MOST:
        widgets.notice(
            f"{len(groups) - MOST} more groups are not shown; choose a grid at the left. The download has them."
        )
    widgets.downloads(lambda: run_queries.run_frame(GRID), f"runs-{GRID or 'all'}")


def benchmark(name: str, groups: list[Group]) -> None:
    """The cells of one benchmark."""
    widgets.heading(name)
    seeds = sorted({seed for group in groups for seed in group.runs}, key=lambda seed: (len(seed), seed))
    widgets.table(
        ["group", *(f"seed {seed}" for seed in seeds)],
        [[group.label, *(_cell(group.runs.get(seed)) for seed in seeds)] for group in groups],
        caption="Status of each cell, and how long it was trained",
    )


def _cell(run: Run | None) -> widgets.Cell:
    if run is None:
        return widgets.Cell("–")
    spent = "" if run.seconds is None else widgets.duration(run.seconds)
    return widgets.Cell(run.status, spent, f"status-{run.status}")


while_running(GRID, matrix)
