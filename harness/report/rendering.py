"""Rendering for a terminal or a text file: leaderboard, comparison, overhead, validity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import measure_renderables
from rich.table import Table as RichTable
from rich.text import Text

from harness.analysis.filters import written
from harness.analysis.groups import Record
from harness.config.keys import short_keys
from harness.report.board import Cell, Column, Leaderboard, Row, Table
from harness.report.compare import Comparison
from harness.report.overhead import MEASURES, Overhead
from harness.report.sentences import bounded
from harness.report.validity import Validity
from harness.stats.intervals import Interval
from harness.stats.ranks import Difference
from harness.storage.queries import ScoreName

C = TypeVar("C")
ARROWS = {"higher": "↑", "lower": "↓", "reference": "≈"}
_RULED = box.Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")  # SIMPLE_HEAD, with a rule above the control rows
BETTER = {"higher": "higher is better", "lower": "lower is better", "reference": "compare with the experts' value"}


def render(board: Leaderboard) -> list[RenderableType]:
    """A leaderboard as `rich` prints it: each table with its legend, then the notes."""
    parts: list[RenderableType] = []
    for table in board.tables:
        parts += [_Banded(partial(_rich, table), table.columns, table.title), *(Text(line) for line in table.findings)]
        parts += [*(Text(line, style="dim") for line in (*legend(table), *table.notes)), Text()]
    return [*parts, *(Text(line) for line in board.notes)]


def as_text(board: Leaderboard, width: int = 120) -> str:
    """A leaderboard without colour, for a file."""
    return as_plain(render(board), width)


def as_plain(parts: Sequence[RenderableType], width: int = 120) -> str:
    """Parts as `rich` prints them, without colour."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def rounded(interval: Interval) -> str:
    """`mean ± half-width`, both to the second significant digit of the half-width; the mean alone without one.

    >>> rounded(Interval(0.83462, 0.81218, 0.85706, 3))
    '0.835 ± 0.022'
    >>> rounded(Interval(0.9, 0.9 - 1e-16, 0.9 + 1e-16, 3))
    '0.9 ± 0'
    """
    mean, half = interval.mean, interval.half_width
    if half is not None and half <= 1e-14 * abs(mean):
        half = 0.0  # equal values, but for the last bits of their mean
    if not half or not math.isfinite(mean):
        alone = f"{mean:.0f}" if 1e4 <= abs(mean) < 1e6 else f"{mean:.4g}"
        return alone if half is None else f"{alone} ± 0"
    if abs(mean) >= 1e6 or (abs(mean) < 1e-4 and half < 1e-4):
        return f"{mean:.3g} ± {half:.2g}"
    decimals = min(6, max(0, 1 - int(f"{half:.1e}".partition("e")[2])))
    return f"{mean:z.{decimals}f} ± " + (f"{half:.{decimals}f}" if half >= 1e-6 else f"{half:.0e}")


@dataclass(frozen=True)
class _Banded(Generic[C]):
    """A table whose columns go on below, under the same rows, where the console is too narrow for all.

    `draw` makes the table of some of the columns under a title.
    """

    draw: Callable[[Sequence[C], str], RichTable]
    columns: Sequence[C]
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left, title = list(self.columns), self.title
        while left or title:
            count = len(left)
            while count > 1 and self._width(left[:count], title, console, options) > options.max_width:
                count -= 1
            yield self.draw(left[:count], title)
            left, title = left[count:], ""

    def _width(self, columns: Sequence[C], title: str, console: Console, options: ConsoleOptions) -> int:
        return measure_renderables(console, options.update(width=10_000), [self.draw(columns, title)]).maximum


def _rich(table: Table, columns: Sequence[Column], title: str) -> RichTable:
    drawn = RichTable(title=Text(title) if title else None, title_justify="left", box=_RULED, pad_edge=False)
    for label in short_keys(table.keys):
        drawn.add_column(Text(label))
    drawn.add_column("n", justify="right")
    for name in cost_heads(table):
        drawn.add_column(name, justify="right")
    for column in columns:
        drawn.add_column(Text(header(column, table)), justify="right")
    widths = {c.name: max(len(rank(row.scores.get(c.name))) for row in table.rows) for c in columns}
    for i, row in enumerate(table.rows):
        if row.control is not None and i and table.rows[i - 1].control is None:
            drawn.add_section()
        cells = [(row.scores.get(column.name), widths[column.name]) for column in columns]
        numbers = [number(cell, row.n) + (f"  {rank(cell):<{width}}" if width else "") for cell, width in cells]
        drawn.add_row(*map(Text, [*keys(row, table), str(row.n), *costs(row, table), *numbers]))
    return drawn


