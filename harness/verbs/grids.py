"""Verbs that plan and run grids."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from harness.verbs.arguments import (
    DEFAULT_STORE,
    Device,
    GridName,
    Include,
    Json,
    KeepGoing,
    Limit,
    Overrides,
    SeedCount,
    SomeGrid,
    StoreUrl,
    Threads,
    as_json_text,
    checked_cells,
    include_files,
    open_store,
    store_exists,
    stored_grid_name,
    the_grid,
)
from harness.verbs.boards import print_leaderboard

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.progress import Tally


def demo(store: StoreUrl = DEFAULT_STORE, seeds: SeedCount = None, device: Device = "auto") -> None:
    """Run the small real ablation that ships with the harness, and print its leaderboard."""
    # its models are too small to share between threads, which only wait for each other on a busy machine
    tally = _run_cells("demo", checked_cells(the_grid("demo", seeds=seeds)), store, device, threads=1)
    print_leaderboard(open_store(store), "demo")
    typer.echo("\nNext: harness ls grids  |  harness info sequence_match  |  harness run GRID.yaml")
    raise typer.Exit(1 if tally.failed else 0)


def plan(
    grid: GridName,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: SeedCount = None,
    limit: Limit = None,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Check a grid and say what running it would do; nothing is run."""
    from harness.plan import plan as planned

    include_files(include)
    cells = checked_cells(the_grid(grid, overrides, seeds), limit)
    found = planned(cells, open_store(store).runs().to_dict("records") if store_exists(store) else [])
    if as_json:
        typer.echo(as_json_text(dataclasses.asdict(found)))
        return
    counts = f"{found.done} done, {found.failed} failed, {found.running} running, {found.pending} pending"
    time = "unknown" if found.seconds is None else str(timedelta(seconds=round(found.seconds)))
    if found.seconds is not None and found.unknown:
        time = f"at least {time} ({found.unknown} cells unlike any finished run)"
    controls = f" ({found.controls} of them controls)" if found.controls else ""
    typer.echo(f"{found.cells} cells{controls}: {counts}\nestimated time: {time}")


def run(
    grid: GridName,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: SeedCount = None,
    limit: Limit = None,
    device: Device = "auto",
    threads: Threads = None,
    keep_going: KeepGoing = True,
    include: Include = None,
) -> None:
    """Run a grid's unfinished cells; the same command again continues where it stopped."""
    include_files(include)
    asked = the_grid(grid, overrides, seeds)
    cells = checked_cells(asked)
    tally = _run_cells(asked.name, cells, store, device, limit=limit, threads=threads, keep_going=keep_going)
    raise typer.Exit(1 if tally.failed else 0)


def status(
    grid: SomeGrid = None, store: StoreUrl = DEFAULT_STORE, include: Include = None, as_json: Json = False
) -> None:
    """Count cells by status."""
    include_files(include)
    opened = open_store(store) if store_exists(store) else None
    stored = opened.grids() if opened is not None else []
    if grid is not None and (opened is None or stored_grid_name(grid, stored) not in stored):
        cells = checked_cells(the_grid(grid))  # known, and never started: everything is still to do
        found = {grid: dict.fromkeys(("cells", "done", "failed", "running", "pending"), 0)}
        found[grid] |= {"cells": len(cells), "pending": len(cells), "controls": sum(cell.is_control for cell in cells)}
    elif opened is not None:
        names = stored if grid is None else [stored_grid_name(grid, stored)]
        found = {name: opened.counts(name) | {"controls": opened.controls(name)} for name in names}
    else:
        found = {}
    if as_json:
        typer.echo(as_json_text(found if grid is None else next(iter(found.values()))))
    else:
        lines = [f"{name}: " + ", ".join(f"{n} {key}" for key, n in counts.items()) for name, counts in found.items()]
        typer.echo("\n".join(lines) or "no grids yet; `harness run GRID` starts one")


def _run_cells(
    name: str,
    cells: Sequence[RunConfig],
    url: str,
    device: str,
    *,
    threads: int | None,
    limit: str | None = None,
    keep_going: bool = True,
) -> Tally:
    import torch
    from rich.console import Console

    from harness.grid import first
    from harness.progress import follow
    from harness.run import run_grid
    from harness.store import Store

    if threads is not None:
        torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as Ctrl-C does: the cell at hand is given back
    with Store(url) as store:
        store.enqueue(name, cells)  # what --limit leaves out is pending, not unknown
        cells = cells if limit is None else first(cells, limit)
        events = run_grid(cells, store, grid_name=name, device=device, keep_going=keep_going)
        try:
            tally = follow(events, Console(stderr=True))
        finally:
            events.close()  # after Ctrl-C this gives the cell at hand back
    skipped = f"{tally.skipped} done before or held by another process"
    typer.echo(f"{tally.cells} cells: {tally.done} done now, {skipped}, {tally.failed} failed")
    for run_id, message in tally.failures:
        typer.echo(f"failed: {run_id}: {message}", err=True)
    if tally.failed:
        typer.echo("the same command tries failed cells again", err=True)
    return tally
