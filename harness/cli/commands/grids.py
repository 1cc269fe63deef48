"""Commands that plan and run grids."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import (
    CheckpointEvery,
    Device,
    GridLabel,
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
    asked_cells,
    checked_cells,
    chosen_grid,
    include_files,
    load_grid_argument,
    open_store,
    store_exists,
    unarchived,
)
from harness.cli.cells import check_models, missing_models, run_cells
from harness.cli.output import as_json_text, command, print_leaderboard, say
from harness.storage.url import DEFAULT_STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config.run import RunConfig
    from harness.grids.plan import Row


def demo(store: StoreUrl = DEFAULT_STORE, seeds: SeedCount = None, device: Device = "auto") -> None:
    """Run the small real ablation that ships with the harness, and print its leaderboard."""
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server

    cells = checked_cells(load_grid_argument("demo", seeds=seeds))
    cells = unarchived(open_store(store), "demo", cells) if store_exists(store) else cells
    server()
    # its models are too small to share between threads, which only wait for each other on a busy machine
    tally = run_cells("demo", cells, store, RunnerOptions(device=device, threads=1))
    print_leaderboard(open_store(store), "demo")
    here = command()
    typer.echo(f"\nNext: {here} dashboard  |  {here} info sequence_match  |  {here} ls grids  |  {here} run GRID.yaml")
    raise typer.Exit(1 if tally.failed else 0)


def plan(
    grid: GridName,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: SeedCount = None,
    limit: Limit = None,
    name: GridLabel = None,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Check a grid and list the rows that running it would compute; nothing is run."""
    from harness.grids.grid import first
    from harness.grids.plan import earlier_models, plan_rows
    from harness.grids.plan import plan as planned

    include_files(include)
    _, cells = asked_cells(grid, overrides, seeds, name, store)
    cells = cells if limit is None else first(cells, limit)
    runs = open_store(store).runs(archived=None).to_dict("records") if store_exists(store) else []
    found = planned(cells, runs)
    for sentence in earlier_models(cells, runs):
        typer.echo(sentence, err=True)
    for problem in missing_models(cells, store):  # the plan may be for another machine
        typer.echo(f"note: {problem}; `harness run` is refused here as it is", err=True)
    rows = plan_rows(cells, runs)
    if as_json:
        listed = [dataclasses.asdict(row) for row in rows]
        typer.echo(as_json_text(dataclasses.asdict(found) | {"reason": found.reason, "rows": listed}))
        return
    counts = f"{found.done} done, {found.failed} failed, {found.running} running, {found.pending} pending"
    controls = f" ({found.controls} of them controls)" if found.controls else ""
    typer.echo("\n".join(_listed(rows)))
    typer.echo(f"{found.cells} cells{controls}: {counts}\nestimated time: {found.time}")


def _listed(rows: Sequence[Row]) -> list[str]:
    """A line for each row of a plan, its name last; states that no cell is in have no column."""
    from datetime import timedelta

    states = ["cells", "done", *(state for state in ("failed", "running") if any(getattr(row, state) for row in rows))]
    lines = [[*states, "pending", "time left", "row"]]
    for row in rows:
        left = "-" if row.done == row.cells else "?" if row.seconds is None else None
        time = str(timedelta(seconds=round(row.seconds or 0))) if left is None else left
        lines.append([*(str(getattr(row, state)) for state in (*states, "pending")), time, row.name])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    return [
        "  ".join([*(word.rjust(width) for word, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    ]


def run(
    grid: GridName,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    seeds: SeedCount = None,
    limit: Limit = None,
    name: GridLabel = None,
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
    from harness.grids.grid import first
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server

    included = include_files(include)

    def reachable(cells: list[RunConfig]) -> None:
        check_models(cells if limit is None else first(cells, limit), store)

    called, cells = asked_cells(grid, overrides, seeds, name, store, before=reachable)
    server()  # it loads torch, which no grid that cannot run should wait for
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
    tally = run_cells(called, cells, store, options, limit=limit)
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
        say("\n".join(lines) or "no grids yet; `harness run GRID` starts one")


def _counts(grid: str | None, store: str) -> dict[str, dict[str, int]]:
    """Number of cells by status, for one grid or for each that is stored."""
    opened = open_store(store) if store_exists(store) else None
    stored = opened.grids() if opened is not None else []
    name = grid if grid is None or opened is None else chosen_grid(grid, opened)
    if grid is not None and name not in stored:
        cells = checked_cells(load_grid_argument(grid))  # a known grid that was never started: every cell is pending
        found = dict.fromkeys(("cells", "done", "failed", "running", "pending"), 0)
        found |= {"cells": len(cells), "pending": len(cells), "controls": sum(cell.is_control for cell in cells)}
        return {grid: found}
    if opened is None:
        return {}
    names = stored if name is None else [name]
    return {name: opened.counts(name) | {"controls": opened.controls(name)} for name in names}
