"""A grid as a matrix: one row per group of configurations, one column per seed, each cell with its status."""

from __future__ import annotations

from dashboard import look, queries
from dashboard.live import while_running
from dashboard.queries import Group
from harness.storage.queries import Run

GRID = queries.chosen_grid()
MOST = 200  # rows of the matrix; a page with more is read by nobody
STATUSES = ("done", "running", "pending", "failed")

look.page("Grid", "Every cell of the grid: what is done, what runs, what is left and what failed.")


def matrix(count: dict[str, int]) -> None:
    """Cells by status, with the seconds that training took."""
    look.tiles([(status.capitalize(), look.number(count[status]), f"status-{status}") for status in STATUSES])
    groups = queries.groups(GRID, unfinished=True)
    if not groups:
        look.notice("There are no cells here yet. `harness run demo` starts some.")
        return
    shown = groups[:MOST]
    for name, title in queries.short_titles(groups).items():
        here = [group for group in shown if group.benchmark == title]
        if here:
            benchmark(name, here)
    if len(groups) > MOST:
        look.notice(
            f"{len(groups) - MOST} more groups are not shown; choose a grid at the left. The download has them."
        )
    look.downloads(lambda: queries.run_frame(GRID), f"runs-{GRID or 'all'}")


def benchmark(name: str, groups: list[Group]) -> None:
    """The cells of one benchmark."""
    look.heading(name)
    seeds = sorted({seed for group in groups for seed in group.runs}, key=lambda seed: (len(seed), seed))
    look.table(
        ["group", *(f"seed {seed}" for seed in seeds)],
        [[group.label, *(_cell(group.runs.get(seed)) for seed in seeds)] for group in groups],
        caption="Status of each cell, and how long it was trained",
    )


def _cell(run: Run | None) -> look.Cell:
    if run is None:
        return look.Cell("–")
    spent = "" if run.seconds is None else look.duration(run.seconds)
    return look.Cell(run.status, spent, f"status-{run.status}")


while_running(GRID, matrix)
