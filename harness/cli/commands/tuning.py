"""The command that tunes a grid: equally many trials for every group, then the grid with what they chose."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import (
    CheckpointEvery,
    Device,
    GridLabel,
    GridName,
    Include,
    KeepGoing,
    Overrides,
    SeedCount,
    StallAfter,
    StoreUrl,
    Threads,
    Timeout,
    Workers,
    include_files,
    load_grid_argument,
    open_store,
    print_notes,
    store_exists,
    unarchived,
)
from harness.cli.cells import check_models, run_cells
from harness.cli.output import command, say, screen_width
from harness.errors import Archived
from harness.storage.url import DEFAULT_STORE

if TYPE_CHECKING:
    from harness.config.run import RunConfig
    from harness.grids.tuning import Choice, Tried
    from harness.storage.store import Store

Trials = Annotated[
    int,
    typer.Option(
        "--trials", min=1, help="Runs of each group from which its settings are chosen; one has them as written."
    ),
]


def tune(
    grid: GridName,
    overrides: Overrides = None,
    trials: Trials = 8,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done; nothing is run.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    seeds: SeedCount = None,
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
    """Choose each group's settings among equally many trials on the validation split, then run the grid with them.

    Trials are the grid GRID-trials, the runs with the chosen settings GRID-tuned.  Where the grid has no plain MLE,
    there is one beside it, tuned alike, unless its controls are off.  The same command again continues.
    """
    from harness.grids.check import check, check_cells
    from harness.grids.controls import controls, missing_mle
    from harness.grids.tuning import as_trials, choose, final_cells
    from harness.grids.tuning import trials as planned
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server
    from harness.storage.store import Store

    included = include_files(include)
    asked = load_grid_argument(grid, overrides, seeds, name)
    cells = check(replace(asked, controls=False))
    cells = check_cells([*cells, *missing_mle(cells)]) if asked.controls else cells
    tried = planned(cells, trials)
    rounds = zip_longest(*(one.trials for one in tried))  # the first trial of every group before any second
    runs = [run for members in rounds for run in members if run is not None]
    check_cells(runs)
    if store_exists(store):
        _check_archive(open_store(store), asked.name, runs)
    print_notes(runs)
    say(_estimate(asked.name, tried, runs, cells, store))
    if plan:
        return
    check_models([*runs, *cells], store)
    server()
    options = RunnerOptions(
        workers=workers,
        device=device,
        threads=threads,
        include=included,
        keep_going=True if keep_going is None else keep_going,  # a drawn learning rate may be too high
        checkpoint_every=checkpoint_every,
        timeout=timeout,
        stall_after=stall_after,
    )
    run_cells(f"{asked.name}-trials", runs, store, options, alone=True)
    with Store(store) as opened:
        choices = choose(opened, f"{asked.name}-trials", tried)
        final = final_cells(cells, choices)
        final = check_cells([*final, *controls(final)] if asked.controls else final)
        opened.record_trials(f"{asked.name}-tuned", as_trials(choices))
        final = unarchived(opened, f"{asked.name}-tuned", final)
    say("\n".join(map(_choice_text, choices)))
    tally = run_cells(f"{asked.name}-tuned", final, store, replace(options, keep_going=keep_going), alone=True)
    say(_next(asked.name), 6)
    raise typer.Exit(1 if tally.failed else 0)


def _check_archive(store: Store, name: str, runs: Sequence[RunConfig]) -> None:
    """Refuse archived trials: without some of them the groups would not have equally many."""
    for kind in ("trials", "tuned"):
        store.refuse_archived(f"{name}-{kind}")
    away = sorted({run.run_id for run in runs} & set(store.archived_runs()))
    if away:
        raise Archived(f"{len(away)} of the trials are archived; `harness restore {' '.join(away)}` brings them back")


def _estimate(
    name: str, tried: Sequence[Tried], runs: Sequence[RunConfig], cells: Sequence[RunConfig], url: str
) -> str:
    """A summary of what tuning would do; the cells as written stand for those with chosen settings, not known yet."""
    from harness.grids.plan import plan, time_text

    rows = open_store(url).runs(archived=None).to_dict("records") if store_exists(url) else []
    of_trials, of_cells = plan(runs, rows), plan(cells, rows)
    sizes = Counter(len(one.trials) for one in tried)
    each = " + ".join(f"{groups} groups x {size} trials" for size, groups in sorted(sizes.items(), reverse=True))
    text = f"{name}: {each} = {of_trials.cells} trials ({of_trials.done} done), then "
    text += f"{of_cells.cells} cells with the chosen settings and their controls"
    known = [part.seconds for part in (of_trials, of_cells) if part.seconds is not None]
    reason = of_trials.reason or of_cells.reason
    time = time_text(sum(known) if known else None, of_trials.unknown + of_cells.unknown, reason)
    return f"{text}\nestimated time: {time}"


def _next(name: str) -> str:
    """The commands that show what tuning gave, each on a line of its own where one line is too short."""
    tuned, tried = (f"{command()} leaderboard {shlex.quote(f'{name}-{kind}')}" for kind in ("tuned", "trials"))
    line = f"Next: {tuned}  |  {tried}"
    return line if len(line) <= (screen_width() or len(line)) else f"Next: {tuned}\n      {tried}"


def _choice_text(choice: Choice) -> str:
    """`language mle: trial 2 of 4, training.lr=0.00412; ngram_js_3 0.031 (n=256), as written 0.035`."""
    settings = ", ".join(f"{key}={value}" for key, value in choice.drawn.items()) or "as written"
    name = choice.tried.group.label.rpartition(" seed ")[0]
    value, written = choice.values[choice.best], choice.values[0]
    text = f"{name}: trial {choice.best} of 0 to {len(choice.values) - 1}, {settings}; "
    text += f"{choice.measure} {value:.4g} (n={choice.n})"
    if choice.best:
        text += f", as written {written:.4g}" if isinstance(written, float) else f", as written no value ({written})"
    lost = sum(isinstance(value, str) for value in choice.values)
    if choice.moved:
        text += f"; {choice.measure} chose, since ties along the curve move {choice.moved} trial(s)"
    return text + (f"; {lost} trial(s) without a value" if lost else "")
