"""The pages work as they stand: commands, grids, the trainer, the cropped table, the map of the packages."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from shell import Shell
from test_architecture import LAYERS
from test_pages import PAGES, ROOT, name
from tiny_policies import tiny_policy

import harness
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

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
COLUMNS = re.compile(r"\s{3,}")


def commands(text: str) -> list[str]:
    """Lines of fenced blocks that start with `harness `, a prompt `$ ` before it allowed, continuations joined."""
    return [line for line in fenced_lines(text) if line.startswith("harness ")]


def fenced_lines(text: str) -> list[str]:
    """Lines of fenced blocks without indent and prompt, continuations joined."""
    found, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            found.append(line.strip().removeprefix("$ "))
    return found


def accepted(command: str) -> dict[str, Any]:
    """The arguments that the command's function would get; an error is raised, nothing is run."""
    name, *args = shlex.split(command, comments=True)[1:]
    group = typer.main.get_command(app)
    known = group.commands  # type: ignore[attr-defined]
    assert name in known, f"{command}: no command {name!r}"
    params: dict[str, Any] = known[name].make_context(name, spelled(args)).params
    if params.get("grid") in grid_names() and params.get("overrides"):
        load_grid(params["grid"], params["overrides"]).expand()
    if name == "info" and not params["name"].isupper():  # NAME stands for one of the reader's choice
        describe(params["name"])
    return params


WITH_COMMANDS = [page for page in PAGES if commands(page.read_text())]


def test_the_pages_show_the_command_line() -> None:
    assert {"run", "leaderboard"} <= {command.split()[1] for command in commands(README.read_text())}
    moved = {"cli", "generation", "grids", "metrics", "models", "runner"}
    assert {f"harness/{package}/README.md" for package in moved} <= set(map(name, WITH_COMMANDS))


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_the_commands_of_a_page_are_accepted(page: Path) -> None:
    for command in commands(page.read_text()):
        accepted(command)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_has_the_targets_that_a_page_names(page: Path) -> None:
    targets = re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in fenced_lines(page.read_text()):
        if line.startswith("make "):
            wanted = line.split()[1]
            assert wanted in targets or wanted.startswith("table-"), f"{name(page)}: make has no target {wanted}"


def test_every_command_is_on_a_page() -> None:
    """`harness demo` is `make demo`, and `sensitivity` the command of its table."""
    shown = {command.split()[1] for page in WITH_COMMANDS for command in commands(page.read_text())}
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(known) - shown <= {"demo", "sensitivity"}


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
        with pytest.raises(Exception, match=r"no command|No such option|'trainer'|mlee|Missing (argument|parameter)"):
            accepted(wrong)


# ------------------------------------------------------------------------------------------- commands of the README
def section(title: str) -> str:
    """The README's text under a heading, up to the next."""
    return README.read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def fenced(language: str, title: str) -> str:
    """The first block of a language in a section of the README."""
    return section(title).split(f"```{language}\n", 1)[1].split("```", 1)[0]


