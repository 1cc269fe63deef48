"""One table of the leaderboard as a page shows it, and the forest of its differences from the baseline."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dashboard import look
from dashboard.glossary import WORDS
from harness.board import Cell, Column, Row, Table
from harness.rendering import ARROWS, BETTER, rounded
from harness.selection import last_part, written

ALPHA = 0.05


def draw(table: Table) -> None:
    """The table with its ranks, the control rows under a rule, then what the data say about it."""
    heads = [
        *(look.Cell(last_part(key)) for key in table.keys),
        look.Cell("n", hint=WORDS["n"]),
        *(
            look.Cell(f"{column.metric} {ARROWS[column.direction]}", column.unit, hint=_hint(column))
            for column in table.columns
        ),
    ]
    rows = [
        [
            *(written(row.group[key]) if key in row.group else "–" for key in table.keys),
            str(row.n),
            *(_number(row.scores.get(column.name), row) for column in table.columns),
        ]
        for row in table.rows
    ]
    pinned = sum(row.control is not None for row in table.rows)
    look.table(
        heads, rows, caption=f"{table.title}: mean ± 95 % interval over n seeds", pinned=pinned, numbers=len(table.keys)
    )
    for finding in table.findings:
        look.says(finding)


def _hint(column: Column) -> str:
    said = WORDS.get(column.metric, "")
    return f"{said} {BETTER[column.direction]}. Definition: {column.name}".strip()


def _number(cell: Cell | None, row: Row) -> look.Cell:
    if cell is None:
        return look.Cell("–")
    if cell.interval is None:
        return look.Cell("no value", "; ".join(cell.unscored))
    if cell.rank is None:
        return look.Cell(rounded(cell.interval))
    low, high = cell.rank
    return look.Cell(
        rounded(cell.interval), f"rank {low}" if low == high else f"rank {low}–{high}", "best" if low == 1 else ""
    )


def forest(table: Table, column: Column) -> None:
    """Each row's difference from the baseline with its interval; rows that the seeds separate are filled."""
    if table.baseline is None:
        look.notice("No row is the baseline here, so there are no differences to draw.")
        return
    base = table.rows[table.baseline]
    found = [
        {
            "row": row.label,
            "difference": cell.difference.interval.mean,
            "low": cell.difference.interval.low,
            "high": cell.difference.interval.high,
            "p": cell.difference.p,
            "told": "separated from the baseline" if cell.difference.p <= ALPHA else "not separated",
        }
        for row in table.rows
        if (cell := row.scores.get(column.name)) is not None and cell.difference is not None
    ]
    if not found:
        look.notice(f"No row shares enough seeds with {base.label} to be compared on {column.metric}.")
        return
    frame = pd.DataFrame(found)
    order = frame["row"].tolist()
    place = alt.Y("row:N", title=None, sort=order, axis=alt.Axis(labelLimit=420))
    colour = alt.Color(
        "told:N", title=None, legend=alt.Legend(orient="top"),
        scale=alt.Scale(domain=["separated from the baseline", "not separated"], range=[look.COLOURS[1], look.COLOURS[6]]),
    )  # fmt: skip
    shape = alt.Shape(
        "told:N",
        title=None,
        scale=alt.Scale(domain=["separated from the baseline", "not separated"], range=["diamond", "circle"]),
    )
    drawn = (
        alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="#7F7F7F").encode(x="x:Q")
        + alt.Chart(frame)
        .mark_rule(strokeWidth=2)
        .encode(x=alt.X("low:Q", title=""), x2="high:Q", y=place, color=colour)
        + alt.Chart(frame)
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x=alt.X("difference:Q", title=f"{column.metric} minus the baseline's ({column.unit})"),
            y=place,
            color=colour,
            shape=shape,
            tooltip=["row:N", alt.Tooltip("difference:Q", format=".4g"), alt.Tooltip("p:Q", format=".3g")],
        )
    )
    separated = [one for one in found if one["p"] <= ALPHA]
    listed = ", ".join(f"{one['row']} ({one['difference']:+.3g})" for one in separated)
    sentence = (
        f"Difference from {base.label} in {column.metric} ({BETTER[column.direction]}), with a 95 % interval over shared "
        f"seeds; separated at 5 % over all these comparisons together: {listed or 'none'}."
    )
    look.chart(drawn.properties(height=40 + 34 * len(found)), alt_text=sentence, sentence=sentence)
