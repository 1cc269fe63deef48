"""Tables of texts on a screen that may be too narrow for them: the columns that stand there, and the names of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import measure_renderables
from rich.table import Table as RichTable
from rich.text import Text

NARROWEST = 12  # characters that a row's name keeps
_RULED = box.Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")  # SIMPLE_HEAD, with a rule above the control rows


@dataclass(frozen=True)
class FittedTable:
    """A table that is never wider than its console, and cuts no number.

    Where it is too wide, with `every` its columns go on below, under the same rows; without, the first that fit stand
    there, set tightly, and a line says which ones are left out.

    Attributes:
        title: a line above it; empty for none.
        head: the heads of its columns.
        rows: cells as texts.
        names: number of columns, the first ones, that name a row; on a narrow console they become one.
        fixed: number of columns after them that stand in every part.
        first: indices of the other columns, those first that are left out last; as they stand where empty.
        ruled: indices of the rows above which there is a rule.
        every: False to leave columns out.
        edges: False to leave no empty line above and below.
        more: the sentence's end for the line about columns left out: what to type.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    fixed: int = 0
    first: Sequence[int] = ()
    ruled: Sequence[int] = ()
    every: bool = True
    edges: bool = True
    more: str = "--all shows them"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tight, parts, left = self.parts(console, options)
        for number, columns in enumerate(parts):
            yield self._drawn(columns, "" if number else self.title, tight)
        if left:
            names = ", ".join(self.head[i] for i in left[:4]) + (", ..." if len(left) > 4 else "")
            yield Text(f"left out to fit: {_columns(len(left))} ({names}); {self.more}", style="dim")

    def parts(self, console: Console, options: ConsoleOptions) -> tuple[int, list[list[int]], list[int]]:
        """The most characters of a row's name (0: as it is), columns of each part, and columns that are left out."""

        def fits(columns: Sequence[int], tight: int) -> bool:
            drawn = self._drawn(columns, self.title, tight)
            return measure_renderables(console, options.update(width=10_000), [drawn]).maximum <= options.max_width

        left = list(self.first or range(self.names + self.fixed, len(self.head)))
        tight = 0
        if not (all(fits([one], 0) for one in left) if self.every else fits(left, 0)):
            tight = max(NARROWEST, options.max_width // 3)
            left = [*range(self.names + 1, self.names + self.fixed), *left]  # of the fixed ones but the first stands
            if not fits(left[:1], tight):
                tight = NARROWEST
        parts: list[list[int]] = []
        while left or not parts:
            count = len(left)
            while count > 1 and not fits(left[:count], tight):
                count -= 1
            parts.append(left[:count])
            left = left[count:]
            if not self.every:
                break
        return tight, parts, left

    def _drawn(self, columns: Sequence[int], title: str, tight: int) -> RichTable:
        """The table of some columns; `tight` is the most characters of a row's name, 0 to set it widely."""
        drawn = RichTable(title=Text(title) if title else None, title_justify="left", box=_RULED, pad_edge=False)
        drawn.show_edge = self.edges
        fixed = range(self.names, self.names + (min(1, self.fixed) if tight else self.fixed))
        shown = sorted({*fixed, *columns})
        if tight:
            drawn.padding = (0, 1, 0, 0)
            names = [[name] for name in self._labels()] if self.names else [[] for _ in self.rows]
            if self.names:
                drawn.add_column(Text(self.head[0] if self.names == 1 else "row"), overflow="fold", max_width=tight)
        else:
            names = [list(row[: self.names]) for row in self.rows]
            for head in self.head[: self.names]:
                drawn.add_column(Text(head), overflow="fold")
        for i in shown:
            words = [*self.head[i].split(), *(row[i] for row in self.rows)]
            drawn.add_column(
                Text(self.head[i]), justify="right", overflow="fold", width=max(map(len, words)) if tight else None
            )
        for number, (name, row) in enumerate(zip(names, self.rows, strict=True)):
            if number in self.ruled:
                drawn.add_section()
            drawn.add_row(*map(Text, [*name, *(row[i] for i in shown)]))
        return drawn

    def _labels(self) -> list[str]:
        """Each row's name in one cell, with what tells it apart: no value that is off, no folder that all share."""
        columns = [_without_shared_folder([row[i] for row in self.rows]) for i in range(self.names)]
        rows = list(zip(*columns, strict=True))
        if self.names == 1:
            return [row[0] for row in rows]
        brief = [
            " ".join(_brief(head, cell) for head, cell in zip(self.head, row, strict=False) if _brief(head, cell))
            for row in rows
        ]
        if len(set(brief)) == len(brief):
            return [label or "plain" for label in brief]
        return [", ".join(f"{head}={cell}" for head, cell in zip(self.head, row, strict=False)) for row in rows]


@dataclass(frozen=True)
class Legend:
    """Lines about a table's columns, by index; of columns that are left out, none."""

    table: FittedTable
    lines: Mapping[int, str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = self.table.parts(console, options)[2]
        yield from (Text(line, style="dim") for i, line in self.lines.items() if i not in left)


def _columns(n: int) -> str:
    return f"{n} column" + ("" if n == 1 else "s")


def _brief(head: str, cell: str) -> str:
    """A value that says what it is, its key where the value does not, nothing where it is off.

    >>> _brief("backspace", "true"), _brief("trainer", "bc"), _brief("alpha", "0.1"), _brief("backspace", "false")
    ('backspace', 'bc', 'alpha=0.1', '')
    """
    if cell in ("–", "false", ""):
        return ""
    return head if cell == "true" else f"{head}={cell}" if cell[0] in "-.0123456789" else cell


def _without_shared_folder(cells: Sequence[str]) -> list[str]:
    """Paths with `…/` for the folder that all of them share; other texts as they are.

    >>> _without_shared_folder(["/a/b/x.txt", "/a/b/y.txt"]), _without_shared_folder(["a/x", "b"])
    (['…/x.txt', '…/y.txt'], ['a/x', 'b'])
    """
    paths = [cell.split("/") for cell in cells if "/" in cell]
    if len({*cells}) < 2 or len(paths) < len([cell for cell in cells if cell != "–"]):
        return list(cells)
    shared = 0
    while all(len(path) > shared + 1 for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    return [cell if not shared or cell == "–" else "/".join(["…", *cell.split("/")[shared:]]) for cell in cells]
