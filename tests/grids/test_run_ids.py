"""Shipped grids are the runs that they were: stored results are found again by whatever version reads the grid.

`run_ids.json` was written by revision c0548de.  A run id hashes a configuration with all its defaults, so a renamed
option, a changed default or another way of hashing shows here before it orphans anybody's results.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.grids.controls import controls
from harness.grids.grid import grid_names, load_grid

RECORDED: dict[str, list[str]] = json.loads(Path(__file__).with_name("run_ids.json").read_text())


@pytest.mark.parametrize("name", RECORDED)
def test_a_shipped_grid_has_the_recorded_run_ids(name: str) -> None:
    """In their order: the grid's own cells, then its controls."""
    grid = load_grid(name)
    cells = grid.expand()
    found = [*cells, *(controls(cells) if grid.controls else [])]
    assert [cell.run_id for cell in found] == RECORDED[name]


def test_every_recorded_grid_is_shipped() -> None:
    """1,414 cells and their controls, 1,713 in all."""
    assert set(RECORDED) <= set(grid_names())
    assert sum(map(len, RECORDED.values())) == 1713
