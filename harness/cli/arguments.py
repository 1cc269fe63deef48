"""The options that commands share, and the grids, cells and stores that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import complete
from harness.errors import Archived, ConfigError, UnknownName, did_you_mean
from harness.storage.url import store_url

if TYPE_CHECKING:
    from harness.config.run import RunConfig
    from harness.grids.grid import Grid
    from harness.storage.store import Store

GridName = Annotated[
    str,
    typer.Argument(metavar="GRID", help="Name of a shipped grid, or a .yaml file.", autocompletion=complete.grids),
]
SomeGrid = Annotated[
    str | None,
    typer.Argument(
        metavar="GRID",
        help="Name or .yaml file of a grid; all grids when left out.",
        autocompletion=complete.grids,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Changes to the grid: lr=1e-3, or lr=1e-3,3e-3 to sweep.",
        autocompletion=complete.settings,
    ),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HARNESS_STORE",
        help="Results store: the path of its file, sqlite:///PATH, or the URL of one in PostgreSQL.",
        callback=store_url,
    ),
]
Include = Annotated[
    list[Path] | None, typer.Option("--include", help="Python file that registers plug-ins; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SeedCount = Annotated[int | None, typer.Option("--seeds", help="Number of seeds, in place of the grid's.")]
GridLabel = Annotated[
    str | None, typer.Option("--name", help="Name under which a changed grid is stored, in place of GRID@KEY=VALUE.")
]
Limit = Annotated[
    str | None, typer.Option("--limit", help="Only the first cells: a number (12) or a share (0.1) of them.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Device to compute on; auto is cuda where there is one."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that compute cells at the same time.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads of all workers together; one per core when left out."),
]
KeepGoing = Annotated[
    bool | None,
    typer.Option(
        "--keep-going/--fail-fast",
        help="After a failed cell, go on or stop; by default go on unless the first three fail for the same reason.",
        show_default=False,
    ),
]
CheckpointEvery = Annotated[
    float, typer.Option("--checkpoint-every", min=0.0, help="Seconds between two checkpoints of a run.")
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.0, help="Seconds after which one attempt at a run is ended.")
]
StallAfter = Annotated[
    float, typer.Option("--stall-after", min=1.0, help="Seconds without progress after which a cell is tried again.")
]
Grace = Annotated[float, typer.Option("--grace", min=0.0, help="Seconds for saving cells after a request to stop.")]
Metrics = Annotated[
    str,
    typer.Option(
        help="Metrics or measures to compute: diversity@simctg,mauve@mauve-text[featuriser=DIR].",
        autocompletion=complete.metrics,
    ),
]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, or beginnings of them.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or its beginning.")]


def include_files(paths: Sequence[Path] | None) -> tuple[str, ...]:
    """Register the plug-ins of every `--include` file; the absolute paths, for worker processes to do the same."""
    from harness.registry import include

    for path in paths or ():
        include(path)
    return tuple(str(path.absolute()) for path in paths or ())


def load_grid_argument(
    given: str, overrides: Sequence[str] | None = None, seeds: int | None = None, name: str | None = None
) -> Grid:
    """Load the grid of that name or file, with the command line's changes and `--name`."""
    from harness.grids.grid import grid_names, load_grid
    from harness.grids.own_name import check_name

    grid = load_grid(given, [*(overrides or ()), *([] if seeds is None else [f"seeds={seeds}"])])
    if name is not None:
        return replace(grid, name=check_name(name, grid_names()))
    return grid


