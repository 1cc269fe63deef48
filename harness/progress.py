"""Shows where a grid is while it runs: two bars on a terminal, one plain line for each change anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.records import Progress

FINAL = ("done", "failed", "skipped")


@dataclass
class Tally:
    """How many cells ended in which way; `failures` holds (run_id, message)."""

    cells: int
    done: int
    failed: int
    skipped: int
    failures: list[tuple[str, str]]

    def add(self, event: Progress) -> None:
        """Count an event if it ends a cell."""
        self.cells = max(self.cells, event.cells)
        if event.stage in FINAL:
            setattr(self, event.stage, getattr(self, event.stage) + 1)
        if event.stage == "failed":
            self.failures.append((event.run_id, event.message))


def follow(events: Iterable[Progress], console: Console, clock: Callable[[], float] = time.monotonic) -> Tally:
    """Consume a running grid's events and show them on the console.

    Args:
        events: what a running grid yields; consuming it is what makes the grid run.
        console: a terminal gets bars; anything else gets lines that a log can keep.
        clock: seconds; the first reading is time zero.

    Returns:
        How the cells ended.
    """
    return _bars(events, console) if console.is_terminal else _lines(events, console, clock)


def _lines(events: Iterable[Progress], console: Console, clock: Callable[[], float]) -> Tally:
    tally = Tally(0, 0, 0, 0, [])
    start = clock()
    shown = None
    for event in events:
        tally.add(event)
        if (event.run_id, event.stage) != shown:
            shown = (event.run_id, event.stage)
            elapsed = timedelta(seconds=int(clock() - start))
            line = f"{elapsed}  cell {event.cell}/{event.cells}  {event.label or event.run_id}  {event.stage}"
            message = f"  {event.message}" if event.message else ""
            console.print(line + message, markup=False, highlight=False, soft_wrap=True)
    return tally


def _bars(events: Iterable[Progress], console: Console) -> Tally:
    tally = Tally(0, 0, 0, 0, [])
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        grid = bars.add_task("cells", total=None)
        cell = bars.add_task("", total=100)
        shown = None
        for event in events:
            tally.add(event)
            if event.run_id != shown:
                shown = event.run_id
                bars.reset(cell)
            ended = tally.done + tally.failed + tally.skipped
            bars.update(grid, total=event.cells, completed=ended)
            name = f"{event.label or event.run_id}  {event.stage}"
            bars.update(cell, description=escape(name), completed=round(100 * event.fraction))
            if event.stage in FINAL and event.message:
                told = f"cell {event.cell} {event.stage}: {event.message}"
                bars.console.print(told, markup=False, highlight=False)
    return tally
