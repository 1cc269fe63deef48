"""One table of the leaderboard on a page: its answer, its rows, and their differences from the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import charts, widgets
from dashboard.glossary import WORDS, measure
from harness.config.keys import short_keys
from harness.report.board import Cell, Column, Leaderboard, Row, Table
from harness.report.exports import emphasis
from harness.report.rendering import better, cost_heads, costs, header, keys, number, rank
from harness.report.sentences import bounded
from harness.stats.ranks import Difference
from harness.system.printable import printable

SHOWN_ROWS = 60  # of a table; the download has them all
SHOWN_DIFFERENCES = 30  # of a forest

BETTER_ROW, WORSE_ROW, OPEN_ROW = "better than the baseline", "worse than the baseline", "not separated from it"


def title(table: Table, board: Leaderboard) -> None:
    """The benchmark's name as a heading, with the options in which it differs from others of that name below."""
    name, _, more = table.title.partition(" (")
    alike = [one for one in board.tables if one.title.partition(" (")[0] == name]
    widgets.heading(name, more.removesuffix(")") if len(alike) > 1 else "")


# -------------------------------------------------------------------------------------------------- the answer


def answer(table: Table) -> None:
    """The rows that beat the baseline and MLE at its best temperature, and by how much, or why nothing can be said."""
    widgets.notice(table.headline, "answer")


def _side(column: Column, cell: Cell | None) -> str | None:
    """The side of the baseline that a cell is on; None where no side is better, or nothing is compared."""
    if cell is None or cell.difference is None or column.ranked_by is None:
        return None
    if not cell.difference.separated:
        return OPEN_ROW
    return BETTER_ROW if (cell.difference.interval.mean > 0) == column.higher_is_better else WORSE_ROW


# --------------------------------------------------------------------------------------------------- the table


def draw(table: Table, *, brief: bool = False) -> None:
    """The table with its ranks, control rows under a rule; `brief` names a row in one column instead of key by key."""
    rows = _shown(table)
    heads = [
        *(["group"] if brief else map(printable, short_keys(table.keys))),
        widgets.Cell("n", hint=WORDS["n"]),
        *(widgets.Cell(name) for name in cost_heads(table)),
        *(_head(column, table) for column in table.columns),
    ]
    ends = {column.name: _ends(column, rows) for column in table.columns}
    body: list[list[widgets.Cell | str]] = [
        [
            *([row.label] if brief else keys(row, table)),
            str(row.n),
            *costs(row, table),
            *(_cell(row, column, table, ends[column.name]) for column in table.columns),
        ]
        for row in rows
    ]
    widgets.table(
        heads,
        body,
        caption=f"Mean ± single 95 % interval of the row over n seeds; {_legend(table)}",
        numbers=1 if brief else len(table.keys),
        pinned=sum(row.control is not None for row in rows),
        base=None if table.baseline is None else next((i for i, r in enumerate(rows) if r is _base(table)), None),
    )
    if len(rows) < len(table.rows):
        widgets.caption(
            f"{len(table.rows) - len(rows)} more rows: filter or group them on the Leaderboard; CSV has them all."
        )


def legend(table: Table) -> None:
    """Legend of the columns, folded away."""
    with st.expander("What the columns mean"):
        widgets.table(
            ["score", "what it says", "unit", "definition"],
            [
                [
                    header(column, table),
                    widgets.Cell(measure(column.metric) or "–", better(column), css="texts"),
                    column.unit,
                    widgets.Cell(column.name, css="texts"),
                ]
                for column in table.columns
            ],
            caption="Scores of different definitions never share a column",
        )


def _shown(table: Table) -> list[Row]:
    """The first rows, the baseline and the control rows."""
    chosen = [row for row in table.rows if row.control is None][:SHOWN_ROWS]
    base = [] if table.baseline is None or _base(table) in chosen else [_base(table)]
    return [*chosen, *base, *[row for row in table.rows if row.control is not None][:SHOWN_ROWS]]


def _base(table: Table) -> Row:
    assert table.baseline is not None
    return table.rows[table.baseline]


def _legend(table: Table) -> str:
    if table.baseline is None:
        return "↓ lower is better, ↑ higher is better"
    return (
        "colours are of differences from the marked baseline row, with simultaneous intervals under the pointer: "
        "green: separated and better, orange: separated and worse; grey: not separated"
    )


def _head(column: Column, table: Table) -> widgets.Cell:
    tie = ", all tie" if _all_tie(column, table) else ""
    meaning = measure(column.metric)
    hint = f"{meaning + '; ' if meaning else ''}{better(column)}. Definition: {column.name}"
    return widgets.Cell(header(column, table), f"{column.unit}{tie}".removeprefix(", "), hint=hint)


