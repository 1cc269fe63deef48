"""Commands that compare the scores of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.arguments import (
    Include,
    Json,
    SomeGrid,
    StoreUrl,
    chosen_grid,
    include_files,
    open_store,
)
from harness.cli.output import as_json_text, emit, screen_width, show
from harness.errors import ConfigError
from harness.storage.url import DEFAULT_STORE

Metrics = Annotated[str | None, typer.Option("--metric", help="Metrics or measures to show: mauve,diversity.")]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", help="Configuration keys whose values make a row: trainer.name,backspace.")
]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help="Only runs with key=value, key!=value or 'key in a|b'; may be repeated."),
]
Baseline = Annotated[
    str | None, typer.Option("--baseline", help="Row with which the others are compared: trainer=mle,backspace=true.")
]
Per = Annotated[
    Literal["step", "token", "second"] | None,
    typer.Option("--per", help="Show costs, and rank only rows of equal cost in this unit."),
]
At = Annotated[
    str | None,
    typer.Option("--at", help="Compare scores while training at a budget: tokens=200000, seconds=60 or steps=500."),
]
Sort = Annotated[
    str | None,
    typer.Option("--sort", help="Metric by whose mean rows are sorted, best first, instead of the grid's order."),
]
Every = Annotated[
    bool, typer.Option("--all", help="Show the scores and columns, too, that are left out to fit the screen.")
]
Output = Annotated[Path | None, typer.Option("--output", help="File to write, instead of printing.")]


def leaderboard(
    grid: SomeGrid = None,
    metric: Metrics = None,
    group_by: GroupBy = None,
    filter_: Filters = None,
    baseline: Baseline = None,
    per: Per = None,
    sort: Sort = None,
    at: At = None,
    every: Every = False,
    format_: Annotated[
        Literal["table", "md", "latex", "csv", "json"], typer.Option("--format", help="Format of the output.")
    ] = "table",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compare groups of runs: n, mean, single 95 % interval, and the rank that the seeds leave open."""
    from harness.grids.settings import split_list
    from harness.report.leaderboard import leaderboard as board

    include_files(include)
    if as_json and format_ not in ("table", "json"):
        raise ConfigError(f"--json and --format {format_} are two forms; give one of them")
    opened = open_store(store)
    found = board(
        opened,
        grid=chosen_grid(grid, opened),
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

        show(render(found, every or metric is not None or screen_width() is None)) if output is None else emit(
            as_text(found), output
        )
    else:
        from harness.report.exports import board_text

        emit(board_text(found, "json" if as_json or format_ == "table" else format_), output)


def compare(
    sides: Annotated[
        list[str], typer.Argument(metavar="A B [C...]", help="Group or run ids, or filters: trainer=bc,backspace=true.")
    ],
    grid: Annotated[str | None, typer.Option("--grid", help="Only runs of this grid.")] = None,
    metric: Metrics = None,
    every: Every = False,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compare two or more choices: their settings, and each score's paired difference from the first."""
    from harness.report.compare import compare as compared

    include_files(include)
    opened = open_store(store)
    found = compared(opened, sides, grid=chosen_grid(grid, opened), metrics=_measures(metric))
    if as_json:
        typer.echo(as_json_text([one.to_dict() for one in found]))
    else:
        from harness.report.rendering import comparison, short_comparisons

        whole = every or metric is not None
        show([part for one in found for part in comparison(one)] if whole else short_comparisons(found))


def overhead(
    grid: SomeGrid = None,
    filter_: Filters = None,
    every: Every = False,
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Show the time and tokens of a step of each objective, as a multiple of MLE's at the same seed."""
    from harness.report.overhead import overhead as measured
    from harness.report.rendering import as_plain
    from harness.report.rendering import overhead as drawn

    include_files(include)
    opened = open_store(store)
    found = measured(opened, grid=chosen_grid(grid, opened), filters=filter_ or ())
    every = every or output is not None or screen_width() is None
    parts = [part for one in found for part in drawn(one, every)]
    if as_json:
        emit(as_json_text([one.to_dict() for one in found]) + "\n", output)
    elif output is not None:
        emit(as_plain(parts), output)
    else:
        show(parts)


def export(
    grid: SomeGrid = None,
    what: Annotated[
        Literal["scores", "runs", "curves", "profiles", "interims", "board"],
        typer.Option(
            "--what",
            help="Scores by run, runs, training curves, profiles by position, interim scores, or the leaderboard.",
        ),
    ] = "scores",
    format_: Annotated[
        Literal["csv", "json", "md", "latex"], typer.Option("--format", help="Format of the output.")
    ] = "csv",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
) -> None:
    """Write the stored results of a grid's runs, or of all runs, with every number in full."""
    from harness.report.exports import board_text, frame, frame_text
    from harness.report.leaderboard import check_grid
    from harness.report.leaderboard import leaderboard as board

    include_files(include)
    opened = open_store(store)
    name = chosen_grid(grid, opened)
    check_grid(opened, name)
    if what == "board":
        emit(board_text(board(opened, grid=name), format_), output)
    else:
        emit(frame_text(frame(opened, what, name), format_), output)


def validity(
    grid: SomeGrid = None,
    target: Annotated[
        str, typer.Option("--target", help="Exact score that the others should follow: exact_kl.")
    ] = "exact_kl",
    filter_: Filters = None,
    over: Annotated[
        Literal["runs", "groups"],
        typer.Option("--over", help="Policies to correlate over: each run, or each group's mean."),
    ] = "runs",
    every: Every = False,
    format_: Annotated[
        Literal["table", "md", "json"], typer.Option("--format", help="Format of the output.")
    ] = "table",
    output: Output = None,
    store: StoreUrl = DEFAULT_STORE,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Show how well each metric orders policies as an exact one does: Spearman's rank correlation over runs."""
    from harness.report.rendering import as_plain, validity_cells
    from harness.report.rendering import validity as drawn
    from harness.report.validity import validity as measured

    include_files(include)
    opened = open_store(store)
    found = measured(opened, target, grid=chosen_grid(grid, opened), filters=filter_ or (), over=over)
    if as_json or format_ == "json":
        emit(as_json_text([one.to_dict() for one in found]) + "\n", output)
    elif format_ == "md":
        from harness.report.exports import markdown_table

        parts = (f"### {one.title}: {one.target.name}\n\n{markdown_table(*validity_cells(one))}\n" for one in found)
        emit("\n".join(parts), output)
    elif output is not None:
        emit(as_plain([part for one in found for part in drawn(one)]), output)
    else:
        every = every or screen_width() is None
        show([part for one in found for part in drawn(one, every)])
        if not found:
            typer.echo(
                f"no run here has a value of {target}, so there is no table; `harness leaderboard` shows the scores"
            )


def _measures(given: str | None) -> list[str] | None:
    """The scores that `--metric` names; a metric's name stands for all that it measures."""
    from harness.grids.settings import split_list
    from harness.plugins.metric_names import as_measures

    return None if not given else [one for name in split_list(given) for one in as_measures(name)]
