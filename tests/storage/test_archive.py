"""Archived grids and runs are left out of every reading, taken by no worker, and come back whole."""

from __future__ import annotations

import pandas as pd
import pytest
from stored import ME, add, config

from harness.errors import Archived, StoreError
from harness.report.exports import frame
from harness.report.leaderboard import leaderboard
from harness.storage.queries import (
    find_run,
    read_facts,
    read_grids,
    read_names,
    read_names_by_data,
    read_profile_names,
    read_runs,
    read_timings,
    read_values,
)
from harness.storage.removal import archive, planned, remove, restore
from harness.storage.store import Store


@pytest.fixture
def filled(store: Store) -> Store:
    """a: runs 0, 1, 2; b: runs 2, 3; run 4 is pending, in both."""
    for seed, grids in ((0, "a"), (1, "a"), (2, "ab"), (3, "b")):
        add(store, config(seed), *grids)
    for grid in "ab":
        store.enqueue(grid, [config(4)])
    return store


def ids(*seeds: int) -> set[str]:
    return {config(seed).run_id for seed in seeds}


def seen(store: Store, grid: str | None) -> list[set[str]]:
    """The runs in each kind of reading, finished ones where the reading has no others."""
    (scored,) = read_values(store, grid, [score.name for score in read_names(store, grid)] or ["-"]).values() or ({},)
    return [
        *(set(store.runs(grid)["run_id"]), set(store.configs(grid)), {run.run_id for run in read_runs(store, grid)}),
        *(set(frame(store, what, grid)["run_id"]) for what in ("runs", "scores")),
        {one.run_id for one in read_timings(store, grid, ["done", "pending"])},
        set(read_facts(store, grid, ["data_hash"])),
        set(scored),
    ]


def shows(store: Store, grid: str | None, *seeds: int) -> bool:
    done = ids(*(seed for seed in seeds if seed != 4))
    return seen(store, grid) == [ids(*seeds)] * 4 + [done] + [ids(*seeds)] + [done] * 2


def test_a_grid_takes_the_runs_along_that_no_other_has(filled: Store) -> None:
    """Without a: 2, 3 and 4 of b; without both, nothing."""
    whole = filled.runs()
    archive(filled, ["a"], [])
    assert shows(filled, None, 2, 3, 4)
    assert shows(filled, "b", 2, 3, 4)
    assert shows(filled, "a")
    assert filled.grids() == read_grids(filled) == ["b"]
    assert filled.counts()["cells"] == 3
    assert filled.counts("a")["cells"] == filled.controls("a") == 0
    archive(filled, ["b"], [])
    assert shows(filled, None)
    assert read_names_by_data(filled) == read_profile_names(filled) == {}
    assert set(filled.runs(archived=True)["run_id"]) == ids(0, 1, 2, 3, 4)
    restore(filled, ["a", "b"], [])
    pd.testing.assert_frame_equal(filled.runs(), whole)
    assert len(filled.stored_files()) == 4


def test_a_run_is_left_out_of_every_grid(filled: Store) -> None:
    archive(filled, [], [config(2).run_id])
    assert shows(filled, None, 0, 1, 3, 4)
    assert shows(filled, "a", 0, 1, 4)
    assert shows(filled, "b", 3, 4)
    assert set(filled.runs("b", archived=True)["run_id"]) == ids(2)
    assert set(filled.runs("b", archived=None)["run_id"]) == ids(2, 3, 4)
    (row,) = leaderboard(filled, grid="a").tables[0].rows
    assert row.n == 2


@pytest.mark.parametrize("name", ["a b%_", "x@lr=0.001,steps=3", "\ud800\x00", "Ünï:run:"])
def test_any_name_can_be_archived(store: Store, name: str) -> None:
    """Names that begin alike, or differ in case, stay."""
    for grid in (name, f"{name}-trials", name.swapcase() + "."):
        store.enqueue(grid, [config(0)])
    archive(store, [name], [])
    assert store.archived_grids() == [name]
    assert store.grids() == sorted([f"{name}-trials", name.swapcase() + "."])
    restore(store, [name], [])
    assert len(store.grids()) == 3


def test_a_worker_takes_no_archived_run_and_finishes_the_one_at_hand(store: Store) -> None:
    """Of runs 0 and 1, the first is being computed as the grid is archived: it is finished, the other left."""
    store.enqueue("a", [config(0), config(1)])
    claim = store.claim_next(ME)
    assert claim is not None
    archive(store, ["a"], [])
    assert store.claim_next(ME) is None
    assert store.claim_next(ME, sorted(ids(0, 1))) is None
    assert store.unfinished() == store.unfinished(sorted(ids(0, 1))) == {}
    store.heartbeat(claim.run_id, claim.owner)
    store.release(claim.run_id, claim.owner)
    assert store.claim_next(ME) is None
    restore(store, ["a"], [])
    assert (again := store.claim_next(ME)) is not None
    assert again.run_id == claim.run_id


def test_what_is_archived_is_not_removed(filled: Store) -> None:
    """rm b leaves run 3, archived, and 2 and 4, which the archived a has."""
    archive(filled, ["a"], [config(3).run_id])
    for grids, runs, what in ((["a"], [], "a"), ([], ids(3), config(3).run_id), ([], ids(2), "a")):
        with pytest.raises(StoreError, match=f"^{what} is archived.*harness restore {what}"):
            remove(filled, grids, runs)
    found = planned(filled, ["b"], [])
    assert (found.runs, found.shared, found.archived) == ((), 2, 1)
    remove(filled, ["b"], [])
    restore(filled, ["a"], [config(3).run_id])
    assert shows(filled, None, 0, 1, 2, 3, 4)


def test_an_archived_run_is_named_with_what_brings_it_back(filled: Store) -> None:
    archive(filled, ["a"], [config(3).run_id])
    with pytest.raises(Archived, match="is archived with grid a; `harness restore a` brings"):
        find_run(filled, config(0).run_id[:9])
    with pytest.raises(Archived, match=f"is archived; `harness restore {config(3).run_id}` brings"):
        find_run(filled, config(3).run_id[:9])
    with pytest.raises(Archived, match="grid a is archived; `harness restore a` brings"):
        leaderboard(filled, grid="a")


def test_a_store_that_is_only_read_and_a_name_that_is_gone_change_nothing(filled: Store) -> None:
    with Store.open(filled.url, read_only=True) as reading, pytest.raises(StoreError, match="for reading only"):
        archive(reading, ["a"], [])
    for grids, runs in ((["a", "gone"], []), (["a"], ["0" * 16])):
        with pytest.raises(StoreError, match="was removed meanwhile; nothing was archived"):
            archive(filled, grids, runs)
    assert filled.archived_grids() == filled.archived_runs() == []


def test_a_run_that_is_named_is_read_although_it_is_archived(filled: Store) -> None:
    """Else one hash over a whole store would change when something is archived, and checks would read nothing."""
    run_id = config(0).run_id
    before = filled.scores(run_id=run_id)
    assert len(before)
    archive(filled, [], [run_id])
    pd.testing.assert_frame_equal(filled.scores(run_id=run_id), before)
    assert run_id not in set(filled.scores()["run_id"])
