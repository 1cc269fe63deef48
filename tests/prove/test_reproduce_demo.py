"""Twenty cells of the demo, drawn at random, shortened, trained a second time: identical."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.runner.grid import run_grid
from harness.runner.options import RunnerOptions
from harness.runs.reproduce import reproduce
from harness.storage.store import Store

pytestmark = pytest.mark.prove("cells of the demo trained again: identical", cases=20, seconds=825)
SHORT = ["training.steps=20", "base_steps=20", "sampling.rollouts=32"]


def test_twenty_cells_of_the_demo_are_identical(tmp_path: Path) -> None:
    """The demo's 24 cells with 20 steps each and a base of 20."""
    cells = [cell for cell in check(load_grid("demo", SHORT)) if not cell.is_control]
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        list(run_grid(cells, store, grid_name="demo", options=RunnerOptions(workers=2, threads=2)))
        ids = list(store.runs(status="done")["run_id"])
        assert len(ids) == len(cells) == 24
        words = []
        for run_id in random.Random(0).sample(ids, 20):
            steps = reproduce(store, run_id, RunnerOptions())
            try:
                while True:
                    next(steps)
            except StopIteration as stop:
                words.append(stop.value.sentence)
        assert words == ["identical"] * 20
        assert list(store.reproductions()["verdict"]) == ["identical"] * 20
