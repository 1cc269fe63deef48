"""Print or write what commands found: rich tables, text for a file, JSON, a grid's leaderboard."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.errors import EnvironmentProblem

if TYPE_CHECKING:
    from harness.storage.store import Store


def as_json_text(value: Any) -> str:
    """JSON as `--json` prints it: ASCII alone, so that no text in it can drive a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False, default=str)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, every column but the last as wide as its longest cell and two blanks more.

    >>> aligned([("a", "one"), ("bcd", "two")])
    ['a    one', 'bcd  two']
    """
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    padded = ((cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return ["".join(cells).rstrip() for cells in padded]


def as_json_line(value: Any, encoding: str = "utf-8") -> str:
    r"""JSON on one line, for a person to read: letters of every script as they are.

    Escaped are characters that could drive a terminal or turn the line round, halves of surrogate pairs, and what
    `encoding` does not have.

    >>> as_json_line("naïve\x1b[2J\u202e")
    '"naïve\\u001b[2J\\u202e"'
    """

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            return json.dumps(character)[1:-1]
        return character if character.isprintable() else json.dumps(character)[1:-1]

    return re.sub(r"[^\x20-\x7e]", escaped, json.dumps(value, ensure_ascii=False))


def screen_width() -> int | None:
    """Characters in a line of the screen: what COLUMNS says, or the terminal's; None where a pipe or file reads on.

    Tables leave columns out for a screen only: a program gets all of them.
    """
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit():
        return int(asked)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str, hang: int | None = None) -> None:
    """Print lines, on a screen broken at blanks to its width and continued under column `hang`, or two to the right."""
    width = screen_width()
    typer.echo(text if width is None else "\n".join(_broken(line, width, hang) for line in text.split("\n")))


def _broken(line: str, width: int, hang: int | None) -> str:
    r"""The line with newlines in it.

    >>> _broken("demo  Does it pay?", 14, 6)
    'demo  Does it\n      pay?'
    """
    if len(line) <= width:
        return line
    indent = min(len(line) - len(line.lstrip()) + 2 if hang is None else hang, width // 2)
    return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False))


def command() -> str:
    """The text to type for `harness` in this shell: the word where it finds this very command, else the path to it."""
    own = Path(sys.executable).with_name("harness")
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m harness"
    found = shutil.which("harness")
    if found is not None and Path(found).exists() and Path(found).samefile(own):
        return "harness"
    here = Path.cwd()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))


def show(parts: Sequence[object]) -> None:
    """Print tables and texts of rich, one below the other."""
    from rich.console import Console

    Console().print(*parts, sep="\n")


def emit(text: str, output: Path | None) -> None:
    """Print the text, or write it to the file that `--output` names.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise EnvironmentProblem(f"--output {output}: {error.strerror}; name a file in a folder that exists") from error


def print_leaderboard(store: Store, grid: str) -> None:
    """Print a grid's leaderboard with the defaults of `harness leaderboard`."""
    from harness.report.leaderboard import leaderboard
    from harness.report.rendering import render

    show(render(leaderboard(store, grid=grid), screen_width() is None))
