"""The command line: what it loads, what it prints, its exit codes, and a small grid that is interrupted and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shell import TINY, Shell

from harness.cli.arguments import checked_cells, load_grid_argument
from harness.storage.store import Store

INTERRUPTING = """
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from harness.plugins import Loss, Needs
from harness.registry import TRAINERS


@TRAINERS.register("interrupted")
@dataclass(frozen=True)
class Interrupted:
    \"\"\"Maximum likelihood, during which somebody presses Ctrl-C; the flag says in which process.\"\"\"

    flag: str
    needs = Needs()

    def loss(self, evaluate, expert, rollouts, moment):
        if moment.progress > 0 and Path(self.flag).exists():
            pid = int(Path(self.flag).read_text())
            Path(self.flag).unlink()
            os.kill(pid, signal.SIGINT)
        return Loss(-(evaluate(expert).log_prob * expert.weight).sum(-1).mean(), {})
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return Shell(tmp_path)


@pytest.mark.parametrize("args", [["--help"], ["ls", "trainers"], ["ls", "metrics", "--json"], ["ls", "grids"]])
def test_help_and_lists_load_nothing_heavy(args: list[str]) -> None:
    """In a fresh process; the same process would notice, because it prints what it loaded."""
    program = (
        "import sys\nfrom harness.cli.app import app\n"
        f"try:\n    app({args!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print('LOADED', sorted(loaded & {'torch', 'transformers', 'sqlalchemy', 'pandas', 'scipy', 'mauve'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stdout


@pytest.mark.parametrize("args", [["plan", "demo"], ["info", "sequence_match"], ["info", "chi2_mixture"]])
def test_planning_loads_no_torch(args: list[str]) -> None:
    """Planning makes every trainer and divergence of a grid, whose tensors are types only until a loss is computed."""
    program = (
        "import sys\nfrom harness.cli.app import app\n"
        f"try:\n    app({args!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('LOADED', sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stdout


def test_lists_name_what_is_registered(shell: Shell) -> None:
    names = {row["name"] for row in shell.json("ls", "trainers")}
    assert {"bc", "mle", "sequence_match", "td_mle"} <= names
    assert "chi2_mixture" in shell("ls", "divergences").stdout.split()
    assert {"name": "language"} in shell.json("ls", "benchmarks")
    shell("ls", "trainer", code=2)


def test_info_says_what_options_there_are(shell: Shell) -> None:
    (found,) = shell.json("info", "sequence_match")
    alpha = next(option for option in found["options"] if option["name"] == "alpha")
    assert (found["kind"], alpha["type"], alpha["default"]) == ("trainer", "float", 0.01)
    assert alpha["description"]
    assert Path(found["source"]).name == "sequence_match.py"
    text = shell("info", "sequence_match").stdout
    assert "alpha: float = 0.01" in text
    assert alpha["description"] in text
    (metric,) = shell.json("info", "exact_kl")
    assert metric["measures"]["exact_kl"]["direction"] == "lower"
    (divergence,) = shell.json("info", "js")
    assert divergence["kind"] == "divergence"
    assert divergence["values"]["flat"] == "inf"
    assert "did you mean 'mauve'?" in shell("info", "mauv", code=2).stderr


def test_every_registered_name_has_an_info(shell: Shell) -> None:
    for kind in ("trainers", "divergences", "metrics", "benchmarks", "grids"):
        for row in shell.json("ls", kind):
            assert any(found["kind"] == kind[:-1] for found in shell.json("info", row["name"]))


def test_a_plug_in_file_is_read(shell: Shell) -> None:
    path = shell.folder / "mine.py"
    path.write_text(INTERRUPTING.replace('"interrupted"', '"mine"'))
    assert {"name": "mine"} in json.loads(shell("ls", "trainers", "--include", str(path), "--json").stdout)
    assert "presses Ctrl-C" in shell("info", "mine", "--include", str(path)).stdout


def test_a_grid_from_plan_to_leaderboard(shell: Shell) -> None:
    """2 trainers x 2 seeds; the first run takes 3 of the 4 cells, the second what is left."""
    grid = str(shell.folder / "tiny.yaml")
    why = "no run has finished in this store; `harness run` with --limit 1 computes the first one"
    row = {"cells": 2, "done": 0, "failed": 0, "running": 0, "pending": 2, "seconds": None}
    assert shell.json("plan", grid) == {
        "cells": 4, "done": 0, "failed": 0, "running": 0, "pending": 4, "seconds": None, "unknown": 4, "controls": 0,
        "finished": 0, "reason": why,
        "rows": [row | {"name": "language mle"}, row | {"name": "language bc"}],
    }  # fmt: skip
    assert shell("plan", grid).stdout.splitlines() == [
        "cells  done  pending  time left  row",
        "    2     0        2          ?  language mle",
        "    2     0        2          ?  language bc",
        "4 cells: 0 done, 0 failed, 0 running, 4 pending",
        f"estimated time: not known yet: {why}",
    ]
    assert shell.json("status", grid) == {"cells": 4, "done": 0, "failed": 0, "running": 0, "pending": 4, "controls": 0}
    assert not (shell.folder / "results").exists(), "planning and asking leave nothing behind"
    assert "nothing is stored there yet" in shell("ls", "runs", code=3).stderr

    first = shell("run", grid, "--limit", "0.75")
    assert first.stdout.startswith("3 cells: 3 done now, 0 ")
    assert "cell 1/3" in first.stderr
    second = shell("run", grid, "--fail_fast", "--device", "cpu")
    assert second.stdout.startswith("4 cells: 1 done now, 3 ")
    assert second.stderr.count("train") == 1, "finished cells are not repeated"

    assert shell.json("status", "tiny") == {
        "cells": 4,
        "done": 4,
        "failed": 0,
        "running": 0,
        "pending": 0,
        "controls": 0,
    }
    assert shell.json("status") == {"tiny": shell.json("status", grid)}
    assert "tiny: 4 cells, 4 done" in shell("status").stdout
    planned = shell.json("plan", grid, "--seeds", "3")
    assert (planned["done"], planned["pending"], planned["unknown"]) == (4, 2, 0)
    assert planned["seconds"] > 0
    assert [row["pending"] for row in planned["rows"]] == [1, 1]
    listed = shell("plan", grid, "trainer=mle,td_mle", "--seeds", "2").stdout
    assert "    2     2        0          -  language mle\n" in listed
    assert "none of the 4 finished runs here has the benchmark" in listed
    printed = [line.split(maxsplit=2)[2] for line in shell("ls", "runs").stdout.splitlines()]
    assert sorted(printed) == [f"language {trainer} seed {seed}" for trainer in ("bc", "mle") for seed in (0, 1)]
    assert "language bc seed 0  done  (2 of 3 cells, about 0:00:0" in first.stderr
    assert [row["status"] for row in shell.json("ls", "runs")] == ["done"] * 4

    (table,) = shell.json("leaderboard", "tiny")["tables"]
    assert [row["n"] for row in table["rows"]] == [2, 2]
    chosen = ["leaderboard", grid, "--group_by", "trainer", "--metric", "exact_kl", "--filter", "trainer=bc"]
    (table,) = shell.json(*chosen)["tables"]
    assert [row["group"] for row in table["rows"]] == [{"trainer.name": "bc"}]
    assert "exact_kl" in shell(*chosen).stdout
    assert shell(*chosen, "--format", "json").stdout == shell(*chosen, "--json").stdout
    assert "did you mean 'tiny'?" in shell("leaderboard", "tny", code=2).stderr


def test_a_failed_cell_is_told_and_tried_again(shell: Shell) -> None:
    """A learning rate that makes the loss no number: exit code 1; with --fail-fast one of 2 cells is tried."""
    grid = shell.folder / "broken.yaml"
    grid.write_text(TINY + "name: broken\n")
    command = ("run", str(grid), "lr=1e30", "clip=1e30", "--seeds", "1", "--name", "diverged")
    failed = shell(*command, "--fail-fast", code=1)
    assert "the loss is" in failed.stderr
    assert shell.json("status", "diverged") == {
        "cells": 2,
        "done": 0,
        "failed": 1,
        "running": 0,
        "pending": 1,
        "controls": 0,
    }
    again = shell(*command, code=1)
    assert again.stdout.startswith("2 cells: 0 done now, 0 ")
    assert "2 failed" in again.stdout
    assert "tries failed cells again" in again.stderr


def test_ctrl_c_gives_the_cell_back_and_the_same_command_goes_on(shell: Shell) -> None:
    """Interrupted in its second of 2 cells and continued, a grid ends in the same scores as one left alone."""
    plugin, flag, grid = shell.folder / "plugin.py", shell.folder / "flag", shell.folder / "tiny.yaml"
    plugin.write_text(INTERRUPTING)
    flag.write_text(str(os.getpid()))
    trainers = f"  trainer: [mle, {{name: interrupted, flag: {flag}}}]"
    long = TINY.replace("{steps: 2,", "{steps: 400,").replace("seeds: 2", "seeds: 1")
    grid.write_text(long.replace("  trainer: [mle, bc]", trainers))
    command = ("run", str(grid), "--include", str(plugin))

    stopped = shell(*command, code=130)
    assert "interrupted; the same command goes on" in stopped.stderr
    assert shell.json("status", "tiny") == {
        "cells": 2,
        "done": 1,
        "failed": 0,
        "running": 0,
        "pending": 1,
        "controls": 0,
    }
    assert shell(*command).stdout.startswith("2 cells: 1 done now, 1 ")
    alone = Shell(shell.folder / "alone")
    alone(*command)
    assert shell.json("leaderboard", "tiny") == alone.json("leaderboard", "tiny")


def test_a_store_that_is_none_is_an_environment_problem(shell: Shell) -> None:
    (shell.folder / "notes.db").write_text("this is not a database, but it is long enough to be looked at" * 30)
    for url, hint in (
        (f"sqlite:///{shell.folder}/notes.db", "not a SQLite file"),
        (f"sqlite:///{shell.folder}", "folder"),
        ("mysql://somewhere", "sqlite:///"),
    ):
        assert hint in shell("status", code=3, store=url).stderr
        assert hint in shell("leaderboard", "--store", url, code=3).stderr


def test_env_names_versions_and_store(shell: Shell) -> None:
    found = shell.json("env")
    assert found["store"] == shell.environment["HARNESS_STORE"]
    assert found["packages"]["torch"]
    assert found["threads"] >= 1
    assert "python: " in shell("env").stdout


def test_usage_errors_exit_with_2(shell: Shell) -> None:
    for args in (["lst"], ["plan"], ["run", "x", "--device", "tpu"], ["plan", "x", "--seeds", "many"], ["ls", "x"]):
        shell(*args, code=2)


def test_a_worker_that_is_terminated_gives_its_cell_back_and_exits_with_75(shell: Shell) -> None:
    """SIGTERM to its whole group, as batch systems send it, in its first cell; a second worker goes on from the
    checkpoint and ends when nothing is left."""
    grid = shell.folder / "tiny.yaml"
    grid.write_text(TINY.replace("{steps: 2,", "{steps: 900,").replace("seeds: 2", "seeds: 1"))
    with Store(shell.environment["HARNESS_STORE"]) as store:
        store.enqueue("tiny", checked_cells(load_grid_argument(str(grid), ["trainer=mle"])))
        command = [sys.executable, "-c", "from harness.cli.app import main; main()", "worker", "--grid", "tiny"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, **shell.environment}
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, env=environment, start_new_session=True, **pipes
        )
        while not (store.runs(status="running")["step"] > 0).any():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 75, err
        (run_id,) = store.runs(status="pending")["run_id"]
        (saved,) = store.checkpoints(run_id)
        assert 0 < saved.step < 900
        again = shell("worker", "--until-empty", "--grid", "tiny")
        assert again.stdout.endswith("1 done, 0 failed\n")
        assert f"goes on from step {saved.step}" in again.stderr
        assert store.counts()["done"] == 1


def test_a_worker_that_fails_every_cell_stops_after_three(shell: Shell) -> None:
    """As its --help says, when neither --keep-going nor --fail-fast is given: the fourth cell stays free."""
    with Store(shell.environment["HARNESS_STORE"]) as store:
        grid = load_grid_argument(str(shell.folder / "tiny.yaml"), ["trainer=mle", "lr=1e30", "clip=1e30"], 4)
        store.enqueue("tiny", checked_cells(grid))
        assert "the first 3 cells failed alike" in shell("worker", "--until-empty", "--grace", "5", code=1).stderr
        assert [store.counts()[status] for status in ("failed", "pending")] == [3, 1]


def test_failed_runs_are_made_free_again(shell: Shell) -> None:
    grid = str(shell.folder / "tiny.yaml")
    shell("run", grid, "lr=1e30", "clip=1e30", "--seeds", "1", "--name", "diverged", code=1)
    failed = [row["run_id"] for row in shell.json("ls", "runs")]
    assert "say which runs" in shell("retry", code=2).stderr
    assert shell("retry", failed[0]).stdout.startswith("1 runs are free again")
    assert f"run {failed[0]} is pending" in shell("retry", failed[0], code=2).stderr
    assert shell("retry", "--failed", "--grid", "diverged").stdout.startswith("1 runs")
    assert shell.json("status", "diverged")["pending"] == 2


def test_status_is_watched_until_all_is_done(shell: Shell) -> None:
    shell("run", str(shell.folder / "tiny.yaml"), "--seeds", "1", "--workers", "2")
    assert "tiny" in shell("status", "--watch").stdout
