"""Removed grids and runs take their files along, leave what others use, and are never half removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from stored import ME, RESULTS, add, config
from typer.testing import CliRunner

from harness.cli.app import app
from harness.config.run import RunConfig
from harness.errors import StoreError
from harness.records.trial import Trial
from harness.runner.options import RunnerOptions
from harness.runner.supervisor import supervise
from harness.storage.queue import LostClaim
from harness.storage.removal import finish, planned, remove
from harness.storage.store import Store


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


KILLS = {
    "commit.before": "nothing is gone",
    "commit.after": "the rows are gone, the files are not",
    "remove.files": "the rows are gone, the files are not",
    "remove.file": "the first file is gone, too",
}


@pytest.fixture(scope="module")
def kill(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Store, str, str], None]:
    """`kill(store, point, name)`: a process that removes `name` is killed as by kill -9 where it reaches the point."""

    def killed(store: Store, point: str, name: str) -> None:
        points = tmp_path_factory.mktemp("points")
        (points / point).write_text("kill")
        command = [sys.executable, "-m", "harness", "rm", name, "--yes", "--store", store.url]
        done = subprocess.run(command, env={**os.environ, "HARNESS_FAILPOINTS": str(points)}, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr

    return killed


@pytest.mark.parametrize("point", KILLS)
def test_a_removal_that_is_killed_is_whole_or_finished_by_the_same_command(
    store: Store, kill: Callable[[Store, str, str], None], point: str
) -> None:
    """Two runs with a policy each, four paths; the run is named by the beginning of its id."""
    first, second = add(store, config(0), "a"), add(store, config(1), "a")
    kill(store, point, first[:10])
    if point == "commit.before":
        assert (len(files(store)), len(store.runs())) == (4, 2)
    else:
        assert (len(files(store)), list(store.runs()["run_id"])) == (3 if point == "remove.file" else 4, [second])
    shell = CliRunner().invoke(app, ["rm", first[:10], "--yes", "--store", store.url])
    assert shell.exit_code == 0, shell.output
    assert len(files(store)) == 2
    assert list(store.runs()["run_id"]) == [second]
    assert not store.database.integrity_errors(thorough=True)
    assert finish(store) == []


def test_the_next_worker_finishes_a_removal_that_was_killed(
    store: Store, kill: Callable[[Store, str, str], None]
) -> None:
    """One of the two runs is asked for again by then: its rollouts and its policy stay, to be used again."""
    add(store, config(0), "a")
    add(store, config(1), "a")
    kill(store, "remove.file", "a")
    add(store, config(1), "b")
    assert list(supervise(store, RunnerOptions(), [], lambda: True)) == []
    assert files(store) == {f"rollouts/{config(1).run_id}.parquet", f"policies/{config(1).train_id}/policy.json"}
    assert finish(store) == []
