"""Exports of a leaderboard and of the stored values behind it, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias

import pandas as pd

from harness.config.keys import short_keys
from harness.report.board import Cell, Column, Leaderboard, Row, Table, plain
from harness.report.rendering import cost_heads, costs, header, keys, legend, number, rank
from harness.storage.store import Store

Format = Literal["csv", "json", "md", "latex"]
What = Literal["scores", "runs", "curves", "profiles", "interims"]
COST = ("steps", "tokens", "seconds", "ratio", "looked", "sampled")  # as `costs.Cost.exported` has them
SINGLE = ("family", "difference_single_low", "difference_single_high")
"""Columns beside a difference, whose own ends are simultaneous: the comparisons these hold for, and the single ends."""
Cells: TypeAlias = Sequence[Sequence[str]]

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
}
_MARKDOWN = re.compile(r"([\\|*<>`\[\]])")


def board_text(board: Leaderboard, form: Format) -> str:
    """The leaderboard in a format; CSV has one line per row and score, with every number in full.

    Differences and ranks in it are of the score in `ranked_by`, or where that is empty, of the line's own.  `low` and
    `high` are a single interval of one row's mean, `difference_low` and `difference_high` the simultaneous one of all
    `family` rows' differences from the baseline, which leaves 0 out exactly where `p` <= .05.
    """
    return _BOARD[form](board)


def frame(store: Store, what: What, grid: str | None = None) -> pd.DataFrame:
    """The stored values behind a leaderboard, one line per run, score, logged step, profile point or interim score.

    Scores, interim ones too, and profiles carry their run's group and every key in which the runs differ.
    """
    runs = store.runs(grid)
    if what == "runs":
        return runs
    if what == "curves":
        curves = [store.curves(run_id).assign(run_id=run_id) for run_id in runs["run_id"]]
        whole = pd.concat([curve for curve in curves if len(curve)] or [pd.DataFrame()], ignore_index=True)
        return whole if whole.empty else whole[["run_id", *(name for name in whole.columns if name != "run_id")]]
    found = {"scores": store.scores, "profiles": store.profiles, "interims": store.interims}[what](grid)
    differ = [name for name in runs.columns if "." in name and runs[name].map(repr).nunique() > 1]
    return runs[["run_id", "group_id", *differ]].merge(found.drop(columns="parameters"), on="run_id")


def frame_text(found: pd.DataFrame, form: Format) -> str:
    """A frame in a format, numbers in full; in CSV an empty field is a missing value."""
    if form == "json":
        return _json([{name: _plain(value) for name, value in row.items()} for row in found.to_dict("records")])
    text = found.map(_written) if len(found) else found.astype(str)
    head, rows = [str(name) for name in found.columns], text.values.tolist()
    return {"csv": csv_table, "md": markdown_table, "latex": latex_table}[form](head, rows)


# ------------------------------------------------------------------------------------------------ plain tables


def csv_table(head: Sequence[str], rows: Cells) -> str:
    """Comma-separated values with a header."""
    lines: list[str] = []
    writer = csv.writer(SimpleNamespace(write=lines.append))  # quotes what holds either sign of its own line end
    writer.writerow(head)
    writer.writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def markdown_table(head: Sequence[str], rows: Cells) -> str:
    """A GitHub table; nothing in a cell is read as markup."""
    lines = [[_markdown(cell) for cell in row] for row in [head, *rows]]
    return _markdown_lines(lines)


def latex_table(head: Sequence[str], rows: Cells, caption: str = "") -> str:
    r"""A `table` with booktabs' rules; every cell is text (`\usepackage{booktabs}` in the preamble)."""
    body = [" & ".join(map(latex, row)) + r" \\" for row in rows]
    return _latex_environment("l" * len(head), [latex(cell) for cell in head], body, latex(caption))


def latex(text: str) -> str:
    """Text whose every character LaTeX prints as it is; control characters become spaces.

    >>> latex("a_b & 5 %")
    'a\\\\_b \\\\& 5 \\\\%'
    """
    return "".join(_LATEX.get(sign, sign) for sign in _one_line(text))


# ----------------------------------------------------------------------------------------------- leaderboards


def _board_json(board: Leaderboard) -> str:
    return _json(board.to_dict())


def _board_csv(board: Leaderboard) -> str:
    names = list(dict.fromkeys(key for table in board.tables for key in table.keys))
    numbers = ("mean", "low", "high", "values", "unscored", "rank_best", "rank_worst")
    against = ("difference", "difference_low", "difference_high", "p", "pairs", "baseline", *SINGLE)
    head = ["table", *names, "control", "n", "metric", "name", "unit", "direction", "ranked_by", *numbers, *against]
    head += [f"cost_{name}" for name in COST] if board.per is not None else []
    tuned = any(row.tuning is not None for table in board.tables for row in table.rows)
    head += [f"tuning_{name}" for name in ("trials", "tokens", "seconds")] if tuned else []
    rows = []
    for table in board.tables:
        base = "" if table.baseline is None else table.rows[table.baseline].label
        for row in table.rows:
            cost = [] if row.cost is None else [row.cost.exported()[name] for name in COST]
            if row.tuning is not None:
                cost = [*(cost or [None] * (len(COST) if board.per is not None else 0)), *vars(row.tuning).values()]
            for column in table.columns:
                cell = row.scores.get(column.name)
                if cell is not None:
                    first = [table.title, *(row.group.get(name) for name in names), row.control, row.n]
                    line = [*first, column.metric, column.name, column.unit, column.direction, column.ranked_by]
                    line += [*_numbers(cell, base), *cost]
                    rows.append([_written(value) for value in [*line, *[None] * (len(head) - len(line))]])
    return csv_table(head, rows)


