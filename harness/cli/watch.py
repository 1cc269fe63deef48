"""A display of a store's grids that is renewed while workers compute: counts by status, progress of running cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console, Group
from rich.live import Live

from harness.config.names import run_names
from harness.report.fitting import FittedTable
from harness.storage.store import Store

SECONDS = 2.0  # between two readings


def watch(
    counts: Callable[[], Mapping[str, Mapping[str, int]]],
    opened: Callable[[], Store | None],
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show `counts()` and the running cells of `opened()` until there are cells and none is pending or running.

    Every reading is a transaction of its own, so that no long read keeps the database from cleaning up.
    """
    with Live(console=console or Console(), auto_refresh=False) as live:
        while True:
            found = counts()
            live.update(Group(*tables(found, opened())), refresh=True)
            if found and not any(one["pending"] + one["running"] for one in found.values()):
                return
            sleep(SECONDS)


def tables(counts: Mapping[str, Mapping[str, int]], store: Store | None) -> list[FittedTable]:
    """One table of grids, and one of the running cells where there are any; a narrow screen has its first columns."""
    keys = ("cells", "done", "failed", "running", "pending")
    rows = [[name, *(str(row[key]) for key in keys)] for name, row in counts.items()]
    grids = FittedTable("", ["grid", *keys], rows, edges=False)
    if store is None:
        return [grids]
    with store:
        runs = store.runs(status="running")
        labels = {run_id: store.config(run_id) for run_id in runs["run_id"]}
        names = run_names(labels.values())
    cells = []
    for run in runs.to_dict("records"):
        config = labels[run["run_id"]]
        budget = "" if config.training.steps is None else str(config.training.steps)
        step, owner = "" if run["step"] is None else str(run["step"]), str(run["owner"]).partition("#")[0]
        cells.append([names[config.run_id], run["run_id"], step, budget, str(run["attempts"]), owner])
    head = ("cell", "run", "step", "of", "attempt", "held by")
    running = FittedTable("", head, cells, every=False, edges=False, more="a wider screen shows them")
    return [grids, running] if labels else [grids]
