"""A worker process that cannot be started, and the server that worker processes are forked from."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.errors import EnvironmentProblem
from harness.runner.options import RunnerOptions
from harness.runner.worker import server
from harness.runner.worker_process import WorkerProcess


def test_without_a_process_three_times_in_a_row_it_gives_up_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two failed starts, then room: the count begins anew; three in a row are the machine's fault."""
    worker = WorkerProcess(RunnerOptions(threads=1), server())
    try:
        for end in (True, False):
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
            assert [worker.start(), worker.start()] == [False, False]
            if end:
                monkeypatch.setattr(tempfile, "tempdir", None)
                assert worker.start()
                worker.close()
        with pytest.raises(EnvironmentProblem, match=r"3 times in a row: .*gone/harness-output.*make room in"):
            worker.start()
    finally:
        worker.close()


def test_the_fork_server_survives_a_broken_plug_in_and_sigterm(tmp_path: Path) -> None:
    """A trainer is installed whose module is missing; then SIGTERM comes, as to all processes of a group."""
    package = tmp_path / "broken-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[sequencematch_harness.trainers]\nbroken = no_such_module:Broken\n")
    program = (
        "import os, signal, harness.runner.preload\n"
        "from harness.registry import TRAINERS\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('broken' in TRAINERS)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
