"""Verbs that compare what runs have scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.verbs.arguments import (
    DEFAULT_STORE,
    Include,
    Json,
    SomeGrid,
    StoreUrl,
    as_json_text,
    include_files,
    open_store,
    stored_grid_name,
)

if TYPE_CHECKING:
    from harness.store import Store


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

    include_files(include)
    opened = open_store(store)
    print_leaderboard(
        opened,
        grid=None if grid is None else stored_grid_name(grid, opened.grids()),
        metrics=split_list(metric) if metric else None,
        group_by=split_list(group_by) if group_by else None,
        filters=filter_ or [],
        as_json=as_json or format_ == "json",
    )


def print_leaderboard(
    store: Store,
    *,
    grid: str | None,
    metrics: Sequence[str] | None,
    group_by: Sequence[str] | None,
    filters: Sequence[str],
    as_json: bool,
) -> None:
    """Print the leaderboard of a grid, or of everything in the store."""
    from rich.console import Console

    from harness.rendering import render
    from harness.report import leaderboard as board

    found = board(store, grid=grid, metrics=metrics, group_by=group_by, filters=filters)
    if as_json:
        typer.echo(as_json_text(found.to_dict()))
    else:
        Console().print(*render(found), sep="\n")