def asked_cells(
    given: str,
    overrides: Sequence[str] | None,
    seeds: int | None,
    name: str | None,
    url: str,
    before: Callable[[list[RunConfig]], None] | None = None,
) -> tuple[str, list[RunConfig]]:
    """The name of a grid and its cells, checked: of a shipped grid or a file, or else as a grid is stored.

    Runs that are archived are left out, with a note: asked for or not, they stay so until they are restored.
    `before` looks at the cells first: checking them may load torch, for a model that is not known yet.

    Raises:
        ConfigError: `name` is that of a stored grid with other cells.
        Archived: the grid is archived, or all of its cells are.
    """
    from harness.grids.check import check_cells
    from harness.grids.grid import grid_names

    here = open_store(url) if store_exists(url) else None
    stored = here.grids() if here is not None else []
    if here is not None:
        here.refuse_archived(given)
    is_source = given in grid_names() or given.endswith((".yaml", ".yml"))
    if here is not None and given in stored and not (is_source or overrides or seeds is not None or name):
        cells = [here.config(run_id) for run_id in here.runs(given, archived=None)["run_id"]]
        cells = unarchived(here, given, cells)
        if before is not None:
            before(cells)
        check_cells(cells, _folder(url))
        print_notes(cells, _folder(url))
        return given, cells
    grid = load_grid_argument(given, overrides, seeds, name)
    if here is not None:
        here.refuse_archived(grid.name)
    cells = checked_cells(grid, store=url, before=before)
    if here is not None:
        cells = unarchived(here, grid.name, cells)
    if name is not None and here is not None and name in stored:
        other = set(here.runs(name)["group_id"]) - {cell.group_id for cell in cells}
        if other:
            raise ConfigError(
                f"--name {name}: the stored grid of that name has {len(other)} other configurations, which would share "
                "its tables; give another --name"
            )
    return grid.name, cells


def unarchived(store: Store, grid: str, cells: list[RunConfig]) -> list[RunConfig]:
    """The cells of a grid that are not archived, with a note on the others.

    Raises:
        Archived: the grid is archived, or all of its cells are.
    """
    store.refuse_archived(grid)
    away = set(store.archived_runs())
    ids = [cell.run_id for cell in cells if cell.run_id in away]
    if not ids:
        return cells
    what = f"`harness restore {' '.join(ids[:3])}{' ...' if len(ids) > 3 else ''}`"
    if len(ids) == len(cells):
        raise Archived(f"all {len(ids)} cells of {grid} are archived; {what} brings them back")
    typer.echo(f"note: {len(ids)} of {len(cells)} cells are archived and left out; {what} brings them back", err=True)
    return [cell for cell in cells if cell.run_id not in away]


def checked_cells(
    grid: Grid,
    limit: str | None = None,
    store: str | None = None,
    before: Callable[[list[RunConfig]], None] | None = None,
) -> list[RunConfig]:
    """Every cell with all options written out, or the first ones; notes about grid, data and models are printed.

    Verdicts on models are kept beside the store at the URL, where that is a file in a folder that is there.  `before`
    looks at the cells before they are checked, controls aside.
    """
    from harness.grids.check import check
    from harness.grids.grid import first
    from harness.grids.idle import doubles, idle_excludes

    for note in (*doubles(grid), *idle_excludes(grid)):
        typer.echo(f"note: {note}", err=True)
    folder = _folder(store)
    cells = check(grid, folder, before)
    print_notes(cells, folder)
    return cells if limit is None else first(cells, limit)


def _folder(store: str | None) -> Path | None:
    """The folder of the store at the URL; None if it is no file's, or not there."""
    path = Path((store or "").removeprefix("sqlite:///"))
    return path.parent if store not in (None, str(path)) and path.parent.is_dir() else None


def print_notes(cells: Iterable[RunConfig], folder: Path | None = None) -> None:
    """Print on standard error what the cells' benchmarks say about their data, and the probe about their models."""
    from harness.grids.check import notes

    for note in notes(cells, folder):
        typer.echo(f"note: {note}", err=True)


def store_exists(url: str) -> bool:
    """True if something is stored at the URL, or if only opening it can show that (PostgreSQL, a wrong URL)."""
    path = url.removeprefix("sqlite:///")
    return path == url or Path(path).exists()


def open_store(url: str) -> Store:
    """The store at the URL, for reading."""
    from harness.storage.store import Store

    return Store.open(url, read_only=True)


def chosen_grid(given: str | None, store: Store) -> str | None:
    """The name in the store of the grid that an option names; None, for all grids, where it is left out.

    Raises:
        UnknownName: no such grid, or it is archived.
    """
    if given is None:
        return None
    store.refuse_archived(given)
    name = stored_grid_name(given, store.grids())
    store.refuse_archived(name)
    return name


def stored_grid_name(given: str, stored: Sequence[str]) -> str:
    """The name under which a grid, given by name or file, is or would be stored."""
    if given in stored:
        return given
    from harness.grids.grid import grid_names

    if given in grid_names() or given.endswith((".yaml", ".yml")):
        return load_grid_argument(given).name
    raise UnknownName(f"unknown grid {given!r}; {did_you_mean(given, [*stored, *grid_names()])}")
