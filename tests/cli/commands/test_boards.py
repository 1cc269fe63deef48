"""The commands that compare what runs have scored: formats, files, exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from boards import add, add_groups, mauve
from typer.testing import CliRunner

from harness.cli.app import app
from harness.records.training import Step
from harness.storage.store import Store

UP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


@pytest.fixture
def shell(store: Store) -> Any:
    """The command line on a store with six seeds of mle and of bc, which is one better."""
    add_groups(store, {"mle": UP, "bc": [value + 1 for value in UP]})

    def call(*args: str, code: int = 0) -> str:
        result = CliRunner(env={"HARNESS_STORE": store.url, "COLUMNS": "120"}).invoke(app, list(args))
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.stderr if code else result.stdout

    return call


def test_leaderboard_in_every_format(shell: Any, tmp_path: Path) -> None:
    text = shell("leaderboard", "g")
    assert "mauve: bc beats mle" in text
    assert "0.35 ± 0.20  2" in text
    assert shell("leaderboard", "--format", "json") == shell("leaderboard", "--json")
    (table,) = json.loads(shell("leaderboard", "--json"))["tables"]
    assert [row["scores"][table["metrics"][0]["name"]]["rank"] for row in table["rows"]] == [[2, 2], [1, 1]]
    lines = list(csv.DictReader(io.StringIO(shell("leaderboard", "--format", "csv"))))
    assert [line["trainer.name"] for line in lines] == ["mle", "bc"]
    assert shell("leaderboard", "--format", "md").startswith("### text\n\n| trainer | n | mauve ↑ |\n")
    assert shell("leaderboard", "--format", "latex").startswith("% \\usepackage{booktabs}\n\\begin{table}\n")
    assert shell("leaderboard", "--format", "latex", "--output", str(tmp_path / "t.tex")) == ""
    assert (tmp_path / "t.tex").read_text() == shell("leaderboard", "--format", "latex")
    assert shell("leaderboard", "--output", str(tmp_path / "t.txt")) == ""
    assert "mauve: bc beats mle" in (tmp_path / "t.txt").read_text()
    printed = shell("leaderboard", "--output", str(tmp_path / "no" / "t.txt"), code=3)
    assert "name a file in a folder that exists" in printed


def test_leaderboard_choices(shell: Any) -> None:
    by = json.loads(shell("leaderboard", "--sort", "mauve", "--baseline", "trainer=bc", "--json"))["tables"][0]
    assert [row["label"] for row in by["rows"]] == ["bc", "mle"]
    assert by["baseline"] == 0
    (only,) = json.loads(shell("leaderboard", "--filter", "trainer!=mle", "--json"))["tables"]
    assert len(only["rows"]) == 1
    assert json.loads(shell("leaderboard", "--per", "token", "--json"))["per"] == "token"
    assert "--json and --format csv are two forms" in shell("leaderboard", "--format", "csv", "--json", code=2)
    assert "did you mean 'mauve'" in shell("leaderboard", "--sort", "mauv", code=2)


def test_a_key_is_shown_once_and_rows_of_one_seed_each_are_not_ranked(shell: Any) -> None:
    """Twelve runs by trainer, named twice: two rows; by training seed: rows that share no seed, so nothing compares."""
    twice = json.loads(shell("leaderboard", "--group-by", "trainer,trainer.name", "--json"))["tables"][0]
    assert twice["keys"] == ["trainer.name"]
    table = json.loads(shell("leaderboard", "--group-by", "seeds.train,trainer", "--json"))["tables"][0]
    assert {cell["rank"] for row in table["rows"] for cell in row["scores"].values()} == {None}
    assert table["findings"] == []
    assert "rows of one train seed each have none in common that would pair them: no ranks" in table["notes"]
    text = shell("leaderboard", "--group-by", "seeds.train,trainer")
    assert "no intervals: every row is one run, given one base model" in text
    tex = shell("leaderboard", "--group-by", "seeds.train,trainer", "--format", "latex")
    assert "One run a row, given one base model, so no intervals" in tex


def test_compare(shell: Any) -> None:
    (found,) = json.loads(shell("compare", "trainer=mle", "trainer=bc", "--grid", "g", "--json"))
    assert found["scores"][0]["differences"][0]["p"] == 2 / 64
    assert found["settings"] == {"trainer.name": ["mle", "bc"]}
    assert "A: trainer=mle (6 runs)" in shell("compare", "trainer=mle", "trainer=bc", "--metric", "mauve")
    assert "compare two or more" in shell("compare", "trainer=mle", code=2)


def test_overhead(shell: Any, store: Store, tmp_path: Path) -> None:
    assert "no finished run was trained" in shell("overhead", "g", code=2)
    add(store, {}, [mauve(0.5)], seed=9, steps=[Step(5, tokens=10, seconds=1.0, loss=1.0, lr=1e-3, terms={})])
    (found,) = json.loads(shell("overhead", "g", "--json"))
    assert found["rows"][0]["milliseconds"]["mean"] == pytest.approx(200)
    assert "no finished run was trained among those with trainer=bc, so" in shell(
        "overhead", "--filter", "trainer=bc", code=2
    )
    assert "× seconds a token" in shell("overhead", "g")
    assert shell("overhead", "--output", str(tmp_path / "o.txt")) == ""
    assert (tmp_path / "o.txt").read_text().startswith("text\n")


def test_export(shell: Any, tmp_path: Path) -> None:
    assert len(list(csv.DictReader(io.StringIO(shell("export", "g"))))) == 12
    assert len(json.loads(shell("export", "--what", "runs", "--format", "json"))) == 12
    assert shell("export", "--what", "board") == shell("leaderboard", "--format", "csv")
    shell("export", "--output", str(tmp_path / "scores.csv"))
    assert (tmp_path / "scores.csv").read_text() == shell("export")
    assert "unknown grid 'h'" in shell("export", "h", code=2)


def test_validity(shell: Any, tmp_path: Path) -> None:
    (found,) = json.loads(shell("validity", "g", "--target", "mauve", "--json"))
    assert (found["target"]["metric"], found["scores"]) == ("mauve", [])
    assert "12 policies: runs of 2 groups" in shell("validity", "--target", "mauve")
    assert shell("validity", "--target", "mauve", "--format", "md").startswith("### text: mauve@")
    assert shell("validity", "--target", "mauve", "--output", str(tmp_path / "v.txt")) == ""
    assert "12 policies" in (tmp_path / "v.txt").read_text()
    assert "no finished run has such a score" in shell("validity", code=2)