def _numbers(cell: Cell, base: str) -> list[Any]:
    interval, against = cell.interval, cell.difference
    own = [None, None, None, 0] if interval is None else [interval.mean, interval.low, interval.high, interval.n]
    own += [sum(cell.unscored.values()), *(cell.rank or (None, None))]
    if against is None:
        return [*own, *[None] * (6 + len(SINGLE))]
    joint, single, found = against.interval, against.found.difference, against.found
    return [*own, joint.mean, joint.low, joint.high, found.p, found.n, base, against.family, single.low, single.high]


def _board_markdown(board: Leaderboard) -> str:
    parts = []
    for table in board.tables:
        head, rows = _cells(table)
        lines = [[_markdown(cell) for cell in head]]
        for row, line in zip(table.rows, rows, strict=True):
            shown = [_markdown(cell) for cell in line]
            for i, column in enumerate(table.columns, start=len(line) - len(table.columns)):
                best, _ = emphasis(row, column, table)
                shown[i] = f"**{shown[i]}**" if best else shown[i]
            lines.append(shown)
        notes = [_markdown(line) for line in (*table.findings, *legend(table), *table.notes)]
        parts.append(f"### {_markdown(table.title)}\n\n{_markdown_lines(lines)}\n" + "".join(f"- {s}\n" for s in notes))
    return "\n".join([*parts, "".join(f"- {_markdown(note)}\n" for note in (*board.notes, _BOLD))])


def _board_latex(board: Leaderboard) -> str:
    parts = []
    for table in board.tables:
        head, rows = _cells(table)
        first = len(head) - len(table.columns)
        body: list[str] = []
        for i, (row, line) in enumerate(zip(table.rows, rows, strict=True)):
            if row.control is not None and i and table.rows[i - 1].control is None:
                body.append(r"\midrule")
            cells = [latex(cell) for cell in line]
            for j, column in enumerate(table.columns, start=first):
                best, tied = emphasis(row, column, table)
                cells[j] = rf"\underline{{{cells[j]}}}" if tied else cells[j]
                cells[j] = rf"\textbf{{{cells[j]}}}" if best else cells[j]
            body.append(" & ".join(cells) + r" \\")
        columns = "l" * len(table.keys) + "r" * (len(head) - len(table.keys))
        made = _latex_environment(columns, [latex(cell) for cell in head], body, latex(_caption(table)))
        more = [*table.findings, *legend(table), *table.notes, *board.notes]
        parts.append(made + "".join(f"% {_one_line(line)}\n" for line in more))
    if not parts:
        return "".join(f"% {_one_line(note)}\n" for note in board.notes)
    return "\n".join(parts)


_BOLD = "bold: no row is significantly better; underlined where other rows share that place; plain where all rows tie"


def _caption(table: Table) -> str:
    """Method and n of a table."""
    sizes = sorted({row.n for row in table.rows if row.control is None} or {row.n for row in table.rows})
    n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    text = f"{table.title}. Means over n = {n} seeds{table.given}, with single 95 % Student-t intervals"
    if sizes == [1]:
        text = f"{table.title}. One run a row{table.given}, so no intervals"
    if any(cell.rank for row in table.rows for cell in row.scores.values()):
        text += (
            "; in parentheses the ranks that a sign flip over seeds leaves open, joint over all pairs of a column at "
        )
        text += f"p <= .05; {_BOLD}"
    return text + ". " + "".join(f"{finding[:1].upper()}{finding[1:]}. " for finding in table.findings[:1]).rstrip()


def emphasis(row: Row, column: Column, table: Table) -> tuple[bool, bool]:
    """(is best, is tied best) of a row in a column; both False where all rows tie."""
    ranks = [cell.rank for one in table.rows if (cell := one.scores.get(column.name)) and cell.rank]
    mine = row.scores[column.name].rank if column.name in row.scores else None
    best = mine is not None and mine[0] == 1 and any(one[0] > 1 for one in ranks)
    return best, best and mine is not None and mine[1] > 1


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Heads and the cells of each row, as the terminal shows them."""
    head = [*short_keys(table.keys), "n", *cost_heads(table), *(header(c, table) for c in table.columns)]
    rows = []
    for row in table.rows:
        line = [*keys(row, table), str(row.n), *costs(row, table)]
        for column in table.columns:
            cell = row.scores.get(column.name)
            place = rank(cell)
            line.append(number(cell, row.n) + (f" ({place})" if place else ""))
        rows.append(line)
    return head, rows


_BOARD: Mapping[Format, Callable[[Leaderboard], str]] = {
    "json": _board_json,
    "csv": _board_csv,
    "md": _board_markdown,
    "latex": _board_latex,
}


# ------------------------------------------------------------------------------------------------------- parts


def _markdown_lines(lines: Cells) -> str:
    head, *rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *rows]) + "\n"


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _latex_environment(columns: str, head: Sequence[str], body: Sequence[str], caption: str) -> str:
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        *([rf"  \caption{{{caption}}}"] if caption else []),
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {' & '.join(head)} " + r"\\",
        r"    \midrule",
        *(f"    {line}" for line in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # numpy's numbers
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else plain(value)
    if value is pd.NaT:
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def _written(value: Any) -> str:
    """A value in full: the shortest digits that read back as the same number; nothing for no value."""
    found = _plain(value)
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
