"""`status --watch` while workers compute a grid."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from stored import ME, RESULTS, running, step

from harness.cli.watch import watch
from harness.storage.store import Store


def test_it_shows_running_cells_and_ends_when_all_is_done(tmp_path: Path) -> None:
    """Two looks: at step 7 of 400, and after the cell was finished between them."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        run_id = running(store)
        store.log(run_id, ME, [step(7)])
        out, slept = io.StringIO(), []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            store.finish(run_id, ME, **RESULTS)

        console = Console(file=out, width=120)
        watch(lambda: {"g": store.counts("g")}, lambda: Store.open(store.url, read_only=True), console, sleep)
    assert slept == [2.0]
    assert "1" in out.getvalue()
    assert "g" in out.getvalue()


def test_before_the_first_cell_it_waits_for_one() -> None:
    """Two looks at nothing, then one at a grid that is done."""
    looks = [{}, {}, {"g": {"cells": 1, "done": 1, "failed": 0, "running": 0, "pending": 0}}]
    slept: list[float] = []
    watch(lambda: looks[len(slept)], lambda: None, Console(file=io.StringIO()), slept.append)
    assert slept == [2.0, 2.0]
