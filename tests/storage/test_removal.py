"""Removed grids and runs take their files along, leave what others use, and are never half removed."""

from __future__ import annotations

import pytest
from stored import ME, RESULTS, config

from harness.config.run import RunConfig
from harness.errors import StoreError
from harness.records.trial import Trial
from harness.storage.queue import LostClaim
from harness.storage.removal import finish, planned, remove
from harness.storage.store import Store


def add(store: Store, run: RunConfig, *grids: str) -> str:
    """A finished run of these grids, with a trained policy."""
    for grid in grids:
        store.enqueue(grid, [run])
    assert store.claim(run.run_id, ME)
    store.finish(run.run_id, ME, **RESULTS)
    folder = store.folder / "policies" / run.train_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.json").write_text("12345")
    return run.run_id


def hot(run: RunConfig) -> RunConfig:
    """The run's policy at another temperature."""
    return run.at_temperature(2.0)


def files(store: Store) -> set[str]:
    found = (
        path for path in store.folder.rglob("*") if path.is_file() and not path.name.startswith(("runs.db", "store"))
    )
    return {path.relative_to(store.folder).as_posix() for path in found}


def test_a_grid_goes_with_its_runs_and_files_and_leaves_what_others_use(store: Store) -> None:
    """a: runs 0, 1, 2; b: run 1, and run 2 at another temperature: run 1, and the policy of 2, stay."""
    first, second, third = config(0), config(1), config(2)
    for run, grids in ((first, "a"), (second, "ab"), (third, "a"), (hot(third), "b")):
        add(store, run, *grids)
    found = planned(store, ["a"], [])
    assert (found.cells, set(found.runs), found.shared, found.policies) == (3, {first.run_id, third.run_id}, 1, 1)
    assert found.files == 3  # two of rollouts, one policy of one file
    assert remove(store, ["a"], []) == found
    assert store.grids() == ["b"]
    assert set(store.runs()["run_id"]) == {second.run_id, hot(third).run_id}
    assert files(store) == {
        *(f"rollouts/{run.run_id}.parquet" for run in (second, hot(third))),
        *(f"policies/{run.train_id}/policy.json" for run in (second, third)),
    }
    assert not len(store.scores(run_id=first.run_id))


def test_a_run_goes_from_every_grid(store: Store) -> None:
    run_id = add(store, config(0), "a", "b")
    assert remove(store, [], [run_id]).cells == 2
    assert store.grids() == []
    assert files(store) == set()


def test_a_run_that_is_computed_or_is_a_trial_stays_whole(store: Store) -> None:
    run, trial = config(0), config(1)
    store.enqueue("a", [run])
    store.claim(run.run_id, ME)
    with pytest.raises(StoreError, match="1 of these runs are being computed by"):
        remove(store, ["a"], [])
    assert store.grids() == ["a"]
    add(store, trial, "a-trials")
    store.record_trials("a-tuned", [Trial("g", 0, trial.run_id, {}, True, "g")])
    with pytest.raises(StoreError, match="is a trial from which a-tuned was tuned"):
        remove(store, [], [trial.run_id])
    assert remove(store, ["a-trials"], []).shared == 1
    assert trial.run_id in set(store.runs()["run_id"])


def test_a_late_worker_of_a_removed_run_is_fenced(store: Store) -> None:
    """Its lease was over, so that the run could be removed."""
    run = config(0)
    store.enqueue("a", [run])
    with Store(store.url, lease=-1.0) as short:
        late = short.claim_next("elsewhere:1:1")
    assert late is not None
    remove(store, ["a"], [])
    for write in (
        lambda: store.heartbeat(run.run_id, late.owner),
        lambda: store.finish(run.run_id, late.owner, **RESULTS),
    ):
        with pytest.raises(LostClaim, match="was removed"):
            write()
    assert files(store) == set()


def test_a_removal_that_was_killed_is_finished_by_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the files go; one of the runs is computed again by then, and keeps its files."""

    def killed(name: str) -> None:
        if name == "remove.files":
            raise KeyboardInterrupt

    add(store, config(0), "a")
    add(store, config(1), "a")
    monkeypatch.setattr("harness.storage.removal.failpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(store, ["a"], [])
    assert len(files(store)) == 4
    add(store, config(1), "a")
    assert finish(store) == ["a"]
    assert files(store) == {f"rollouts/{config(1).run_id}.parquet", f"policies/{config(1).train_id}/policy.json"}
    assert finish(store) == []
