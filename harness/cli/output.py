"""Print or write what commands found: rich tables, text for a file, JSON, a grid's leaderboard."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
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

    show(render(leaderboard(store, grid=grid)))
