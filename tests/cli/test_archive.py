"""Every command on archived grids and runs: left out of what lists and compares, refused by name with what to type."""

from __future__ import annotations

import pytest
from shell import TINY, Shell
from stored import add

from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.storage.store import Store


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """ok: two finished seeds of mle; other: the first of them, and one of its own that is pending; nothing computes."""
    monkeypatch.setattr("harness.runner.grid.supervise", lambda *_: iter(()))
    grid = tmp_path / "ok.yaml"
    grid.write_text(TINY.replace("trainer: [mle, bc]", "trainer: [mle]") + "name: ok\n")
    (tmp_path / "results").mkdir()
    with Store(f"sqlite:///{tmp_path}/results/runs.db") as store:
        first, second = check(load_grid(str(grid)))
        for cell in (first, second):
            add(store, cell, "ok")
        changed = first.model_copy(update={"seeds": first.seeds.model_copy(update={"train": 7})})
        store.enqueue("other", [first, changed])
    return Shell(tmp_path)


NONE = {"cells": 0, "done": 0, "failed": 0, "running": 0, "pending": 0, "controls": 0}


def run_ids(shell: Shell, *more: str) -> list[str]:
    return [row["run_id"] for row in shell.json("ls", "runs", *more)]


def test_an_archived_grid_is_refused_by_name_and_left_out_elsewhere(shell: Shell) -> None:
    """Of ok's two runs the first stays, which other has, too; whatever names ok says what brings it back."""
    grid = str(shell.folder / "ok.yaml")
    first, second, third = run_ids(shell)
    said = shell("archive", "ok").stdout
    assert "archived ok: 1 runs are left out from now on; 1 runs stay, which other grids have\n" in said
    assert "restore ok` brings them back" in said
    for command in (
        *(["plan", "ok"], ["run", "ok"], ["plan", grid], ["run", grid], ["status", "ok"], ["status", grid]),
        *(["leaderboard", "ok"], ["compare", "seeds.train=0", "seeds.train=1", "--grid", "ok"], ["export", "ok"]),
        *(["validity", "ok"], ["overhead", "ok"], ["worker", "--grid", "ok", "--until-empty"], ["rm", "ok", "--yes"]),
        *(["rescore", "ok", "--metrics", "length"], ["retry", "--failed", "--grid", "ok"]),
    ):
        assert "ok is archived" in (error := shell(*command, code=2).stderr), command
        assert "harness restore ok" in error, command
    for command in (["logs"], ["samples"], ["replay"], ["rm", "--yes"], ["archive"]):
        assert f"run {second} is archived with grid ok; `harness restore ok`" in shell(*command, second, code=2).stderr
    assert list(shell.json("status")) == ["other"]
    assert run_ids(shell) == [first, third]
    assert run_ids(shell, "--archived") == [second]
    assert shell("ls", "grids", "--archived").stdout == "ok\n"
    (table,) = shell.json("leaderboard")["tables"]
    assert [row["n"] for row in table["rows"]] == [1]
    assert len(shell("export").stdout.splitlines()) == len(shell("export", "other").stdout.splitlines())
    assert "2 cells: 1 done, 0 failed, 0 running, 1 pending" in shell("plan", "other").stdout
    assert shell("archive", "ok").stdout == "ok is archived already\n"
    assert "restored ok: 1 runs are shown again" in shell("restore", "ok").stdout
    assert run_ids(shell) == [first, second, third]
    assert "2 cells: 2 done" in shell("plan", grid).stdout


def test_an_archived_run_stays_away_from_a_grid_that_runs_again(shell: Shell) -> None:
    """A run that was put away, such as one that went wrong, does not come back with more seeds."""
    grid = str(shell.folder / "ok.yaml")
    first, _, third = run_ids(shell)
    shell("archive", first[:8], third)
    planned = shell("plan", grid)
    assert f"note: 1 of 2 cells are archived and left out; `harness restore {first}`" in planned.stderr
    assert "1 cells: 1 done" in planned.stdout
    again = shell("run", grid, "--seeds", "3")
    assert "1 of 3 cells are archived" in again.stderr
    assert again.stdout.startswith("2 cells: 0 done now, 1 done before")
    assert shell.json("status", "ok") == {**NONE, "cells": 2, "done": 1, "pending": 1}
    assert (
        f"all 2 cells of other are archived; `harness restore {first} {third}`" in shell("run", "other", code=2).stderr
    )
    assert f"{first} is archived already" in shell("archive", first[:8]).stdout
    shell("restore", first, third)
    assert shell.json("status", "ok") == {**NONE, "cells": 3, "done": 2, "pending": 1}


def test_a_grid_of_a_file_finds_what_an_archived_one_has_done(shell: Shell) -> None:
    """The same cells under another name are done: no number is computed twice."""
    (shell.folder / "again.yaml").write_text((shell.folder / "ok.yaml").read_text().replace("name: ok", "name: again"))
    shell("archive", "ok", "other")
    grid = str(shell.folder / "again.yaml")
    assert "2 cells: 2 done" in shell("plan", grid).stdout
    assert shell("run", grid).stdout == "2 cells: 0 done now, 2 done before, 0 failed\n"
    assert shell.json("status", "again") == {**NONE, "cells": 2, "done": 2}
    assert list(shell.json("status")) == ["again"]


def test_wrong_names_are_refused_before_anything_changes(shell: Shell) -> None:
    assert "(did you mean 'other'?)" in shell("archive", "ok", "othr", code=2).stderr
    assert shell("ls", "grids", "--archived").stdout == "no grids are archived\n"
    assert shell("restore", "ok").stdout == "ok is not archived; nothing here is archived\n"
    shell("archive", "ok")
    assert (
        "nothing of that name is stored; of what is archived: did you mean 'ok'?"
        in shell("restore", "okk", code=2).stderr
    )
    assert shell("restore", "", code=2).stderr.count("nothing of that name is stored") == 1
    assert shell("restore", "other").stdout == "other is not archived; of what is archived: known: ok\n"
    assert "grids and runs can be archived" in shell("ls", "metrics", "--archived", code=2).stderr
