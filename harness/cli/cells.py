"""Run the cells of a grid and print how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from harness.cli.signals import stop_on_signals

if TYPE_CHECKING:
    from harness.cli.progress import Tally
    from harness.config.run import RunConfig
    from harness.runner.options import RunnerOptions


def run_cells(
    name: str,
    cells: Sequence[RunConfig],
    url: str,
    options: RunnerOptions,
    limit: str | None = None,
    *,
    alone: bool = False,
) -> Tally:
    """Run the cells of a grid that are not done and print how they ended; with `alone` the grid has no others.

    Raises:
        KeyboardInterrupt: a signal asked to stop; the cells at hand are saved.
    """
    from rich.console import Console

    from harness.cli.progress import follow
    from harness.grids.grid import first
    from harness.grids.plan import earlier_models
    from harness.runner.grid import run_grid
    from harness.storage.store import Store

    if "@" in name:
        typer.echo(f"note: changed on the command line, this is a grid of its own: {name}", err=True)
    with Store(url) as store, stop_on_signals() as stopping:
        cells = cells if limit is None else first(cells, limit)
        store.enqueue(name, cells, alone=alone)  # what --limit leaves out is no cell yet: it would stay pending
        if any(cell.model.revision for cell in cells):
            for sentence in earlier_models(cells, store.runs().to_dict("records")):
                typer.echo(sentence, err=True)
        tally = follow(run_grid(cells, store, grid_name=name, options=options, stopping=stopping), Console(stderr=True))
    typer.echo(f"{tally.cells} cells: {tally.done} done now, {tally.skipped} done before, {tally.failed} failed")
    if stopping():
        raise KeyboardInterrupt
    for run_id, message in tally.failures:
        typer.echo(f"failed: {run_id}: {message}", err=True)
    if tally.failed:
        typer.echo(
            "the same command tries failed cells again; `harness logs RUN_ID` prints all that is kept of one", err=True
        )
    return tally
