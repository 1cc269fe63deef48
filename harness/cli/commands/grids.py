"""Commands that plan and run grids."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Annotated

import typer

from harness.cli.arguments import (
    CheckpointEvery,
    Device,
    GridName,
    Include,
    Json,
    KeepGoing,
    Limit,
    Overrides,
    SeedCount,
    SomeGrid,
    StallAfter,
    StoreUrl,
    Threads,
    Timeout,
    Workers,
    checked_cells,
    include_files,
    load_grid_argument,
    open_store,
    store_exists,
    stored_grid_name,
)
from harness.cli.cells import run_cells
from harness.cli.output import as_json_text, print_leaderboard
from harness.storage.url import DEFAULT_STORE


def demo(store: StoreUrl = DEFAULT_STORE, seeds: SeedCount = None, device: Device = "auto") -> None:
    """Run the small real ablation that ships with the harness, and print its leaderboard."""
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server

    server()
    # its models are too small to share between threads, which only wait for each other on a busy machine
    tally = run_cells(
        "demo", checked_cells(load_grid_argument("demo", seeds=seeds)), store, RunnerOptions(device=device, threads=1)
    )
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
    """Check a grid and show what running it would do; nothing is run."""
    from harness.grids.plan import earlier_models
    from harness.grids.plan import plan as planned

    include_files(include)
    cells = checked_cells(load_grid_argument(grid, overrides, seeds), limit, store)
    runs = open_store(store).runs().to_dict("records") if store_exists(store) else []
    found = planned(cells, runs)
    for sentence in earlier_models(cells, runs):
        typer.echo(sentence, err=True)
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
    workers: Workers = 1,
    threads: Threads = None,
    keep_going: KeepGoing = None,
    checkpoint_every: CheckpointEvery = 60.0,
    timeout: Timeout = None,
    stall_after: StallAfter = 1800.0,
    include: Include = None,
) -> None:
    """Run a grid's unfinished cells; the same command again continues where it stopped."""
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server

    server()  # it gets ready while the grid is read and checked
    included = include_files(include)
    asked = load_grid_argument(grid, overrides, seeds)
    options = RunnerOptions(
        workers=workers,
        device=device,
        threads=threads,
        include=included,
        keep_going=keep_going,
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        stall_after=stall_after,
    )
    tally = run_cells(asked.name, checked_cells(asked, store=store), store, options, limit=limit)
    raise typer.Exit(1 if tally.failed else 0)


def status(
    grid: SomeGrid = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until all cells are done.")
    ] = False,
) -> None:
    """Count cells by status; with --watch, show the running ones as they advance."""
    include_files(include)
    if watch:
        from harness.cli.watch import watch as show

        show(lambda: _counts(grid, store), lambda: open_store(store) if store_exists(store) else None)
        return
    found = _counts(grid, store)
    if as_json:
        typer.echo(as_json_text(found if grid is None else next(iter(found.values()))))
    else:
        lines = [f"{name}: " + ", ".join(f"{n} {key}" for key, n in counts.items()) for name, counts in found.items()]
        typer.echo("\n".join(lines) or "no grids yet; `harness run GRID` starts one")


def _counts(grid: str | None, store: str) -> dict[str, dict[str, int]]:
    """Number of cells by status, for one grid or for each that is stored."""
    opened = open_store(store) if store_exists(store) else None
    stored = opened.grids() if opened is not None else []
    if grid is not None and (opened is None or stored_grid_name(grid, stored) not in stored):
        cells = checked_cells(load_grid_argument(grid))  # a known grid that was never started: every cell is pending
        found = dict.fromkeys(("cells", "done", "failed", "running", "pending"), 0)
        found |= {"cells": len(cells), "pending": len(cells), "controls": sum(cell.is_control for cell in cells)}
        return {grid: found}
    if opened is None:
        return {}
    names = stored if grid is None else [stored_grid_name(grid, stored)]
    return {name: opened.counts(name) | {"controls": opened.controls(name)} for name in names}
