"""The command line: every verb reads its arguments, calls one function and prints what that returns.

Exit codes: 0 ok, 1 some cells failed, 2 usage or configuration, 3 environment or database, 130 interrupted.  What a
verb needs is imported inside it, so that `--help` and `ls` answer without loading torch.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from harness.errors import HarnessError, UnknownName, did_you_mean

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.grid import Grid
    from harness.progress import Tally
    from harness.store import Store


class Verbs(TyperGroup):
    """The verbs, with options in either spelling and every foreseen problem told in one message."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept options in either spelling."""
        return super().parse_args(ctx, spelled(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; a `HarnessError` ends with its exit code, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; the same command goes on from the first unfinished cell", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Benchmarks training objectives of language models: MLE, behavioural cloning, SequenceMatch.",
)

GridName = Annotated[str, typer.Argument(metavar="GRID", help="A shipped grid's name, or a .yaml file.")]
SomeGrid = Annotated[str | None, typer.Argument(metavar="GRID", help="A grid's name or .yaml file; all when left out.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the grid: lr=1e-3, or lr=1e-3,3e-3 to sweep."),
]
StoreUrl = Annotated[str, typer.Option("--store", envvar="HARNESS_STORE", help="Where results are: sqlite:///PATH.")]
Include = Annotated[
    list[Path] | None, typer.Option("--include", help="A Python file that registers plug-ins; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SeedCount = Annotated[int | None, typer.Option("--seeds", help="Number of seeds, in place of the grid's.")]
Limit = Annotated[str | None, typer.Option("--limit", help="Only the first cells: 12, or a share of them: 0.1.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where tensors live.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores when left out.")]
KeepGoing = Annotated[bool, typer.Option("--keep-going/--fail-fast", help="What to do after a cell has failed.")]

DEFAULT_STORE = "sqlite:///results/runs.db"


@app.command()
def demo(store: StoreUrl = DEFAULT_STORE, seeds: SeedCount = None, device: Device = "auto") -> None:
    """Run the small real ablation that ships with the harness, and print its leaderboard."""
    # its models are too small to share between threads, which only wait for each other on a busy machine
    tally = _run("demo", _cells(_grid("demo", seeds=seeds)), store, device, threads=1)
    _print_leaderboard(_open(store), grid="demo", metrics=None, group_by=None, filters=[], as_json=False)
    typer.echo("\nNext: harness ls grids  |  harness info sequence_match  |  harness run GRID.yaml")
    raise typer.Exit(1 if tally.failed else 0)


@app.command()
def ls(
    kind: Annotated[Literal["trainers", "divergences", "metrics", "benchmarks", "grids", "runs"], typer.Argument()],
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """List what there is of a kind."""
    _include(include)
    rows: list[dict[str, Any]]
    if kind == "runs":
        frame = _open(store).runs()
        rows = json.loads(frame.to_json(orient="records", date_format="iso"))
        lines = [f"{row['run_id']}  {row['status']:8}{row['benchmark.name']}  {row['trainer.name']}" for row in rows]
    elif kind == "grids":
        from harness.grid import grid_names

        rows = [{"name": name, "question": _grid(name).question} for name in grid_names()]
        lines = [f"{row['name']:16}{row['question']}" for row in rows]
    else:
        from harness.describe import REGISTRIES

        rows = [{"name": name} for name in REGISTRIES[kind]]
        lines = [row["name"] for row in rows]
    typer.echo(_json(rows) if as_json else "\n".join(lines) or f"no {kind} yet")


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A trainer, divergence, metric, benchmark or grid.")],
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Say what something is: its description, options with types and defaults, and source."""
    from harness.describe import describe

    _include(include)
    found = describe(name)
    typer.echo(_json(found) if as_json else "\n\n".join(map(_described, found)))


@app.command()
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

    _include(include)
    cells = _cells(_grid(grid, overrides, seeds), limit)
    found = planned(cells, _open(store).runs().to_dict("records") if _exists(store) else [])
    if as_json:
        typer.echo(_json(dataclasses.asdict(found)))
        return
    counts = f"{found.done} done, {found.failed} failed, {found.running} running, {found.pending} pending"
    time = "unknown" if found.seconds is None else str(timedelta(seconds=round(found.seconds)))
    if found.seconds is not None and found.unknown:
        time = f"at least {time} ({found.unknown} cells unlike any finished run)"
    typer.echo(f"{found.cells} cells: {counts}\nestimated time: {time}")


@app.command()
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
    _include(include)
    asked = _grid(grid, overrides, seeds)
    cells = _cells(asked)
    tally = _run(asked.name, cells, store, device, limit=limit, threads=threads, keep_going=keep_going)
    raise typer.Exit(1 if tally.failed else 0)


@app.command()
def status(
    grid: SomeGrid = None, store: StoreUrl = DEFAULT_STORE, include: Include = None, as_json: Json = False
) -> None:
    """Count cells by status."""
    _include(include)
    opened = _open(store) if _exists(store) else None
    stored = opened.grids() if opened is not None else []
    if grid is not None and (opened is None or _grid_name(grid, stored) not in stored):
        cells = len(_cells(_grid(grid)))  # known, and never started: everything is still to do
        found = {grid: dict.fromkeys(("cells", "done", "failed", "running", "pending"), 0)}
        found[grid] |= {"cells": cells, "pending": cells}
    elif opened is not None:
        names = stored if grid is None else [_grid_name(grid, stored)]
        found = {name: opened.counts(name) for name in names}
    else:
        found = {}
    if as_json:
        typer.echo(_json(found if grid is None else next(iter(found.values()))))
    else:
        lines = [f"{name}: " + ", ".join(f"{n} {key}" for key, n in counts.items()) for name, counts in found.items()]
        typer.echo("\n".join(lines) or "no grids yet; `harness run GRID` starts one")


@app.command()
def leaderboard(
    grid: SomeGrid = None,
    metric: Annotated[str | None, typer.Option(help="Metrics to show: mauve,diversity.")] = None,
    group_by: Annotated[str | None, typer.Option(help="Keys to group by: trainer.name,backspace.")] = None,
    filter_: Annotated[list[str] | None, typer.Option("--filter", help="key=value; may be repeated.")] = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")] = "table",
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compare groups of runs: n, mean and 95 % interval over seeds."""
    from harness.settings import split_list

    _include(include)
    opened = _open(store)
    _print_leaderboard(
        opened,
        grid=None if grid is None else _grid_name(grid, opened.grids()),
        metrics=split_list(metric) if metric else None,
        group_by=split_list(group_by) if group_by else None,
        filters=filter_ or [],
        as_json=as_json or format_ == "json",
    )


@app.command()
def env(store: StoreUrl = DEFAULT_STORE, as_json: Json = False) -> None:
    """Say what results here depend on: versions, machine, threads, store."""
    import torch

    from harness.provenance import provenance

    found = {"store": store, **provenance(threads=torch.get_num_threads())}
    typer.echo(_json(found) if as_json else "\n".join(_indented(found)))


# ------------------------------------------------------------------------------------------- what verbs share


def spelled(args: Sequence[str]) -> list[str]:
    """Arguments with `--group_by` written `--group-by`."""
    return [re.sub(r"^--[a-z_]+", lambda found: found[0].replace("_", "-"), arg) for arg in args]


def _include(paths: Sequence[Path] | None) -> None:
    from harness.registry import include

    for path in paths or ():
        include(path)


def _grid(given: str, overrides: Sequence[str] | None = None, seeds: int | None = None) -> Grid:
    from harness.grid import load_grid

    return load_grid(given, [*(overrides or ()), *([] if seeds is None else [f"seeds={seeds}"])])


def _cells(grid: Grid, limit: str | None = None) -> list[RunConfig]:
    from harness.grid import first
    from harness.run import check

    cells = check(grid)
    return cells if limit is None else first(cells, limit)


def _exists(url: str) -> bool:
    path = url.removeprefix("sqlite:///")
    return path == url or Path(path).exists()  # what is no SQLite path is for the store to judge


def _open(url: str) -> Store:
    from harness.store import Store

    return Store.open(url, read_only=True)


def _run(
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


def _grid_name(given: str, stored: Sequence[str]) -> str:
    """The name under which a grid, given by name or file, is stored when it is."""
    if given in stored:
        return given
    from harness.grid import grid_names

    if given in grid_names() or given.endswith((".yaml", ".yml")):
        return _grid(given).name
    raise UnknownName(f"unknown grid {given!r}; {did_you_mean(given, [*stored, *grid_names()])}")


def _print_leaderboard(
    store: Store,
    *,
    grid: str | None,
    metrics: Sequence[str] | None,
    group_by: Sequence[str] | None,
    filters: Sequence[str],
    as_json: bool,
) -> None:
    from rich.console import Console

    from harness.rendering import render
    from harness.report import leaderboard as board

    found = board(store, grid=grid, metrics=metrics, group_by=group_by, filters=filters)
    if as_json:
        typer.echo(_json(found.to_dict()))
    else:
        Console().print(*render(found), sep="\n")


# ------------------------------------------------------------------------------------------------- plain text


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)


def _described(found: dict[str, Any]) -> str:
    lines = [f"{found['kind']} {found['name']}", "", found["description"], ""]
    for option in found.get("options", ()):
        lines.append(f"  {option['name']}: {option['type']} = {option['default']}")
        lines += [f"      {option['description']}"] if option["description"] else []
    for name, measure in found.get("measures", {}).items():
        lines.append(f"  {name} [{measure['unit']}, better: {measure['direction']}]  {measure['summary']}")
    for key, value in found.get("values", {}).items():
        lines.append(f"  {key}: {value}")
    for axis in found.get("axes", ()):
        lines.append(f"  {', '.join(axis['keys'])}: {axis['values']} values")
    if "cells" in found:
        lines.append(f"  seeds {', '.join(map(str, found['seeds']))}: {found['cells']} cells")
    return "\n".join([*lines, "", f"source: {found['source']}"])


def _indented(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield f"{indent}{key}:"
            yield from _indented(inner, indent + "  ")
        else:
            yield f"{indent}{key}: {inner}"


def main() -> None:
    """The console script."""
    app()
