"""The options that commands share, and the grids, cells and stores that they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.errors import UnknownName, did_you_mean

if TYPE_CHECKING:
    from harness.config.run import RunConfig
    from harness.grids.grid import Grid
    from harness.storage.store import Store

GridName = Annotated[str, typer.Argument(metavar="GRID", help="Name of a shipped grid, or a .yaml file.")]
SomeGrid = Annotated[
    str | None, typer.Argument(metavar="GRID", help="Name or .yaml file of a grid; all grids when left out.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the grid: lr=1e-3, or lr=1e-3,3e-3 to sweep."),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store", envvar="HARNESS_STORE", help="URL of the results store: sqlite:///PATH, or one of PostgreSQL."
    ),
]
Include = Annotated[
    list[Path] | None, typer.Option("--include", help="Python file that registers plug-ins; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SeedCount = Annotated[int | None, typer.Option("--seeds", help="Number of seeds, in place of the grid's.")]
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
    typer.Option(help="Metrics or measures to compute: diversity@simctg,mauve@mauve-text[featuriser=DIR]."),
]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, or beginnings of them.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or its beginning.")]


def include_files(paths: Sequence[Path] | None) -> tuple[str, ...]:
    """Register the plug-ins of every `--include` file; the absolute paths, for worker processes to do the same."""
    from harness.registry import include

    for path in paths or ():
        include(path)
    return tuple(str(path.absolute()) for path in paths or ())


def load_grid_argument(given: str, overrides: Sequence[str] | None = None, seeds: int | None = None) -> Grid:
    """Load the grid of that name or file, with the command line's changes."""
    from harness.grids.grid import load_grid

    return load_grid(given, [*(overrides or ()), *([] if seeds is None else [f"seeds={seeds}"])])


def checked_cells(grid: Grid, limit: str | None = None, store: str | None = None) -> list[RunConfig]:
    """Every cell with all options written out, or the first ones; notes about their data and models are printed.

    Verdicts on models are kept beside the store at the URL, where that is a file in a folder that is there.
    """
    from harness.grids.check import check
    from harness.grids.grid import first

    folder = _folder(store)
    cells = check(grid, folder)
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
    """The name in the store of the grid that an option names; None, for all grids, where it is left out."""
    return None if given is None else stored_grid_name(given, store.grids())


def stored_grid_name(given: str, stored: Sequence[str]) -> str:
    """The name under which a grid, given by name or file, is or would be stored."""
    if given in stored:
        return given
    from harness.grids.grid import grid_names

    if given in grid_names() or given.endswith((".yaml", ".yml")):
        return load_grid_argument(given).name
    raise UnknownName(f"unknown grid {given!r}; {did_you_mean(given, [*stored, *grid_names()])}")
