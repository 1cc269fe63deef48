"""Verbs that let several processes, or several machines, work on one store."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.errors import ConfigError, HarnessError
from harness.verbs.arguments import (
    DEFAULT_STORE,
    CheckpointEvery,
    Device,
    Include,
    KeepGoing,
    StallAfter,
    StoreUrl,
    Threads,
    Timeout,
    Workers,
    include_files,
    stored_grid_name,
)
from harness.verbs.stopping import stop_on_signals

RELEASED = 75  # the exit code of a worker that was asked to stop: start it again (sysexits.h: a temporary failure)

OneGrid = Annotated[str | None, typer.Option("--grid", help="Only the cells of this grid.")]


def worker(
    store: StoreUrl = DEFAULT_STORE,
    grid: OneGrid = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when every cell is done or failed.")] = False,
    workers: Workers = 1,
    device: Device = "auto",
    threads: Threads = None,
    keep_going: KeepGoing = True,
    checkpoint_every: CheckpointEvery = 60.0,
    timeout: Timeout = None,
    stall_after: StallAfter = 1800.0,
    include: Include = None,
) -> None:
    """Compute the free cells of a store, whoever put them there; more workers may do the same anywhere."""
    from rich.console import Console

    from harness.progress import follow
    from harness.rules import Rules
    from harness.store import Store
    from harness.supervisor import supervise
    from harness.worker import server

    server()
    include_files(include)
    rules = Rules(
        workers=workers,
        device=device,
        threads=threads,
        include=tuple(str(path.absolute()) for path in include or ()),
        keep_going=keep_going,
        forever=not until_empty,
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        stall_after=stall_after,
    )
    with Store.open(store) as opened, stop_on_signals() as stopping:
        name = None if grid is None else stored_grid_name(grid, opened.grids())
        cells = None if name is None else [opened.config(run_id) for run_id in opened.runs(name)["run_id"]]
        tally = follow(supervise(opened, rules, cells, stopping), Console(stderr=True))
        stopped = stopping()
    typer.echo(f"{tally.done} done, {tally.failed} failed")
    raise typer.Exit(RELEASED if stopped else 1 if tally.failed else 0)


def retry(
    run_ids: Annotated[list[str] | None, typer.Argument(metavar="RUN_ID", help="Failed runs.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed runs.")] = False,
    grid: OneGrid = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Make failed runs free again; a worker goes on with them from their last checkpoints."""
    from harness.store import Store

    if bool(run_ids) == failed:
        raise ConfigError("say which runs: RUN_ID ..., or --failed for all failed ones (of --grid GRID)")
    with Store.open(store) as opened:
        name = None if grid is None else stored_grid_name(grid, opened.grids())
        frame = opened.runs(name)
        status = dict(zip(frame["run_id"], frame["status"], strict=True))
        for run_id in run_ids or ():
            if status.get(run_id) != "failed":
                found = status.get(run_id, "not in the store, or not in this grid")
                raise HarnessError(f"run {run_id} is {found}; only failed runs can be tried again")
        chosen = run_ids or [run_id for run_id, now in status.items() if now == "failed"]
        count = opened.retry(chosen)
    typer.echo(f"{count} runs are free again; harness run GRID or harness worker goes on with them")
