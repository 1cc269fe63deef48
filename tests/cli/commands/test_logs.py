"""Failures of plug-ins: the traceback is shown once, with its file and line, kept, and printed by `harness logs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import TINY
from stored import ME, running
from typer.testing import CliRunner

from harness.cli.app import app
from harness.storage.store import Store

PLUGIN = """
import ctypes, sys
from dataclasses import dataclass
from harness.errors import ConfigError
from harness.plugins import Loss, Needs
from harness.registry import TRAINERS


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


@TRAINERS.register("broken")
@dataclass(frozen=True)
class Broken:
    \"\"\"Maximum likelihood that fails at its first step, in one of several ways.\"\"\"

    how: str = "raises"
    needs = Needs()

    def loss(self, evaluate, expert, rollouts, moment):
        print("a word before the end")
        if self.how == "raises":
            1 / 0  # raises
        if self.how == "misses a file":
            open("/no/such/file")  # misses a file
        if self.how == "exits":
            sys.exit("enough")  # exits
        if self.how == "is foreseen":
            raise ConfigError("how=is foreseen: choose another") from KeyError("deep")  # is foreseen
        if self.how == "is mute":
            raise Mute  # is mute
        if self.how == "crashes":
            ctypes.string_at(0)  # crashes
        return Loss(-(evaluate(expert).log_prob * expert.weight).sum(-1).mean())
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "broken.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    grid = (
        TINY.replace("[mle, bc]", "[broken]").replace("base_steps: 2", "base_steps: 0").replace("seeds: 2", "seeds: 1")
    )
    (tmp_path / "broken.yaml").write_text(grid)

    def call(*args: str, code: int = 0) -> Any:
        environment = {"HARNESS_STORE": f"sqlite:///{tmp_path}/runs.db", "COLUMNS": "120"}
        result = CliRunner(env=environment).invoke(app, list(args))
        assert result.exit_code == code, result.output
        return result

    return call


def line_of(how: str) -> int:
    """Number of the line of the plug-in that fails so."""
    return next(n for n, line in enumerate(PLUGIN.split("\n"), start=1) if line.endswith(f"# {how}"))


@pytest.mark.parametrize(
    ("how", "attempts", "shown", "kept"),
    [
        ("raises", 1, True, "ZeroDivisionError: division by zero"),
        ("misses a file", 1, True, "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
        ("exits", 1, True, "SystemExit: enough"),
        ("is mute", 1, True, "Mute: <its message cannot be shown>"),
        ("crashes", 3, True, "signal 11 (Segmentation fault)"),
        ("is foreseen", 1, False, "how=is foreseen: choose another"),  # one sentence, as errors of the harness are
    ],
)
def test_a_failure_of_a_plug_in_leads_to_its_line(
    shell: Any, tmp_path: Path, plugin: Path, how: str, attempts: int, shown: bool, kept: str
) -> None:
    """Two cells fail alike; a crash is tried three times.  The line stands once in what `run` prints."""
    grid = tmp_path / "broken.yaml"
    options = ["--include", str(plugin), "--seeds", "2", "--keep-going", "--threads", "1"]
    told = shell("run", str(grid), f"trainer.how={how}", *options, code=1).stderr
    place = f'File "{plugin}", line {line_of(how)}'
    assert told.count(place) == shown
    assert kept in told
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        run_ids = list(store.runs()["run_id"])
    assert len(run_ids) == 2
    for run_id in run_ids:
        printed = shell("logs", run_id[:10]).stdout
        assert printed.count(f"\nattempt {attempts}: ") + printed.startswith("attempt 1: ") == 1 + (attempts > 1)
        assert printed.count(place) == attempts
        assert printed.count("a word before the end") == attempts
    found = json.loads(shell("logs", run_ids[0], "--json").stdout)
    assert [one["attempt"] for one in found] == list(range(1, attempts + 1))
    assert place in found[-1]["error"] + found[-1]["output"]


@pytest.mark.parametrize(("text", "line"), [("x = 1\n\ny = x.z\n", 3), ("def f():\n    return 1 / 0\n\nf()\n", 2)])
def test_a_plug_in_file_that_fails_while_it_is_read_is_named_with_its_line(
    shell: Any, tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / "bad.py").write_text(text)
    told = shell("ls", "trainers", "--include", str(tmp_path / "bad.py"), code=2).stderr
    assert f"--include {tmp_path / 'bad.py'}, line {line}: " in told


def test_logs_of_runs_in_every_state(shell: Any, tmp_path: Path) -> None:
    """A run that was never started, one that runs, one that is free again; nothing printed can drive a terminal."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        run_id = running(store)
        assert "attempt 1: running" in shell("logs", run_id).stdout
        store.fail(run_id, ME, "it \x1b[2J failed", output="a\tb\n\x1b[31mred", again=True)
        free = running(store, 1)
        store.release(free, ME)
    told = shell("logs", run_id).stdout
    assert "attempt 1: failed" in told
    assert "it ␛[2J failed" in told
    assert "    ␛[31mred" in told
    assert "attempt 1: released" in shell("logs", free).stdout
    assert "no run id begins with 'zz'" in shell("logs", "zz", code=2).stderr
