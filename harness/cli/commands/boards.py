"""Verbs that compare what runs have scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness import DEFAULT_STORE
from harness.cli.arguments import (
    Include,
    Json,
    SomeGrid,
    StoreUrl,
    as_json_text,
    include_files,
    open_store,
    stored_grid_name,
)
from harness.errors import ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from harness.storage.store import Store

Metrics = Annotated[str | None, typer.Option("--metric", help="Metrics to show: mauve,diversity.")]
GroupBy = Annotated[str | None, typer.Option("--group-by", help="Keys to group by: trainer.name,backspace.")]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", help="key=value, key!=value or 'key in a|b'; may be repeated.")
]
Baseline = Annotated[
    str | None, typer.Option("--baseline", help="The row that differences are from: trainer=mle,backspace=true.")
]
Per = Annotated[
    Literal["step", "token", "second"] | None,
    typer.Option("--per", help="Show costs, and rank only rows of equal cost in this unit."),
]
At = Annotated[
    str | None,
    typer.Option("--at", help="Compare at a budget: tokens=200000, seconds=60 or steps=500, by scores while training."),
]
Sort = Annotated[str | None, typer.Option("--sort", help="A metric: best mean first, instead of the grid's order.")]
Output = Annotated[Path | None, typer.Option("--output", help="A file to write, instead of printing.")]


def leaderboard(
    grid: SomeGrid = None,
    metric: Metrics = None,
    group_by: GroupBy = None,
    filter_: Filters = None,
    baseline: Baseline = None,
    per: Per = None,
    sort: Sort = None,
    at: At = None,
    format_: Annotated[
        Literal["table", "md", "latex", "csv", "json"], typer.Option("--format", help="How to print it.")
    ] = "table",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compare groups of runs: n, mean, 95 % interval over seeds, and the rank that the seeds leave open."""
    from harness.grids.settings import split_list
    from harness.report.leaderboard import leaderboard as board

    include_files(include)
    if as_json and format_ not in ("table", "json"):
        raise ConfigError(f"--json and --format {format_} are two forms; give one of them")
    opened = open_store(store)
    found = board(
        opened,
        grid=_grid(grid, opened),
        metrics=_measures(metric),
        group_by=split_list(group_by) if group_by else None,
        filters=filter_ or (),
        baseline=split_list(baseline) if baseline else (),
        per=per,
        sort=sort,
        at=at,
    )
    if format_ == "table" and not as_json:
        from harness.report.rendering import as_text, render

        _show(render(found)) if output is None else _emit(as_text(found), output)
    else:
        from harness.report.exports import board_text

        _emit(board_text(found, "json" if as_json or format_ == "table" else format_), output)


def compare(
    sides: Annotated[
        list[str], typer.Argument(metavar="A B [C...]", help="Group or run ids, or filters: trainer=bc,backspace=true.")
    ],
    grid: Annotated[str | None, typer.Option("--grid", help="Only runs of this grid.")] = None,
    metric: Metrics = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compare two or more choices: their settings, and each score's paired difference from the first."""
    from harness.report.compare import compare as compared

    include_files(include)
    opened = open_store(store)
    found = compared(opened, sides, grid=_grid(grid, opened), metrics=_measures(metric))
    if as_json:
        typer.echo(as_json_text([one.to_dict() for one in found]))
    else:
        from harness.report.rendering import comparison

        _show([part for one in found for part in comparison(one)])


def overhead(
    grid: SomeGrid = None,
    filter_: Filters = None,
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Say what a step of each objective takes in time and tokens, as a multiple of MLE's at the same seed."""
    from harness.report.overhead import overhead as measured
    from harness.report.rendering import as_plain
    from harness.report.rendering import overhead as drawn

    include_files(include)
    opened = open_store(store)
    found = measured(opened, grid=_grid(grid, opened), filters=filter_ or ())
    parts = [part for one in found for part in drawn(one)]
    if as_json:
        _emit(as_json_text([one.to_dict() for one in found]) + "\n", output)
    elif output is not None:
        _emit(as_plain(parts), output)
    else:
        _show(parts)


def export(
    grid: SomeGrid = None,
    what: Annotated[
        Literal["scores", "runs", "curves", "profiles", "interims", "board"],
        typer.Option(
            "--what",
            help="Scores by run, runs, curves, numbers by position, scores while training, the leaderboard.",
        ),
    ] = "scores",
    format_: Annotated[
        Literal["csv", "json", "md", "latex"], typer.Option("--format", help="How to write it.")
    ] = "csv",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
) -> None:
    """Write everything that a grid's runs, or all runs, left behind, with every number in full."""
    from harness.report.exports import board_text, frame, frame_text
    from harness.report.leaderboard import check_grid
    from harness.report.leaderboard import leaderboard as board

    include_files(include)
    opened = open_store(store)
    name = _grid(grid, opened)
    check_grid(opened, name)
    if what == "board":
        _emit(board_text(board(opened, grid=name), format_), output)
    else:
        _emit(frame_text(frame(opened, what, name), format_), output)


def validity(
    grid: SomeGrid = None,
    target: Annotated[str, typer.Option("--target", help="The score to track: exact_kl.")] = "exact_kl",
    filter_: Filters = None,
    over: Annotated[
        Literal["runs", "groups"], typer.Option("--over", help="What a policy is: each run, or a group's mean.")
    ] = "runs",
    format_: Annotated[Literal["table", "md", "json"], typer.Option("--format", help="How to print it.")] = "table",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Say which metrics order policies as an exact one does: Spearman's rank correlation over runs."""
    from harness.report.rendering import as_plain, validity_cells
    from harness.report.rendering import validity as drawn
    from harness.report.validity import validity as measured

    include_files(include)
    opened = open_store(store)
    found = measured(opened, target, grid=_grid(grid, opened), filters=filter_ or (), over=over)
    if as_json or format_ == "json":
        _emit(as_json_text([one.to_dict() for one in found]) + "\n", output)
    elif format_ == "md":
        from harness.report.exports import markdown_table

        parts = (f"### {one.title}: {one.target.name}\n\n{markdown_table(*validity_cells(one))}\n" for one in found)
        _emit("\n".join(parts), output)
    elif output is not None:
        _emit(as_plain([part for one in found for part in drawn(one)]), output)
    else:
        _show([part for one in found for part in drawn(one)])


def print_leaderboard(store: Store, grid: str) -> None:
    """Print a grid's leaderboard as it stands without any choice."""
    from harness.report.leaderboard import leaderboard as board
    from harness.report.rendering import render

    _show(render(board(store, grid=grid)))


def _grid(given: str | None, store: Store) -> str | None:
    return None if given is None else stored_grid_name(given, store.grids())


def _measures(given: str | None) -> list[str] | None:
    """The scores that `--metric` names; a metric's name stands for all that it measures."""
    from harness.grids.settings import split_list
    from harness.plugins.metric_names import as_measures

    return None if not given else [one for name in split_list(given) for one in as_measures(name)]


def _show(parts: Sequence[object]) -> None:
    from rich.console import Console

    Console().print(*parts, sep="\n")


def _emit(text: str, output: Path | None) -> None:
    """Print the text, or write it to the file."""
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise EnvironmentProblem(f"--output {output}: {error.strerror}; name a file in a folder that exists") from error
