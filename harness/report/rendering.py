"""Rendering for a terminal or a text file: leaderboard, comparison, overhead, validity."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.text import Text

from harness.analysis.filters import written
from harness.analysis.groups import Record
from harness.config.keys import short_keys
from harness.report.board import Cell, Column, Leaderboard, Row, Table
from harness.report.compare import Comparison, ScoreLine
from harness.report.fitting import FittedTable, Legend
from harness.report.leaderboard_table import PREFERRED
from harness.report.overhead import MEASURES, Overhead
from harness.report.sentences import bounded
from harness.report.validity import Validity
from harness.stats.intervals import Interval
from harness.stats.ranks import Difference
from harness.storage.queries import ScoreName

ARROWS = {"higher": "↑", "lower": "↓", "reference": "≈"}
LEGEND = "--all adds the scores' full names and units"
MOST_ROWS, MOST_SETTINGS = 6, 4
"""Rows of a benchmark's scores, and of settings altogether, in a short comparison."""
UNCOMPARED = "no score has a value on two of the sides, so there is no table; `harness rescore` computes scores anew"
UNSCORED = "no run here has a value of these scores, so there is no table; `harness rescore` computes scores anew"
BETTER = {"higher": "higher is better", "lower": "lower is better", "reference": "compare with the experts' value"}


def render(board: Leaderboard, every: bool = True) -> list[RenderableType]:
    """A leaderboard as `rich` prints it: each table with its legend, then the notes.

    On a narrow console `every` column goes on below, or else the first that fit stand there.
    """
    parts: list[RenderableType] = []
    for table in board.tables:
        if not any(cell.interval is not None for row in table.rows for cell in row.scores.values()):
            parts += [Text(table.title), *map(Text, table.notes), Text(UNSCORED), Text()]
            continue
        drawn = _fitted(table, every)
        explained = Legend(drawn, dict(enumerate(legend(table, every), len(drawn.head) - len(table.columns))))
        parts += [drawn, *(Text(line) for line in table.findings), explained]
        parts += [*(Text(line, style="dim") for line in table.notes), Text()]
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


def _fitted(table: Table, every: bool) -> FittedTable:
    costly = cost_heads(table)
    head = [*short_keys(table.keys), "n", *costly, *(short_names(table.columns, every).values())]
    widths = {c.name: max(len(rank(row.scores.get(c.name))) for row in table.rows) for c in table.columns}
    rows = []
    for row in table.rows:
        cells = [(row.scores.get(column.name), widths[column.name]) for column in table.columns]
        numbers = [number(cell, row.n) + (f"  {rank(cell):<{width}}" if width else "") for cell, width in cells]
        rows.append([*keys(row, table), str(row.n), *costs(row, table), *numbers])
    kinds = [row.control is not None for row in table.rows]
    ruled = [i for i in range(1, len(kinds)) if kinds[i] and not kinds[i - 1]]
    more = "--all shows them, --metric NAME one of them"
    return FittedTable(table.title, head, rows, len(table.keys), 1 + len(costly), (), ruled, every, more=more)


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


def short_names(scores: Sequence[Column | ScoreName], whole: bool = True) -> dict[str, str]:
    """By full name: the metric's name where only one score has it, or else the full name; and an arrow to better.

    Not `whole`, the full name keeps only the parameters that tell the scores apart.
    """
    metrics = [score.metric for score in scores]
    full = [score.name for score in scores]
    short = full if whole else _apart(full)
    return {
        score.name: f"{score.metric if metrics.count(score.metric) == 1 else name} {ARROWS[score.direction]}"
        for score, name in zip(scores, short, strict=True)
    }


def _apart(names: Sequence[str]) -> list[str]:
    """Full names without the definitions and parameters that all scores of one metric share.

    >>> _apart(["ppl@w[stride=9,window=18]", "ppl@w[stride=4,window=18]", "bleu@a[n=4]", "bleu@b[n=4]"])
    ['ppl[stride=9]', 'ppl[stride=4]', 'bleu@a', 'bleu@b']
    """
    parts = []
    for name in names:
        head, _, parameters = name.partition("[")
        metric, _, definition = head.partition("@")
        parts.append((metric, definition, re.split(r",(?=\w+=)", parameters.removesuffix("]")) if parameters else []))
    short = []
    for metric, definition, own in parts:
        others = [other for other in parts if other[0] == metric]
        at = "" if all(other[1] == definition for other in others) else f"@{definition}"
        differ = [one for one in own if not all(one in other[2] for other in others)]
        short.append(metric + at + (f"[{','.join(differ)}]" if differ else ""))
    return short if len(set(short)) == len(short) else list(names)


def legend(table: Table, whole: bool = True) -> list[str]:
    """Legend of the columns: full name, unit, better direction."""
    return score_legend(table.columns, whole)


def score_legend(scores: Sequence[Column | ScoreName], whole: bool = True) -> list[str]:
    """Legend of scores: full name, unit, better direction."""
    names = short_names(scores, whole)
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
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    names: int = 1,
    every: bool = True,
) -> list[RenderableType]:
    """A table of texts, numbers to the right of the first `names` columns, with its notes."""
    return [FittedTable(title, head, rows, names, every=every), *(Text(note) for note in notes), Text()]


