"""A leaderboard as a person reads it in a terminal or a text file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import measure_renderables
from rich.table import Table as RichTable
from rich.text import Text

from harness.report import Column, Leaderboard, Record, Table, last_part, written
from harness.stats import Interval

ARROWS = {"higher": "↑", "lower": "↓", "reference": "≈"}
BETTER = {"higher": "higher is better", "lower": "lower is better", "reference": "closest to the human texts is best"}


def render(board: Leaderboard) -> list[RenderableType]:
    """What `rich` prints: each table with its legend, then the notes."""
    parts: list[RenderableType] = []
    for table in board.tables:
        parts += [_Banded(table), *(Text(line, style="dim") for line in (*_legend(table), *table.notes)), Text()]
    return [*parts, *(Text(line) for line in board.notes)]


def as_text(board: Leaderboard, width: int = 120) -> str:
    """The same without colour, for a file."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(*render(board), sep="\n")
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def rounded(interval: Interval) -> str:
    """`mean ± half-width`, both to the second significant digit of the half-width; the mean alone without one.

    >>> rounded(Interval(0.83462, 0.81218, 0.85706, 3))
    '0.835 ± 0.022'
    """
    mean, half = interval.mean, interval.half_width
    if not half or not math.isfinite(mean):
        alone = f"{mean:.0f}" if 1e4 <= abs(mean) < 1e6 else f"{mean:.4g}"
        return alone if half is None else f"{alone} ± 0"
    if abs(mean) >= 1e6 or (abs(mean) < 1e-4 and half < 1e-4):
        return f"{mean:.3g} ± {half:.2g}"
    decimals = min(6, max(0, 1 - int(f"{half:.1e}".partition("e")[2])))
    return f"{mean:.{decimals}f} ± " + (f"{half:.{decimals}f}" if half >= 1e-6 else f"{half:.0e}")


@dataclass(frozen=True)
class _Banded:
    """A table whose score columns go on below, under the same rows, where the console is too narrow for all."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = list(self.table.columns)
        title = self.table.title
        while left or title:
            count = len(left)
            while (
                count > 1
                and measure_renderables(
                    console, options.update(width=10_000), [_rich(self.table, left[:count], title)]
                ).maximum
                > options.max_width
            ):
                count -= 1
            yield _rich(self.table, left[:count], title)
            left, title = left[count:], ""


def _rich(table: Table, columns: Sequence[Column], title: str) -> RichTable:
    drawn = RichTable(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for label in _labels(table.keys):
        drawn.add_column(Text(label))
    drawn.add_column("n", justify="right")
    for column in columns:
        drawn.add_column(Text(_header(column, table)), justify="right")
    for row in table.rows:
        cells = [written(row["group"][key]) if key in row["group"] else "–" for key in table.keys]
        numbers = [_cell(row["scores"].get(column.name), row["n"]) for column in columns]
        drawn.add_row(*(Text(cell) for cell in [*cells, str(row["n"]), *numbers]))
    return drawn


def _cell(cell: Record | None, n: int) -> str:
    if cell is None:
        return ""
    interval: Interval | None = cell["interval"]
    if interval is None:
        return "no value"
    return rounded(interval) + (f" (n={interval.n})" if interval.n < n else "")


def _header(column: Column, table: Table) -> str:
    same = [other for other in table.columns if other.metric == column.metric]
    name = column.metric if len(same) == 1 else column.name
    return f"{name} {ARROWS[column.direction]}"


def _legend(table: Table) -> list[str]:
    return [f"{_header(c, table)}  {c.name}; {c.unit or 'no unit'}; {BETTER[c.direction]}" for c in table.columns]


def _labels(keys: Sequence[str]) -> list[str]:
    short = [last_part(key) for key in keys]
    return [name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)]