def words(command: str) -> list[str]:
    """The arguments of a command as the shell passes them."""
    return shlex.split(command, comments=True)[1:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The command line on a copy of the dashboard's sample: the grid `demo`, finished."""
    folder = tmp_path_factory.mktemp("readme") / "results"
    shutil.copytree(ROOT / "dashboard" / "sample", folder)
    return Shell(folder.parent)


@pytest.mark.parametrize("command", commands(section("Ten commands")))
def test_the_ten_commands_run(finished: Shell, command: str) -> None:
    """RUN stands for a run of `harness ls runs`: here the first, and MLE's beside it."""
    runs = iter([line.split()[0] for line in finished("ls", "runs").stdout.splitlines()])
    args = [next(runs) if word == "RUN" else word for word in words(command)]
    assert finished(*args).stdout


def test_there_are_ten_commands() -> None:
    assert len(commands(section("Ten commands"))) == 10


def smaller(grid: str) -> str:
    """A grid of the README with one seed, two steps and no control rows."""
    grid = re.sub(r"steps: \d+", "steps: 2", grid)
    grid = re.sub(r"name: language,", "name: language, train: 64, validation: 8, test: 8,", grid)
    return re.sub(r"seeds: \d+", "seeds: 1\ncontrols: false", grid)


def test_the_grid_and_the_trainer_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved and typed as the page says: 7 groups, then mle and 3 powers without and with `<backspace>`."""
    monkeypatch.chdir(tmp_path)
    Path("strength.yaml").write_text(smaller(fenced("yaml", "A grid")))
    Path("focal.py").write_text(fenced("python", "A trainer in 25 lines"))
    shell = Shell(tmp_path)
    run, board = commands(section("A grid"))
    (focal,) = commands(section("A trainer in 25 lines"))
    assert "7 cells: 7 done now, 0 done before, 0 failed" in shell(*words(run)).stdout
    assert "alpha" in shell(*words(board)).stdout
    assert "8 cells: 8 done now, 0 done before, 0 failed" in shell(*words(focal)).stdout


def test_the_grid_of_the_corpus_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first cell, with two cheap metrics in place of the benchmark's own, on 60 documents."""
    monkeypatch.chdir(tmp_path)
    texts = (" ".join(f"word{number % 7} and {number * step}." for number in range(40)) for step in range(60))
    Path("texts.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    grid = fenced("yaml", "Your own corpus")
    assert grid.count("\n") <= 5
    Path("mine.yaml").write_text(f"{smaller(grid)}\n")
    (run,) = commands(section("Your own corpus"))
    tiny = ("--limit", "1", "base_steps=2", "width=8", "heads=2", "rollouts=4", "metrics=diversity,length")
    assert "1 cells: 1 done now, 0 done before, 0 failed" in Shell(tmp_path)(*words(run), *tiny).stdout


def test_the_grid_of_the_readme_as_it_stands(tmp_path: Path) -> None:
    """7 groups of 6 seeds; with the trainer, mle and 3 powers without and with `<backspace>`."""
    (tmp_path / "strength.yaml").write_text(fenced("yaml", "A grid"))
    (tmp_path / "focal_grid.py").write_text(fenced("python", "A trainer in 25 lines").replace('"focal"', '"focal_"'))
    grid = load_grid(str(tmp_path / "strength.yaml"))
    assert len(grid.expand()) == 7 * 6
    include(tmp_path / "focal_grid.py")
    cells = grid.override(["trainer=mle,focal_", "power=0.5,1,2"]).expand()
    assert len(cells) == (1 + 3) * 2 * 6
    assert {cell.trainer.options.get("power") for cell in cells} == {None, 0.5, 1.0, 2.0}


def test_the_trainer_of_the_readme_is_a_trainer(tmp_path: Path) -> None:
    """Power 0 is maximum likelihood, to the last bit; a higher power costs less."""
    source = fenced("python", "A trainer in 25 lines")
    assert len(source.splitlines()) <= 25
    (tmp_path / "focal_loss.py").write_text(source.replace('"focal"', '"focal_loss"'))
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


# ------------------------------------------------------------------------------------------------------ what it says
def test_the_pages_at_the_root_are_short() -> None:
    assert len(README.read_bytes()) <= 9_000
    assert len(CONTRIBUTING.read_bytes()) <= 6_144


def table(text: str, first: str, wanted: list[str] | None = None) -> list[list[str]]:
    """The rows under the header that starts with `first`, up to the rule below them; `wanted` columns, or all."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f" {first} "))
    header = COLUMNS.split(lines[start].strip())
    chosen = [header.index(column) for column in wanted or header]
    rows = [line for line in lines[start + 1 :] if not set(line.strip()) <= {"─"} or not line.strip()]
    rows = rows[: next(number for number, row in enumerate(rows) if not row.startswith(" ") or "control:" in row)]
    return [[COLUMNS.split(row.strip())[column] for column in chosen] for row in rows]


def test_the_table_is_cropped_from_its_file() -> None:
    """Every row that is ranked, eight seeds each; the digits of the file."""
    opening = README.read_text().partition("\n## ")[0]
    source = re.search(r"\]\((results/tables/[^)]+)\)", opening)
    assert source is not None
    columns = ["trainer", "backspace", "n", "out_of_support ↓"]
    shown = table(opening, "trainer", columns)
    assert len(shown) == 6
    assert {row[2] for row in shown} == {"8"}
    assert shown == table((ROOT / source[1]).read_text(), "trainer", columns)


def test_the_sentence_above_the_table_is_what_it_shows() -> None:
    """With `<backspace>` less than half for each objective; ranks 1-3 against 4-6."""
    rows = table(README.read_text(), "trainer")
    means = {(row[0], row[1]): float(row[3].split()[0]) for row in rows}
    ranks = {row[1]: row[3].split()[-1] for row in rows}
    for trainer in {row[0] for row in rows}:
        assert means[trainer, "true"] < means[trainer, "false"] / 2
    assert ranks == {"false": "4-6", "true": "1-3"}


def the_map() -> str:
    """The tree of the packages in the docstring of `harness`."""
    docstring = ast.get_docstring(ast.parse(Path(harness.__file__).read_text())) or ""
    return textwrap.dedent(docstring.split("::\n\n")[1].partition("\n\n")[0])


def test_the_map_names_every_package_in_the_order_of_the_layers() -> None:
    folders = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    named = re.findall(r"^  (\w+)  +\S", the_map(), re.MULTILINE)
    assert set(named) == folders
    assert len(named) == len(folders) == 19  # "nineteen packages"
    rows = [next(row for row, packages in enumerate(LAYERS) if package in packages) for package in named]
    assert rows == sorted(rows)


def test_the_readme_has_the_map() -> None:
    assert f"```text\n{the_map()}\n```" in section("The code")


def test_the_map_ends_with_the_public_names() -> None:
    named = re.search(r"from harness import ([\w, ]+)`", harness.__doc__ or "")
    assert named is not None
    assert named[1].split(", ") == harness.__all__
    assert all(getattr(harness, one) for one in harness.__all__)


@pytest.mark.parametrize(("kind", "page"), [("trainers", "trainers"), ("metrics", "harness/metrics")])
def test_every_trainer_and_metric_is_in_its_table(kind: str, page: str) -> None:
    text = (ROOT / page / "README.md").read_text()
    for point in entry_points(group=f"sequencematch_harness.{kind}"):
        assert f"`{point.name}`" in text, f"{page}/README.md does not describe {point.name}"


def test_the_files_of_the_tour_are_there() -> None:
    named = re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", CONTRIBUTING.read_text())
    assert "harness/runner/run.py" in named
    assert [path for path in named if not (ROOT / path).exists()] == []
