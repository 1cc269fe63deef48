"""Commands that remove grids and runs from a store, or archive and restore them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import StoreUrl
from harness.cli.output import command
from harness.errors import Archived, ConfigError, UnknownName, did_you_mean
from harness.storage.url import DEFAULT_STORE, printable_url

if TYPE_CHECKING:
    from harness.storage.store import Store

Names = Annotated[list[str], typer.Argument(metavar="GRID|RUN...", help="Stored grids, or run ids or beginnings.")]


def rm(
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Remove grids or runs, with their trained policies and files; what another grid uses stays."""
    from harness.storage.removal import finish, planned, remove
    from harness.storage.store import Store

    with Store.open(store) as opened:
        finished = finish(opened)  # of a removal that was killed
        if finished:
            typer.echo(f"finished the removal of {', '.join(finished)}")
        stored = opened.grids()
        names = [name for name in names if name in stored or not any(one.startswith(name) for one in finished)]
        grids, runs = _named(opened, names)
        if not grids and not runs:
            return
        found = planned(opened, grids, runs)
        stay = f"; {found.shared} runs stay, which other grids have" if found.shared else ""
        stay += f"; {found.archived} runs stay, which are archived" if found.archived else ""
        typer.echo(
            f"{', '.join([*grids, *runs])} in {printable_url(store)}: {found.cells} cells, {len(found.runs)} runs, "
            f"{found.policies} trained policies, {found.files} files, {found.bytes:,} bytes{stay}"
        )
        if not yes and not found.held:
            if not sys.stdin.isatty():
                raise ConfigError("nothing was removed: there is no terminal to ask; add --yes to remove them")
            if not typer.confirm("Remove them for good?"):
                typer.echo("nothing was removed")
                return
        remove(opened, grids, runs)
    typer.echo("removed")


def archive(names: Names, store: StoreUrl = DEFAULT_STORE) -> None:
    """Leave grids or runs out of all lists, tables and pages, until `harness restore`; nothing is removed."""
    from harness.storage.removal import archive as archived
    from harness.storage.store import Store

    with Store.open(store) as opened:
        stored = opened.grids()
        already = {name: [] if name in stored else _in_archive(opened, name) for name in names}
        grids, runs = _named(opened, [name for name in names if not already[name]])
        for name in already:
            if already[name]:
                typer.echo(f"{already[name][0]} is archived already")
        if not grids and not runs:
            return
        shown = list(opened.runs()["run_id"])
        cells = {run_id for grid in grids for run_id in opened.runs(grid)["run_id"]}
        owners = opened.unfinished(shown)
        archived(opened, grids, runs)
        left = set(opened.runs()["run_id"])
    gone = [run_id for run_id in shown if run_id not in left]
    held, stay = sum(owners.get(run_id) is not None for run_id in gone), len(cells & left)
    more = f"; {held} of them are being computed, and will be finished" if held else ""
    more += f"; {stay} runs stay, which other grids have" if stay else ""
    what = " ".join(map(shlex.quote, [*grids, *runs]))
    typer.echo(f"archived {', '.join([*grids, *runs])}: {len(gone)} runs are left out from now on{more}")
    typer.echo(f"`{command()} restore {what}` brings them back")


def restore(names: Names, store: StoreUrl = DEFAULT_STORE) -> None:
    """Bring archived grids or runs back, as they were."""
    from harness.storage.removal import restore as restored
    from harness.storage.store import Store

    with Store.open(store) as opened:
        grids, runs = opened.archived_grids(), opened.archived_runs()
        found = {name: _in_archive(opened, name) for name in names}
        for name in (name for name in found if len(found[name]) != 1):
            if found[name]:
                raise UnknownName(f"{name!r} begins the ids of {', '.join(found[name][:5])}; write more of one")
            try:
                _named(opened, [name])
            except Archived:  # with its grid
                raise
            except UnknownName as error:
                raise UnknownName(
                    f"{name!r}: nothing of that name is stored; {_archived_names(name, opened)}"
                ) from error
        for name in (name for name in found if not found[name]):
            typer.echo(f"{name} is not archived; {_archived_names('', opened)}")
        chosen = list(dict.fromkeys(one for ones in found.values() for one in ones))
        if not chosen:
            return
        before = len(opened.runs())
        restored(opened, [name for name in chosen if name in grids], [name for name in chosen if name in runs])
        typer.echo(f"restored {', '.join(chosen)}: {len(opened.runs()) - before} runs are shown again")


def _in_archive(store: Store, name: str) -> list[str]:
    """The archived grid of that name, or the archived runs whose ids have this beginning."""
    if name in store.archived_grids():
        return [name]
    return [run_id for run_id in store.archived_runs() if name and run_id.startswith(name)]


def _archived_names(name: str, store: Store) -> str:
    known = [*store.archived_grids(), *store.archived_runs()]
    return f"of what is archived: {did_you_mean(name, known)}" if known else "nothing here is archived"


def _named(store: Store, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The stored grids, and the ids of the runs, that these names mean.

    Raises:
        Archived: one is archived.
        UnknownName: one is neither.
    """
    from harness.storage.queries import find_run

    stored = store.grids()
    grids, runs = [], []
    for name in names:
        if name in stored:
            grids.append(name)
            continue
        store.refuse_archived(name)
        try:
            runs.append(find_run(store, name))
        except Archived:
            raise
        except UnknownName as error:
            raise UnknownName(
                f"{name!r} is no stored grid ({did_you_mean(name, stored)}) and no run: {error}"
            ) from error
    return list(dict.fromkeys(grids)), list(dict.fromkeys(runs))