COSTS = ("steps", "tokens", "seconds", "cost")
"""Heads of the cost columns; the last is the ratio to the reference row's."""
TUNING = ("trials", "trials' tokens", "trials' seconds")
"""Heads of the columns with the cost of tuning a row's settings."""


def cost_heads(table: Table) -> tuple[str, ...]:
    """The heads of the columns about costs that a table has."""
    asked = any(row.cost is not None for row in table.rows), any(row.tuning is not None for row in table.rows)
    return (COSTS if asked[0] else ()) + (TUNING if asked[1] else ())


def keys(row: Row, table: Table) -> list[str]:
    """Cells under the keys: the row's values, or in a control row its kind."""
    cells = [_value(row.group, key) for key in table.keys]
    return cells if row.control is None else [f"control: {row.control}", *cells[1:]]


def _value(group: Record, key: str) -> str:
    """A row's value of a key, a dash where it has none."""
    return "–" if group.get(key) is None else written(group[key])


def costs(row: Row, table: Table) -> list[str]:
    """Cells under `cost_heads`."""
    by_head = dict.fromkeys(cost_heads(table), "–")
    if row.cost is not None:
        ratio = "–" if row.cost.ratio is None else f"{row.cost.ratio:.2f}x"
        numbers = [f"{row.cost.steps:.0f}", f"{row.cost.tokens:.4g}", f"{row.cost.seconds:.3g}", ratio]
        by_head |= zip(COSTS, numbers, strict=True)
    if row.tuning is not None:
        numbers = [str(row.tuning.trials), f"{row.tuning.tokens:.4g}", f"{row.tuning.seconds:.3g}"]
        by_head |= zip(TUNING, numbers, strict=True)
    return list(by_head.values())


def number(cell: Cell | None, n: int) -> str:
    """A cell's mean with its interval, and its own n where that is smaller than the row's."""
    if cell is None:
        return ""
    if cell.interval is None:
        return "no value"
    return rounded(cell.interval) + (f" (n={cell.interval.n})" if cell.interval.n < n else "")


def rank(cell: Cell | None) -> str:
    """A cell's tied rank: `1-3`, or `2` where nothing else is possible; nothing where the column has no order.

    >>> rank(Cell(None, {}, (1, 3)))
    '1-3'
    """
    if cell is None or cell.rank is None:
        return ""
    best, worst = cell.rank
    return str(best) if best == worst else f"{best}-{worst}"


def header(column: Column, table: Table) -> str:
    """The column's short name (the full one where two columns share it) with an arrow that points to better."""
    return short_names(table.columns)[column.name]


def short_names(scores: Sequence[Column | ScoreName]) -> dict[str, str]:
    """By full name: the metric's name where only one score has it, or else the full name; and an arrow to better."""
    metrics = [score.metric for score in scores]
    return {
        score.name: f"{score.metric if metrics.count(score.metric) == 1 else score.name} {ARROWS[score.direction]}"
        for score in scores
    }


def legend(table: Table) -> list[str]:
    """Legend of the columns: full name, unit, better direction."""
    return score_legend(table.columns)


def score_legend(scores: Sequence[Column | ScoreName]) -> list[str]:
    """Legend of scores: full name, unit, better direction."""
    names = short_names(scores)
    return [f"{names[s.name]}  {s.name}; {s.unit or 'no unit'}; {better(s)}" for s in scores]


def better(score: Column | ScoreName) -> str:
    """Better direction of a score; closeness to the experts only where it was measured and ranks the rows."""
    if score.direction != "reference":
        return BETTER[score.direction]
    if score.metric.endswith("_reference"):
        return "the experts' own value"
    if not isinstance(score, Column):
        return BETTER["reference"]
    return (
        "closest to the experts' value is best, ranked by that distance"
        if score.ranked_by is not None
        else f"{BETTER['reference']} (no distance measured: no rank)"
    )


