"""The command that removes grids and runs from a store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.arguments import StoreUrl
from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.storage.url import DEFAULT_STORE, printable_url


def rm(
    names: Annotated[list[str], typer.Argument(metavar="GRID|RUN...", help="Stored grids, or run ids or beginnings.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Remove grids or runs, with their trained policies and files; what another grid uses stays."""
    from harness.storage.queries import find_run
    from harness.storage.removal import finish, planned, remove
    from harness.storage.store import Store

    with Store.open(store) as opened:
        finished = finish(opened)  # of a removal that was killed
        stored = opened.grids()
        grids = [name for name in names if name in stored]
        runs = []
        for name in names:
            if name in stored or name in finished:
                continue
            try:
                runs.append(find_run(opened, name))
            except UnknownName as error:
                raise UnknownName(
                    f"{name!r} is no stored grid ({did_you_mean(name, stored)}) and no run: {error}"
                ) from error
        if finished:
            typer.echo(f"finished the removal of {', '.join(finished)}")
        if not grids and not runs:
            return
        found = planned(opened, grids, runs)
        shared = f"; {found.shared} runs stay, which other grids have" if found.shared else ""
        typer.echo(
            f"{', '.join([*grids, *runs])} in {printable_url(store)}: {found.cells} cells, {len(found.runs)} runs, "
            f"{found.policies} trained policies, {found.files} files, {found.bytes:,} bytes{shared}"
        )
        if not yes and not found.held:
            if not sys.stdin.isatty():
                raise ConfigError("nothing was removed: there is no terminal to ask; add --yes to remove them")
            if not typer.confirm("Remove them for good?"):
                typer.echo("nothing was removed")
                return
        remove(opened, grids, runs)
    typer.echo("removed")
