"""Every `harness` command that the README shows is one that the command line accepts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness.cli import app, spelled
from harness.describe import describe
from harness.grid import grid_names, load_grid

README = Path(__file__).parent.parent / "README.md"


def commands(text: str) -> list[str]:
    """Lines of fenced blocks that start with `harness `, a prompt `$ ` before it allowed, continuations joined."""
    found, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced and line.strip().removeprefix("$ ").startswith("harness "):
            found.append(line.strip().removeprefix("$ "))
    return found


def accepted(command: str) -> dict[str, Any]:
    """The arguments as the verb would get them; whatever it would refuse is raised, nothing is run."""
    verb, *args = shlex.split(command, comments=True)[1:]
    group = typer.main.get_command(app)
    known = group.commands  # type: ignore[attr-defined]
    assert verb in known, f"{command}: no verb {verb!r}"
    params: dict[str, Any] = known[verb].make_context(verb, spelled(args)).params
    if params.get("grid") in grid_names() and params.get("overrides"):
        load_grid(params["grid"], params["overrides"]).expand()
    if verb == "info" and not params["name"].isupper():  # NAME stands for one of the reader's choice
        describe(params["name"])
    return params


def test_the_readme_shows_the_command_line() -> None:
    verbs = {command.split()[1] for command in commands(README.read_text())}
    assert {"run", "leaderboard"} <= verbs, "README.md shows no command in a fenced block"


@pytest.mark.parametrize("command", commands(README.read_text()))
def test_a_command_of_the_readme_is_accepted(command: str) -> None:
    accepted(command)


def test_commands_are_found_in_fenced_blocks_only() -> None:
    text = "harness no\n```sh\n$ harness ls \\\n  runs  # all\nmake demo\nharness env\n```\nharness no\n"
    assert commands(text) == ["harness ls    runs  # all", "harness env"]


def test_a_wrong_command_would_be_noticed() -> None:
    assert accepted("harness leaderboard demo --group_by backspace  # why")["group_by"] == "backspace"
    for wrong in (
        "harness lst",
        "harness plan demo --seed 3",
        "harness ls trainer",
        "harness info mlee",
        "harness plan",
    ):
        with pytest.raises(Exception, match=r"no verb|No such option|'trainer'|mlee|Missing (argument|parameter)"):
            accepted(wrong)