def simple(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str], names: int = 1
) -> list[RenderableType]:
    """A table of texts, numbers to the right of the first `names` columns, with its notes."""

    def draw(columns: Sequence[int], title: str) -> RichTable:
        drawn = RichTable(title=Text(title) if title else None, title_justify="left", box=_RULED, pad_edge=False)
        shown = [*range(names), *columns]
        for i in shown:
            drawn.add_column(Text(head[i]), justify="left" if i < names else "right", overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(row[i]) for i in shown))
        return drawn

    return [_Banded(draw, range(names, len(head)), title), *(Text(note) for note in notes), Text()]


def comparison_cells(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a comparison's scores: one row per score and side beyond the first."""
    first, names = found.sides[0].name, short_names([line.score for line in found.lines])
    head = ["score", first, "side", "its mean", f"side − {first}", "p", "n", "seeds needed"]
    rows = []
    for line in found.lines:
        base = "no value" if line.means[0] is None else rounded(line.means[0])
        for side, mean, difference in zip(found.sides[1:], line.means[1:], line.differences, strict=True):
            other = "no value" if mean is None else rounded(mean)
            rows.append([names[line.score.name], base, side.name, other, *_difference_cells(difference)])
    return head, rows


def _difference_cells(difference: Difference | None) -> list[str]:
    if difference is None or not difference.found.n:
        return ["–", "–", "0", "–"]
    seeds = difference.seeds_needed
    needed = "separated" if difference.separated else "–" if seeds is None else f"about {seeds}"
    return [bounded(difference.interval), f"{difference.found.p:.2g}", str(difference.found.n), needed]


def comparison(found: Comparison) -> list[RenderableType]:
    """A comparison as `rich` prints it: the sides, their settings, their scores."""
    sides = [f"{side.name}: {side.asked} ({len(side.runs)} runs)" for side in found.sides]
    names = [side.name for side in found.sides]
    settings = [[key, *values] for key, values in found.settings.items()]
    parts: list[RenderableType] = [Text(found.title), *(Text(side) for side in sides)]
    parts += simple("", ["setting", *names], settings, []) if settings else [Text("the same settings"), Text()]
    explained = score_legend([line.score for line in found.lines])
    return [*parts, *simple("", *comparison_cells(found), [*explained, *found.notes])]


def validity_cells(found: Validity) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a metric's validity."""
    names = short_names([one.score for one in found.agreements])
    rows = []
    for one in found.agreements:
        sign = "–" if one.expected is None else "+" if one.expected > 0 else "−"
        correlation, n = ("–", "0") if one.correlation is None else (_range(one.correlation), str(one.correlation.n))
        rows.append([names[one.score.name], correlation, n, sign, one.verdict or "–"])
    return ["score", "Spearman [simultaneous 95 %]", "n", "expected", "verdict"], rows


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.2f}"
    low, high = f"{interval.low:z.2f}", f"{interval.high:z.2f}"
    first = "(0" if interval.low > 0 and float(low) == 0 else f"[{low}"  # a round bracket leaves its end out
    last = "0)" if interval.high < 0 and float(high) == 0 else f"{high}]"
    return f"{interval.mean:.2f} {first}, {last}"


def overhead(found: Overhead) -> list[RenderableType]:
    """Overhead as `rich` prints it."""
    head = [*short_keys(found.keys), "n", "ms a step", *(f"× {name}" for name in MEASURES)]
    rows = []
    for line in found.lines:
        names = [_value(line.group, key) for key in found.keys]
        pairs = next((ratio.n for ratio in line.ratios.values()), line.n)
        n = str(line.n) if pairs == line.n else f"{pairs} of {line.n}"
        ratios = [_multiple(line.ratios[name]) if name in line.ratios else "–" for name in MEASURES]
        rows.append([*names, n, _multiple(line.milliseconds), *ratios])
    return simple(found.title, head, rows, found.notes, len(found.keys))


def _multiple(interval: Interval) -> str:
    """A geometric mean with its ends, to three significant digits.

    >>> _multiple(Interval(1.2, 1.148, 1234, 3))
    '1.20 [1.15, 1.23e+03]'
    """
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{end:#.3g}".removesuffix(".") if end is not None else "" for end in ends)
    return f"{mean} [{low}, {high}]" if low else mean


def validity(found: Validity) -> list[RenderableType]:
    """A metric's validity as `rich` prints it."""
    title = f"{found.title}: rank correlation with {found.target.name} {ARROWS[found.target.direction]}"
    explained = score_legend([one.score for one in found.agreements])
    return simple(title, *validity_cells(found), [*explained, *found.notes])