def _all_tie(column: Column, table: Table) -> bool:
    ranks = [cell.rank for row in table.rows if (cell := row.scores.get(column.name)) and cell.rank is not None]
    return len(ranks) > 1 and set(ranks) == {(1, len(ranks))}


def _ends(column: Column, rows: Sequence[Row]) -> tuple[float, float] | None:
    """The column's own scale: from the lowest to the highest interval's end of the rows that compete.

    A control row may lie far outside, such as tokens at random; its mark then stands at the edge.
    """
    compared = [row.scores.get(column.name) for row in rows if row.control is None]
    found = [cell.interval for cell in compared if cell is not None and cell.interval is not None]
    numbers = [end for one in found for end in (one.mean, one.low, one.high) if end is not None and math.isfinite(end)]
    if len(found) < 2 or not numbers or min(numbers) == max(numbers):
        return None
    return min(numbers), max(numbers)


def _cell(row: Row, column: Column, table: Table, ends: tuple[float, float] | None) -> widgets.Cell:
    cell = row.scores.get(column.name)
    if cell is None:
        return widgets.Cell("–")
    if cell.interval is None:
        why = "; ".join(cell.unscored)
        return widgets.Cell("no value", hint=why) if row.control else widgets.Cell("no value", why)
    best, _ = emphasis(row, column, table)
    side = {BETTER_ROW: " gain", WORSE_ROW: " loss"}.get(_side(column, cell) or "", "")
    place = rank(cell)
    return widgets.Cell(
        number(cell, row.n),
        f"rank {place}".replace("-", "–") if place and not _all_tie(column, table) else "",
        ("best" if best else "") + side,
        hint=_hint(cell),
        span=_span(cell, ends),
    )


def _hint(cell: Cell) -> str:
    """The difference behind the colour."""
    one = cell.difference
    if one is None or not one.found.n:
        return ""
    return f"from the baseline: {bounded(one.interval, '+')}, simultaneous 95 % interval; p = {one.found.p:.2g}"


def _span(cell: Cell, ends: tuple[float, float] | None) -> tuple[float, float, float] | None:
    interval = cell.interval
    if ends is None or interval is None or not math.isfinite(interval.mean):
        return None
    low, high = ends

    def at(value: float | None) -> float:
        return ((interval.mean if value is None else value) - low) / (high - low) * 0.96 + 0.02

    return at(interval.low), at(interval.mean), at(interval.high)


# -------------------------------------------------------------------------------------------------- the forest


def forest(table: Table, column: Column) -> None:
    """Each row's difference from the baseline with its interval; separated rows have a colour and a shape."""
    if table.baseline is None:
        return
    base = table.rows[table.baseline].label
    found = [
        (row, cell, cell.difference)
        for row in table.rows
        if (cell := row.scores.get(column.name)) is not None and cell.difference is not None
    ]
    if not found:
        widgets.notice(f"No row shares enough seeds with {base} to be compared on {column.metric}.")
        return
    if len(found) > SHOWN_DIFFERENCES:
        found.sort(key=lambda one: one[2].found.p)
        widgets.caption(f"The {SHOWN_DIFFERENCES} clearest of {len(found)} differences.")
    readings = [_reading(row, column, cell, difference) for row, cell, difference in found[:SHOWN_DIFFERENCES]]
    separated = [f"{one.label} ({one.mean:+.3g})" for one in readings if one.outcome != OPEN_ROW]
    sentence = (
        f"{column.metric} minus that of {base} ({better(column)}), with simultaneous 95 % intervals over shared "
        f"seeds: they leave 0 out exactly where p ≤ .05 over all these comparisons together. Separated: "
        f"{', '.join(separated) or 'none'}."
    )
    charts.intervals(
        readings,
        axis=f"difference from {base} in {column.metric}" + (f" ({column.unit})" if column.unit else ""),
        kinds={BETTER_ROW: "good", WORSE_ROW: "bad", OPEN_ROW: "plain"},
        sentence=sentence,
    )
    widgets.downloads(
        pd.DataFrame(
            {"row": row.label, "minus": base, "score": column.ranked_by or column.name, "difference": d.interval.mean}
            | {"low": d.interval.low, "high": d.interval.high, "p": d.found.p, "n": d.found.n, "family": d.family}
            | {"single_low": d.found.difference.low, "single_high": d.found.difference.high}
            for row, _, d in found
        ),
        f"differences-{table.title}-{column.metric}",
    )


def _reading(row: Row, column: Column, cell: Cell, difference: Difference) -> charts.Reading:
    interval = difference.interval
    return charts.Reading(
        label=printable(row.label),
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        outcome=_side(column, cell) or OPEN_ROW,
        more=f"{difference.found.n} seeds, p = {difference.found.p:.2g}",
    )


def ordered(table: Table) -> dict[str, Column]:
    """The columns that have a better end, by a short name."""
    return {f"{header(column, table)}": column for column in table.columns if column.ranked_by is not None}
