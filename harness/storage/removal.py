"""Remove grids and runs from a store, with the files that nothing else uses; or archive and restore them.

The rows go in one transaction, which also lists the files in `meta`; then the files go, under the same lock, and the
list last.  A removal that is killed in between is finished by the next one, and by the next `harness run` or `worker`:
a listed file is removed unless a run of the store uses it by then.

What is archived stays whole: a row of `meta` names it, and `reader.of_grid` leaves it out.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from harness.config.run import RunConfig
from harness.errors import StoreError
from harness.storage.engines import insert
from harness.storage.queue import now
from harness.storage.reader import GRID_KEY, OVER, RUN_KEY, Reader, archive_of, status_now
from harness.storage.schema import CELLS, META, ROLLOUTS, RUNS, SCHEMA, TRIALS, escape, from_json, unescape
from harness.storage.store import Store
from harness.system.failpoints import failpoint

LISTED = "removing"  # the key in `meta` of what is being removed
POLICIES = "policies"  # the folder of trained policies, one for each `RunConfig.train_id`
_PART = 500  # run ids that one statement names


@dataclass(frozen=True)
class Removal:
    """Contents of a removal.

    Attributes:
        cells: cells of grids, among them those whose run stays.
        runs: ids of the runs that go.
        shared: runs of the grids that stay, because another grid or its tuning has them.
        archived: runs of the grids that stay, because they are archived.
        policies: trained policies that no run that stays shares.
        paths: the files and folders that go, relative to the store's folder.
        files: number of files in these, and their size in `bytes`.
        held: runs that are being computed, with their owners; nothing can be removed then.
    """

    cells: int
    runs: tuple[str, ...]
    shared: int
    archived: int
    policies: int
    paths: tuple[str, ...]
    files: int
    bytes: int
    held: Mapping[str, str]


def planned(store: Reader, grids: Collection[str], runs: Collection[str]) -> Removal:
    """The removal of these grids, and of these runs from every grid; nothing is changed.

    Raises:
        StoreError: a run is a trial from which another grid was tuned, or something is archived.
    """
    with store.database.read() as connection:
        return _planned(store, connection, grids, runs)


def remove(store: Store, grids: Collection[str], runs: Collection[str]) -> Removal:
    """Remove these grids, and these runs from every grid, with what no other run uses.

    Raises:
        StoreError: a run is being computed, is a trial of another grid, or is archived; nothing is removed.
    """
    with store.database.write() as connection:
        store.database.alone(connection)
        found = _planned(store, connection, grids, runs, lock=True)
        if found.held:
            owners = ", ".join(sorted(set(found.held.values())))
            raise StoreError(
                f"{len(found.held)} of these runs are being computed by {owners}; stop that, and try again"
            )
        listed = _listed(connection)
        names = [*dict.fromkeys([*listed["names"], *grids, *runs])]
        paths = [*dict.fromkeys([*listed["paths"], *found.paths])]
        connection.execute(sa.delete(META).where(META.c.key == LISTED))
        text = json.dumps({"names": names, "paths": paths})
        connection.execute(insert(connection, META).values({"key": LISTED, "value": text}))
        for table in (CELLS, TRIALS):
            connection.execute(sa.delete(table).where(table.c.grid.in_(list(grids))))
        tables = [table for table in reversed(SCHEMA.sorted_tables) if "run_id" in table.c and table is not TRIALS]
        for part in _parts(found.runs):
            for table in tables:
                connection.execute(sa.delete(table).where(table.c.run_id.in_(part)))
    failpoint("remove.files")
    finish(store)
    return found


def finish(store: Store) -> list[str]:
    """Remove the files that an earlier removal, killed or not, has listed; the names that it was given."""
    with store.database.read() as connection:
        if not _listed(connection)["names"]:
            return []
    with store.database.write() as connection:
        store.database.alone(connection)
        listed = _listed(connection)
        used = _used(connection, listed["paths"])
        for path in listed["paths"]:
            place = _inside(store.folder, path)
            if path not in used and place is not None:
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
                failpoint("remove.file")
        connection.execute(sa.delete(META).where(META.c.key == LISTED))
    return list(listed["names"])


def archive(store: Store, grids: Collection[str], runs: Collection[str]) -> None:
    """Leave these grids, and these runs in every grid, out of all lists and tables; nothing is removed.

    A worker finishes the cell at hand and takes no other of theirs.

    Raises:
        StoreError: one is not in the store any more; nothing is changed.
    """
    with store.database.write() as connection:
        store.database.alone(connection)
        for column, names in ((CELLS.c.grid, grids), (RUNS.c.run_id, runs)):
            for name in names:
                if connection.execute(sa.select(column).where(column == name).limit(1)).first() is None:
                    raise StoreError(f"{name} was removed meanwhile; nothing was archived, try again")
        for key in _keys(grids, runs):
            row = {"key": key, "value": now()}
            connection.execute(insert(connection, META).values(row).on_conflict_do_nothing())


def restore(store: Store, grids: Collection[str], runs: Collection[str]) -> None:
    """Undo `archive`; what is not archived stays as it is."""
    with store.database.write() as connection:
        store.database.alone(connection)
        for key in _keys(grids, runs):
            connection.execute(sa.delete(META).where(META.c.key == key))


def _keys(grids: Collection[str], runs: Collection[str]) -> list[str]:
    """The keys in `meta` of what is archived."""
    return [*(GRID_KEY + escape(grid) for grid in grids), *(RUN_KEY + run_id for run_id in runs)]


def _planned(
    store: Reader, connection: sa.Connection, grids: Collection[str], runs: Collection[str], *, lock: bool = False
) -> Removal:
    cells = [(row.grid, row.run_id) for row in connection.execute(sa.select(CELLS.c.grid, CELLS.c.run_id))]
    trials = {row.run_id: row.grid for row in connection.execute(sa.select(TRIALS.c.grid, TRIALS.c.run_id))
              if row.grid not in grids}  # fmt: skip
    for run_id in runs:
        if run_id in trials:
            raise StoreError(f"run {run_id} is a trial from which {trials[run_id]} was tuned; remove that grid, too")
    _check_unarchived(connection, cells, grids, runs)
    away = set(connection.execute(archive_of(RUN_KEY)).scalars())
    mine = {run_id for grid, run_id in cells if grid in grids}
    others = {run_id for grid, run_id in cells if grid not in grids} | trials.keys()
    gone = sorted((mine - others - away) | set(runs))
    columns = (RUNS.c.run_id, RUNS.c.status, RUNS.c.owner, OVER.label("over"), RUNS.c.config)
    configs, held = {}, {}
    for part in _parts(gone):
        query = sa.select(*columns).where(RUNS.c.run_id.in_(part)).order_by(RUNS.c.run_id)
        for row in connection.execute(query.with_for_update() if lock else query):
            configs[row.run_id] = row.config
            if status_now(row.status, row.owner, row.over) == "running":
                held[row.run_id] = str(row.owner)
    policies = {f"{POLICIES}/{found}" for config in configs.values() if (found := _train_id(config)) is not None}
    policies -= _used(connection, policies, configs)
    paths = [*(f"rollouts/{run}.parquet" for run in gone), *(f"checkpoints/{run}" for run in gone), *sorted(policies)]
    there = {path: place for path in paths if (place := _inside(store.folder, path)) is not None and place.exists()}
    files = [file for place in there.values() for file in (place.rglob("*") if place.is_dir() else [place])]
    files = [file for file in files if file.is_file()]
    return Removal(
        cells=sum(grid in grids or run_id in configs for grid, run_id in cells),
        runs=tuple(configs),
        shared=len(mine & others - set(runs)),
        archived=len((mine & away) - others),
        policies=sum(path in there for path in policies),
        paths=tuple(there),
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
        held=held,
    )


def _check_unarchived(
    connection: sa.Connection, cells: Iterable[tuple[str, str]], grids: Collection[str], runs: Collection[str]
) -> None:
    """Refuse to remove what is archived: nothing of it is to be lost."""
    away = set(map(unescape, connection.execute(archive_of(GRID_KEY)).scalars()))
    kept = set(connection.execute(archive_of(RUN_KEY)).scalars())
    here = [*(grid for grid in grids if grid in away), *(run for run in runs if run in kept)]
    here += [grid for grid, run_id in cells if run_id in runs and grid in away]
    if here:
        name = here[0]
        raise StoreError(
            f"{name} is archived, so that nothing of it is removed; `harness restore {shlex.quote(name)}` first"
        )


def _used(connection: sa.Connection, paths: Iterable[str], without: Collection[str] = ()) -> set[str]:
    """The paths that a run of the store uses, `without` these runs; a configuration of another version uses all."""
    wanted = set(paths)
    rows = connection.execute(sa.select(RUNS.c.run_id, RUNS.c.config)).all()
    rows = [row for row in rows if row.run_id not in without]
    used = {path for row in rows for path in (f"rollouts/{row.run_id}.parquet", f"checkpoints/{row.run_id}")}
    used |= {row.path for row in connection.execute(sa.select(ROLLOUTS.c.run_id, ROLLOUTS.c.path))
             if row.run_id not in without}  # fmt: skip
    policies = {path for path in wanted if path.startswith(f"{POLICIES}/")}
    for row in rows if policies else ():
        found = _train_id(row.config)
        used |= policies if found is None else {f"{POLICIES}/{found}"}
    return wanted & used


def _train_id(config: Any) -> str | None:
    """The id of a run's trained policy; None where this version cannot read its configuration."""
    try:
        return RunConfig.model_validate(config).train_id
    except ValidationError:
        return None


def _listed(connection: sa.Connection) -> dict[str, list[str]]:
    text = connection.execute(sa.select(META.c.value).where(META.c.key == LISTED)).scalar()
    found: dict[str, list[str]] = {"names": [], "paths": []} if text is None else from_json(text)
    return found


def _inside(folder: Path, path: str) -> Path | None:
    """A path of the store's folder; None for one that leads out of it."""
    place = folder / path
    return place if place.parent.resolve().is_relative_to(folder.resolve()) and ".." not in place.parts else None


def _parts(runs: Collection[str]) -> list[list[str]]:
    ids = list(runs)
    return [ids[i : i + _PART] for i in range(0, len(ids), _PART)]
