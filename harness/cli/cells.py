"""Run the cells of a grid and print how they ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from harness.cli.arguments import open_store, store_exists
from harness.cli.output import command
from harness.cli.signals import stop_on_signals
from harness.errors import EnvironmentProblem
from harness.system.hub import check_model

if TYPE_CHECKING:
    from harness.cli.progress import Tally
    from harness.config.run import RunConfig
    from harness.records.progress import Progress
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
    from harness.config.names import run_names
    from harness.grids.grid import first
    from harness.grids.plan import earlier_models
    from harness.runner.grid import run_grid
    from harness.storage.store import Store

    if "@" in name:
        typer.echo(f"note: changed on the command line, this is a grid of its own: {name}", err=True)
    with Store(url) as store, stop_on_signals() as stopping:
        names = run_names(cells)
        cells = cells if limit is None else first(cells, limit)
        store.enqueue(name, cells, alone=alone)  # what --limit leaves out is no cell yet: it would stay pending
        if any(cell.model.revision for cell in cells):
            for sentence in earlier_models(cells, store.runs().to_dict("records")):
                typer.echo(sentence, err=True)
        events = run_grid(cells, store, grid_name=name, options=options, stopping=stopping)
        tally = follow(named(events, names), Console(stderr=True))
    typer.echo(f"{tally.cells} cells: {tally.done} done now, {tally.skipped} done before, {tally.failed} failed")
    if stopping():
        raise KeyboardInterrupt
    for run_id, message in tally.failures:
        typer.echo(f"failed: {run_id}: {names.get(run_id, '')}: {message}", err=True)
    if tally.failed:
        typer.echo(
            f"the same command tries failed cells again; `{command()} logs RUN_ID` prints all that is kept of one",
            err=True,
        )
    return tally


def check_models(cells: Iterable[RunConfig], url: str) -> None:
    """Refuse unfinished cells whose models of the Hub cannot be loaded, before worker processes wait for them.

    Directories are examined with the grid.

    Raises:
        EnvironmentProblem: a model, or a featuriser, that is neither kept here nor within reach.
    """
    for problem in missing_models(cells, url):
        raise problem


def missing_models(cells: Iterable[RunConfig], url: str) -> Iterator[EnvironmentProblem]:
    """The problem of each model of the Hub that unfinished cells load, as policies or featurisers, and cannot."""
    from harness.grids.check import featurisers

    asked: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        names = [] if cell.model.from_scratch else [(cell.model.name, f"model.name={cell.model.name!r}")]
        names += [(one, f"featuriser={one!r}") for one in featurisers(cell)]
        for name, where in names:
            if not name.startswith((".", "/", "~")):
                asked.setdefault((name, where), set()).add(cell.run_id)
    if not asked:
        return
    done = set(open_store(url).runs(status="done", archived=None)["run_id"]) if store_exists(url) else set()
    for (name, where), run_ids in asked.items():
        if not run_ids <= done:
            try:
                check_model(name, where)
            except EnvironmentProblem as problem:
                yield problem


def named(events: Iterable[Progress], names: Mapping[str, str]) -> Iterator[Progress]:
    """Events with the names that tell their cells apart, by run id; others keep their labels."""
    for event in events:
        yield replace(event, label=names.get(event.run_id, event.label))
