"""Progress of a running grid: bars on a terminal, one plain line for each change anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.records.progress import Progress
from harness.runner.options import error_pattern
from harness.system.printable import printable

QUIET = 50.0  # seconds after which a log says again in which stage a cell is, and how far

FINAL = ("done", "failed", "skipped")


@dataclass
class Tally:
    """Number of cells by how they ended; `failures` holds (run_id, message)."""

    cells: int
    done: int
    failed: int
    skipped: int
    failures: list[tuple[str, str]]

    @property
    def ended(self) -> int:
        """Number of cells that ended, in any way."""
        return self.done + self.failed + self.skipped

    def text(self, seconds: float, since: float = 0.0) -> str:
        """The cells that are done, those that failed, and the time left.

        `seconds` is the time until the last cell ended, `since` the time from then on.

        >>> Tally(40, 9, 1, 2, []).text(600, 60)
        '11 of 40 cells, 1 failed, about 0:27:00 left'
        """
        now, left = self.done + self.failed, self.cells - self.ended
        words = [f"{self.done + self.skipped} of {self.cells} cells", *([f"{self.failed} failed"] * (self.failed > 0))]
        if left and now:
            words.append(f"about {timedelta(seconds=round(max(0.0, seconds / now * left - since)))} left")
        elif left:
            words.append("time left known after the first")
        return ", ".join(words)

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
        The tally of how the cells ended.
    """
    return _bars(events, console, clock) if console.is_terminal else _lines(events, console, clock)


def _lines(events: Iterable[Progress], console: Console, clock: Callable[[], float]) -> Tally:
    tally = Tally(0, 0, 0, 0, [])
    start = clock()
    shown: dict[str, tuple[str, str, float]] = {}
    explained: set[str] = set()
    for event in events:
        tally.add(event)
        stage, message, at = shown.get(event.run_id, ("", "", start))
        elapsed = clock() - start
        new = event.stage != stage or event.message not in ("", message)
        if new or start + elapsed - at > QUIET:
            shown[event.run_id] = (event.stage, event.message, start + elapsed)
            line = f"{timedelta(seconds=int(elapsed))}  cell {event.cell}/{event.cells}"
            line += f"  {event.label or event.run_id}  {event.stage}"
            line += f"  {event.message}" if event.message else ""
            line += "" if new or event.stage == "waiting" else f"  {event.fraction:.0%}"
            line += f"  ({tally.text(elapsed)})" if event.stage in ("done", "failed") else ""
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        _explain(event, console, explained)
    return tally


def _bars(events: Iterable[Progress], console: Console, clock: Callable[[], float]) -> Tally:
    tally = Tally(0, 0, 0, 0, [])
    start, at = clock(), 0.0
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        grid = bars.add_task("cells", total=None)
        explained: set[str] = set()
        cells: dict[str, TaskID] = {}  # one bar for each cell that is being computed
        for event in events:
            tally.add(event)
            elapsed = clock() - start
            at = elapsed if event.stage in ("done", "failed") else at
            bars.update(grid, total=event.cells, completed=tally.ended, description=tally.text(at, elapsed - at))
            if event.stage in FINAL or event.stage == "waiting":
                if event.run_id in cells:
                    bars.remove_task(cells.pop(event.run_id))
            else:
                if event.run_id not in cells:
                    cells[event.run_id] = bars.add_task("", total=100)
                name = f"{event.label or event.run_id}  {event.stage}"
                done = round(100 * event.fraction)
                bars.update(cells[event.run_id], description=escape(name), completed=done)
            if event.message:
                name = f"  {event.label}" if event.label else ""
                line = f"cell {event.cell}{name} {event.stage}: {event.message}"
                bars.console.print(line, markup=False, highlight=False)
            _explain(event, bars.console, explained)
    return tally


def _explain(event: Progress, console: Console, explained: set[str]) -> None:
    """Print the traceback of a failure, once for all cells that failed alike in the same line."""
    if not event.details:
        return
    lines = event.details.rstrip().split("\n")
    places = [line for line in lines if line.lstrip().startswith("File ")]
    kind = f"{places[-1:]} {error_pattern(event.message)}"
    if kind not in explained:
        explained.add(kind)
        lines.append(f"`harness logs {event.run_id}` prints this again")
        console.print("\n".join(map(printable, lines)), markup=False, highlight=False, soft_wrap=True)
