"""A grid that is changed on the command line is a grid of its own: its tables average over nothing that was changed."""

from __future__ import annotations

import pytest
from shell import TINY, Shell

from harness.storage.store import Store


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "ok.yaml").write_text(TINY.replace("trainer: [mle, bc]", "trainer: [mle]") + "name: ok\n")
    return Shell(tmp_path)


def queued(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `harness run` end once its cells are stored; returns the grid's file."""
    monkeypatch.setattr("harness.runner.grid.supervise", lambda *_: iter(()))
    return str(shell.folder / "ok.yaml")


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (["steps=3"], ["training.steps=60"], {"ok@steps=3", "ok@steps=60"}),
        (["lr=1e-3"], ["lr=3e-3,0.001"], {"ok@lr=0.001", "ok@lr=0.001,0.003"}),
        ([], ["metrics=exact_kl"], {"ok", "ok@metrics=exact_kl"}),
        (["benchmark.length=5"], ["sampling.length=5"], {"ok@benchmark.length=5", "ok@sampling.length=5"}),
        (["temperature=0.7"], ["backspace=true"], {"ok@temperature=0.7", "ok@backspace=true"}),
        (["seeds.train=5"], ["width=16"], {"ok@seeds.train=5", "ok@width=16"}),
    ],
)
def test_what_changes_a_cell_changes_the_name(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, first: list[str], second: list[str], names: set[str]
) -> None:
    """No grid has two configurations beyond those that its own command asked for."""
    grid = queued(shell, monkeypatch)
    shell("run", grid, *first)
    shell("run", grid, *second)
    with Store(f"sqlite:///{shell.folder}/results/runs.db") as store:
        assert set(store.grids()) == names


def test_what_changes_no_cell_keeps_the_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other seeds, and a value that stands in the file already."""
    grid = queued(shell, monkeypatch)
    for more in ([], ["--seeds", "3"], ["steps=2"], ["training.steps=02", "seeds=4"], ["--limit", "1"]):
        shell("run", grid, *more)
    assert shell.json("status", "ok")["cells"] == 4
    with Store(f"sqlite:///{shell.folder}/results/runs.db") as store:
        assert store.grids() == ["ok"]


def test_a_limit_leaves_no_pending_cells(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try-out of 1 of 2 cells stores 1 cell; the whole grid later has both, in its order."""
    grid = queued(shell, monkeypatch)
    shell("run", grid, "--limit", "1")
    assert shell.json("status", "ok")["cells"] == 1
    shell("run", grid)
    with Store(f"sqlite:///{shell.folder}/results/runs.db") as store:
        assert list(store.runs("ok")["seeds.train"]) == [0, 1]


def test_a_name_of_its_own_holds_one_configuration(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = queued(shell, monkeypatch)
    shell("run", grid, "steps=3", "--name", "short")
    shell("run", grid, "steps=3", "--seeds", "3", "--name", "short")
    assert shell.json("status", "short")["cells"] == 3
    assert "other configurations" in shell("run", grid, "steps=4", "--name", "short", code=2).stderr
    assert "a shipped grid has that name" in shell("run", grid, "steps=4", "--name", "demo", code=2).stderr
    assert "no name for a grid" in shell("plan", grid, "--name", "A b", code=2).stderr


def test_a_changed_grid_is_named_in_every_command(shell: Shell) -> None:
    """Two runs of 3 steps and two of 4 share no row, and the name continues what it names."""
    grid = str(shell.folder / "ok.yaml")
    for steps in (3, 4):
        assert f"a grid of its own: ok@steps={steps}" in shell("run", grid, f"steps={steps}").stderr
    name = "ok@steps=4"
    (table,) = shell.json("leaderboard", name, "--group-by", "trainer,backspace")["tables"]
    assert [row["n"] for row in table["rows"]] == [2]
    (both,) = shell.json("leaderboard", "--group-by", "trainer,backspace")["tables"]
    assert [(row["n"], row["group"]["training.steps"]) for row in both["rows"]] == [(2, 3), (2, 4)]
    assert "2 done now" not in shell("run", name).stdout
    assert "\n2 cells: 2 done" in shell("plan", name).stdout
    assert shell.json("status", name)["done"] == 2
    assert len(shell("export", name, "--what", "runs").stdout.splitlines()) == 3
    assert "A: training.steps" not in shell("compare", "seeds.train=0", "seeds.train=1", "--grid", name).stdout
    assert shell.json("plan", "demo@steps=5")["cells"] == shell.json("plan", "demo", "steps=5")["cells"]


def test_a_grid_is_removed_after_a_question_or_with_yes(shell: Shell) -> None:
    """Counts first; nothing goes where there is no terminal to ask and no --yes."""
    grid = str(shell.folder / "ok.yaml")
    shell("run", grid)
    shell("run", grid, "steps=3")
    asked = shell("rm", "ok@steps=3", code=2)
    assert "2 cells, 2 runs, 2 trained policies, " in asked.stdout
    assert "add --yes" in asked.stderr
    assert shell.json("status", "ok@steps=3")["done"] == 2
    assert shell("rm", "ok@steps=3", "--yes").stdout.endswith("removed\n")
    with Store(f"sqlite:///{shell.folder}/results/runs.db") as store:
        assert store.grids() == ["ok"]
        assert len(list((store.folder / "policies").iterdir())) == 2
        run_id = store.runs()["run_id"][0]
    assert "is no stored grid" in shell("rm", "nosuch", "--yes", code=2).stderr
    assert "1 cells, 1 runs" in shell("rm", run_id[:10], "--yes").stdout
    assert shell("run", grid).stdout.startswith("2 cells: 1 done now, 1 done before")
