"""The README's examples work: its commands, its grid, its trainer, its tables."""

from __future__ import annotations

import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from tiny_policies import tiny_policy

from harness.actions.batch import ActionValues, Batch, pack
from harness.actions.weights import Weighting
from harness.cli.app import app, spelled
from harness.cli.describe import describe
from harness.config.section import Plugin
from harness.grids.grid import grid_names, load_grid
from harness.plugins.options import build
from harness.plugins.trainer import Moment
from harness.records import Trajectory
from harness.registry import TRAINERS, include

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


def fenced(language: str) -> str:
    """The first block of a language."""
    return README.read_text().split(f"```{language}\n", 1)[1].split("```", 1)[0]


def test_the_grid_and_the_trainer_of_the_readme_work(tmp_path: Path) -> None:
    """Saved as it says, the grid has 7 groups of 6 seeds; with the trainer, mle and 3 powers without and with."""
    (tmp_path / "strength.yaml").write_text(fenced("yaml"))
    (tmp_path / "focal.py").write_text(fenced("python"))
    grid = load_grid(str(tmp_path / "strength.yaml"))
    assert len(grid.expand()) == 7 * 6
    include(tmp_path / "focal.py")
    cells = grid.override(["trainer=mle,focal", "power=0.5,1,2"]).expand()
    assert len(cells) == (1 + 3) * 2 * 6
    assert {cell.trainer.options.get("power") for cell in cells} == {None, 0.5, 1.0, 2.0}


def test_the_trainer_of_the_readme_is_a_trainer(tmp_path: Path) -> None:
    """Power 0 is maximum likelihood, to the last bit; a higher power costs less."""
    (tmp_path / "focal_loss.py").write_text(fenced("python").replace('"focal"', '"focal_loss"'))
    include(tmp_path / "focal_loss.py")
    policy = tiny_policy()
    rows = [Trajectory((policy.start_id,), (*policy.encode("abc"), policy.end_id))]
    batch = pack(rows, policy.space, Weighting(kind="uniform"))

    def evaluate(rows: Batch, reference: bool = False) -> ActionValues:
        return policy.evaluate(rows)

    def loss(name: str, **options: float) -> float:
        trainer = build(TRAINERS, Plugin(name=name, options=options), "trainer")
        return float(trainer.loss(evaluate, batch, None, Moment(0.0, torch.Generator())).total.detach())

    assert loss("focal_loss", power=0.0) == loss("mle")
    assert 0 < loss("focal_loss", power=2.0) < loss("focal_loss", power=1.0) < loss("mle")


def test_every_trainer_and_metric_is_in_its_table() -> None:
    text = README.read_text()
    for name in (*entry_points_of("trainers"), *entry_points_of("metrics")):
        assert f"`{name}`" in text, f"README.md does not say what {name} is"


def entry_points_of(kind: str) -> list[str]:
    return [point.name for point in entry_points(group=f"sequencematch_harness.{kind}")]
