"""Kills and freezes of any process at any time: no cell is lost, none done twice, and every number is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("chaos.py")


def under_fire(folder: Path, *arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(PROGRAM), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(report, done.stderr)
    return report


def unharmed(report: dict[str, Any], cells: int, kills: int, freezes: int) -> None:
    """All planned kills and freezes happened, and the store is the same as without them."""
    done_to = report["done_to"]
    assert report["unused"] == [], "every failpoint was reached"
    assert done_to["worker"] + done_to["supervisor"] + done_to["failpoint"] >= kills
    assert done_to["frozen"] == freezes
    assert report["cells"] == {"cells": cells, "done": cells, "failed": 0, "running": 0, "pending": 0}
    assert report["finished"] == [1] * cells, "each cell was finished by one attempt"
    assert report["same"], "the store's content differs from the uninterrupted grid's"
    assert report["errors"] == [], "a supervisor ended by itself"
    assert report["leftovers"] == []
    assert report["checkpoints"] == []
    assert report["resumed"] > kills / 4, "hardly anything went on from a checkpoint: too easy"


def test_forty_kills_and_four_freezes_change_nothing(tmp_path: Path) -> None:
    """48 cells of 120 steps, 4 supervisors with a worker each; each of the 7 failpoints is among the kills twice.

    A few more are planned than wanted: the grid may end before the last moment that was drawn.
    """
    unharmed(under_fire(tmp_path / "fire", "--kills", "44"), 48, 40, 4)


@pytest.mark.prove("a grid under kills and freezes", cases=220, seconds=110, alone=True)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_hundred_kills_and_twenty_freezes_change_nothing(tmp_path: Path, seed: int) -> None:
    arguments = ("--kills", "210", "--freezes", "20", "--seed", str(seed))
    unharmed(under_fire(tmp_path / "fire", *arguments), 48, 200, 20)