def comparison_cells(found: Comparison, whole: bool = True) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a comparison's scores: one row per score and side beyond the first."""
    first, names = found.sides[0].name, short_names([line.score for line in found.lines], whole)
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
    settings = [[key, *values] for key, values in found.settings.items()]
    parts: list[RenderableType] = [Text(found.title), *_sides(found)]
    parts += simple("", ["setting", *_names(found)], settings, []) if settings else [Text("the same settings"), Text()]
    if not found.lines:
        return [*parts, Text(UNCOMPARED), Text()]
    explained = score_legend([line.score for line in found.lines])
    return [*parts, *simple("", *_said(*comparison_cells(found)), [*explained, *found.notes])]


def short_comparisons(found: Sequence[Comparison]) -> list[RenderableType]:
    """Comparisons for one screen: the first settings, main scores without legend, and nothing twice."""
    parts: list[RenderableType] = []
    said: list[object] = []
    left, room = 0, MOST_SETTINGS
    for one in found:
        about = [(side.name, side.asked, len(side.runs)) for side in one.sides]
        parts += [Text(one.title), *(_sides(one) if about not in said else ())]
        settings = [[key, *values] for key, values in one.settings.items()]
        fresh = sorted((row for row in settings if row not in said), key=lambda row: "–" in row[1:])
        shown = [row for row in fresh if len(row) - 1 - row.count("–") > 1][:room]
        hidden = len(fresh) - len(shown)
        parts += [FittedTable("", ["setting", *_names(one)], shown, edges=False)] if shown else []
        parts += [Text(f"{hidden} more settings differ: --all shows them")] if hidden else []
        parts += [Text("the same settings")] if not settings else []
        said += [about, *settings]
        room -= len(shown)
        lines = main_scores(one.lines)[: max(1, MOST_ROWS // (len(one.sides) - 1))]
        left += len(one.lines) - len(lines)
        parts += [_short_table(replace(one, lines=tuple(lines))) if lines else Text(UNCOMPARED), Text()]
    parts += [Text(f"{left} more scores: --all shows them, with full names and units", style="dim")] if left else []
    notes = (re.sub(r"the \d+ scores", "so many scores", note) for one in found for note in one.notes)
    return [*parts, *map(Text, dict.fromkeys(notes))]


def _short_table(found: Comparison) -> FittedTable:
    """The scores with the differences in front of the means, should one of them have to go."""
    head, rows = _said(*comparison_cells(found, whole=False))
    names = min(2, len(found.sides) - 1)  # which side a row is about has to be said where there are several
    order = [0, 2, 1, *range(3, len(head))] if names == 2 else [0, 1, *range(3, len(head))]
    if names == 1:
        head[3:5] = [found.sides[1].name, head[4].replace("side", found.sides[1].name)]
    first = [names + i for i in (2, 3, 4, 0, 1, 5)][: len(order) - names]
    table = [[row[i] for i in order] for row in rows]
    return FittedTable("", [head[i] for i in order], table, names, first=first, every=False, edges=False)


def main_scores(lines: Sequence[ScoreLine]) -> list[ScoreLine]:
    """The lines of the scores that a leaderboard shows, in its order; all where there are none."""
    return [line for metric in PREFERRED for line in lines if line.score.metric == metric] or list(lines)


def _said(head: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The same cells, without the last column where it says nothing."""
    if any(row[-1] != "–" for row in rows):
        return head, rows
    return head[:-1], [row[:-1] for row in rows]


def _names(found: Comparison) -> list[str]:
    return [side.name for side in found.sides]


def _sides(found: Comparison) -> list[Text]:
    return [Text(f"{side.name}: {side.asked} ({len(side.runs)} runs)") for side in found.sides]


def validity_cells(found: Validity, whole: bool = True) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a metric's validity."""
    names = short_names([one.score for one in found.agreements], whole)
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


def overhead(found: Overhead, every: bool = True) -> list[RenderableType]:
    """Overhead as `rich` prints it; without `every`, as many of its columns as fit."""
    head = [*short_keys(found.keys), "n", "ms a step", *(f"× {name}" for name in MEASURES)]
    rows = []
    for line in found.lines:
        names = [_value(line.group, key) for key in found.keys]
        pairs = next((ratio.n for ratio in line.ratios.values()), line.n)
        n = str(line.n) if pairs == line.n else f"{pairs} of {line.n}"
        ratios = [_multiple(line.ratios[name]) if name in line.ratios else "–" for name in MEASURES]
        rows.append([*names, n, _multiple(line.milliseconds), *ratios])
    return simple(found.title, head, rows, found.notes, len(found.keys), every=every)


def _multiple(interval: Interval) -> str:
    """A geometric mean with its ends, to three significant digits.

    >>> _multiple(Interval(1.2, 1.148, 1234, 3))
    '1.20 [1.15, 1.23e+03]'
    """
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{end:#.3g}".removesuffix(".") if end is not None else "" for end in ends)
    return f"{mean} [{low}, {high}]" if low else mean


def validity(found: Validity, every: bool = True) -> list[RenderableType]:
    """A metric's validity as `rich` prints it; without `every`, without the legend."""
    title = f"{found.title}: rank correlation with {found.target.name} {ARROWS[found.target.direction]}"
    if not found.agreements:
        reason = "no other score has values of its own here, so there is nothing to correlate"
        return [Text(title), Text(reason), *map(Text, found.notes), Text()]
    explained = score_legend([one.score for one in found.agreements]) if every else [LEGEND]
    return simple(title, *validity_cells(found, every), [*explained, *found.notes], every=every)
