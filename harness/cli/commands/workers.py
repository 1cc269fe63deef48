"""Commands that let several processes, or several machines, work on one store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.arguments import (
    CheckpointEvery,
    Device,
    Grace,
    Include,
    Json,
    KeepGoing,
    RunId,
    StallAfter,
    StoreUrl,
    Threads,
    Timeout,
    Workers,
    chosen_grid,
    include_files,
    open_store,
)
from harness.cli.cells import named
from harness.cli.output import as_json_text, command
from harness.cli.signals import stop_on_signals
from harness.errors import ConfigError, HarnessError
from harness.storage.url import DEFAULT_STORE

if TYPE_CHECKING:
    from harness.records.progress import Progress

RELEASED = 75  # the exit code of a worker that was asked to stop: start it again (sysexits.h: a temporary failure)

OneGrid = Annotated[str | None, typer.Option("--grid", help="Only the cells of this grid.")]


def worker(
    store: StoreUrl = DEFAULT_STORE,
    grid: OneGrid = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="Exit when every cell is done or failed.")] = False,
    workers: Workers = 1,
    device: Device = "auto",
    threads: Threads = None,
    keep_going: KeepGoing = None,
    checkpoint_every: CheckpointEvery = 60.0,
    timeout: Timeout = None,
    stall_after: StallAfter = 1800.0,
    grace: Grace = 20.0,
    include: Include = None,
) -> None:
    """Compute the free cells of a store; more workers may do the same on this or other machines."""
    from rich.console import Console

    from harness.cli.progress import follow
    from harness.config.names import run_names
    from harness.runner.options import RunnerOptions
    from harness.runner.supervisor import supervise
    from harness.runner.worker import server
    from harness.storage.store import Store

    included = include_files(include)
    options = RunnerOptions(
        workers=workers,
        device=device,
        threads=threads,
        include=included,
        keep_going=keep_going,
        forever=not until_empty,
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        stall_after=stall_after,
        grace=grace,
    )
    with Store.open(store) as opened, stop_on_signals() as stopping:
        name = chosen_grid(grid, opened)
        server()
        names = run_names(opened.configs(name).values())
        tally = follow(named(supervise(opened, options, None, stopping, grid=name), names), Console(stderr=True))
        stopped = stopping()
    typer.echo(f"{tally.done} done, {tally.failed} failed")
    raise typer.Exit(RELEASED if stopped else 1 if tally.failed else 0)


def retry(
    run_ids: Annotated[list[str] | None, typer.Argument(metavar="RUN_ID", help="Ids of failed runs.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed runs, or those of --grid.")] = False,
    grid: OneGrid = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Make failed runs free again; a worker goes on with them from their last checkpoints."""
    from harness.storage.store import Store

    if bool(run_ids) == failed:
        raise ConfigError("say which runs: RUN_ID ..., or --failed for all failed ones (of --grid GRID)")
    with Store.open(store) as opened:
        name = chosen_grid(grid, opened)
        frame = opened.runs(name)
        status = dict(zip(frame["run_id"], frame["status"], strict=True))
        for run_id in run_ids or ():
            if status.get(run_id) != "failed":
                found = status.get(run_id, "not in the store, not in this grid, or archived")
                raise HarnessError(f"run {run_id} is {found}; only failed runs can be tried again")
        chosen = run_ids or [run_id for run_id, now in status.items() if now == "failed"]
        count = opened.retry(chosen)
    typer.echo(f"{count} runs are free again; harness run GRID or harness worker goes on with them")


def logs(run: RunId, store: StoreUrl = DEFAULT_STORE, as_json: Json = False) -> None:
    """Print what is kept of each attempt at a run: its error, the traceback, and the last lines that it printed."""
    from harness.config.names import run_names
    from harness.storage.queries import find_run
    from harness.system.printable import printable

    opened = open_store(store)
    run_id = find_run(opened, run)
    attempts = opened.attempts(run_id).to_dict("records")
    if as_json:
        typer.echo(as_json_text(attempts))
        return
    name = run_names(opened.configs().values()).get(run_id, "a configuration of another version")
    lines = [] if attempts else ["not started yet"]
    for one in attempts:
        ended = f"to {one['ended']}" if one["ended"] else "and not ended; what it prints is kept when it fails"
        lines += [f"attempt {one['attempt']}: {one['outcome']}, from step {one['from_step']}, by {one['owner']}"]
        lines += [f"from {one['started']} {ended}", *str(one["error"] or "").rstrip().split("\n")]
        if one["output"]:
            lines += ["it printed last:", *(f"    {line}" for line in one["output"].rstrip().split("\n"))]
        lines.append("")
    lines.append(f"run {run_id}: {name}")
    typer.echo("\n".join(map(printable, lines)))


def reproduce(
    run: RunId,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
    threads: Threads = None,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Train a finished run again from its stored configuration: identical, statistically equal, or different."""
    from rich.console import Console

    from harness.cli.progress import follow
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server
    from harness.runs.reproduce import Verdict
    from harness.runs.reproduce import reproduce as reproduced
    from harness.storage.queries import find_run
    from harness.storage.store import Store

    included = include_files(include)
    options = RunnerOptions(device=device, threads=threads, include=included)
    verdicts: list[Verdict] = []
    with Store.open(store) as opened, stop_on_signals() as stopping:
        run_id = find_run(opened, run)
        server()
        steps = reproduced(opened, run_id, options, stopping)

        def watched() -> Iterator[Progress]:
            verdicts.append((yield from steps))

        follow(watched(), Console(stderr=True))
    (verdict,) = verdicts
    typer.echo(as_json_text(dataclasses.asdict(verdict)) if as_json else f"{run_id}: {verdict.sentence}")
    raise typer.Exit(1 if verdict.word == "different" else 0)


def launch(
    engine: Annotated[
        Literal["submitit"], typer.Option("--engine", help="Library that starts the workers.")
    ] = "submitit",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Jobs to start, each with one worker.")] = 1,
    store: StoreUrl = DEFAULT_STORE,
    grid: OneGrid = None,
    cluster: Annotated[
        Literal["auto", "local", "slurm"],
        typer.Option("--cluster", help="Slurm, or this machine; auto is Slurm where it is installed."),
    ] = "auto",
    hours: Annotated[float, typer.Option("--hours", min=0.02, help="Most hours that a job may take.")] = 24.0,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of each job.")] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of each job.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting KEY=VALUE of the engine: slurm_partition=long; may be repeated."),
    ] = None,
    include: Include = None,
) -> None:
    """Start workers as jobs, on Slurm or on this machine; they exit when the store has nothing left to do."""
    from harness.runner.launch import launch as launched
    from harness.runner.launch import log_folder

    wrong = [given for given in settings or () if "=" not in given]
    if wrong:
        raise ConfigError(f"--set {wrong[0]}: write KEY=VALUE, as in slurm_partition=long")
    arguments = [*(["--grid", grid] if grid else [])]
    for path in include or ():
        arguments += ["--include", str(path.absolute())]
    parameters = dict(given.split("=", 1) for given in settings or ())
    jobs = launched(
        store, workers, arguments, cluster=cluster, hours=hours, threads=threads, gpus=gpus, parameters=parameters
    )
    typer.echo(f"{engine} started {len(jobs)} jobs: {', '.join(jobs)}; their output is in {log_folder(store)}")
    typer.echo(f"watch them with: {command()} status --watch --store '{store}'")
