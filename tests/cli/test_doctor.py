"""The doctor on whole and damaged stores, and on machines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from stored import ME, RESULTS, config, running, step

from harness.cli.doctor import Finding, examine, machine
from harness.errors import StoreError
from harness.records.events import SavedCheckpoint
from harness.storage import engines
from harness.storage.store import Store
from harness.system import sqlite


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A finished run with a rollouts file, and a running one with a checkpoint."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        done = running(opened)
        opened.log(done, ME, [step(1)])
        opened.finish(done, ME, **RESULTS)
        claimed = running(opened, 1)
        content = b"state"
        path = f"checkpoints/{claimed}/1-1.safetensors"
        (opened.folder / path).parent.mkdir(parents=True)
        (opened.folder / path).write_bytes(content)
        opened.log(claimed, ME, [step(1)], SavedCheckpoint(1, path, hashlib.sha256(content).hexdigest(), 1))
        yield opened


def findings(store: Store, *, deep: bool = True) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(store.url, deep=deep)}


def files(store: Store) -> dict[Path, bytes]:
    """Every file but the index of the WAL, where SQLite notes its readers."""
    found = [path for path in store.folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in found if not path.name.endswith("-shm")}


def test_a_whole_store_is_well_and_left_as_it_is(store: Store) -> None:
    before = files(store)
    found = findings(store)
    assert {name for name, one in found.items() if one.state == "problem"} == set()
    assert found["rows"].found == "2 runs can be read"
    assert found["checkpoints"].found == "1 files unchanged"
    assert found["cells"].found.startswith("2 cells, 1 done, 0 failed, 1 running, 0 pending; workers on ")
    assert files(store) == before
    assert findings(store, deep=False)["checkpoints"].found == "1 files there"


def test_changed_and_missing_files_are_named(store: Store) -> None:
    """A flipped bit is seen by the deep look alone; a missing file by both; each says what it costs."""
    (rollouts,) = (store.folder / "rollouts").iterdir()
    (checkpoint,) = (store.folder / "checkpoints").rglob("*.safetensors")
    content = bytearray(rollouts.read_bytes())
    content[40] ^= 1
    rollouts.write_bytes(content)
    checkpoint.unlink()
    quick, deep = findings(store, deep=False), findings(store)
    assert (quick["rollouts"].state, deep["rollouts"].state) == ("ok", "problem")
    assert f"{rollouts.name} (changed)" in deep["rollouts"].found
    assert (quick["checkpoints"].state, deep["checkpoints"].state) == ("warning", "warning")
    assert "1-1.safetensors (missing)" in quick["checkpoints"].found
    assert "goes on from the one before it" in quick["checkpoints"].advice


def test_damaged_rows_are_named(store: Store) -> None:
    """A configuration that is another run's, a curve that ends early, and JSON that is none."""
    with sqlite.driver.connect(store.path) as connection:
        connection.execute("UPDATE runs SET config = replace(config, '\"lr\":0.001', '\"lr\":0.002') WHERE step = 1")
        connection.execute("UPDATE runs SET step = 7 WHERE status = 'done'")
    rows = findings(store)["rows"]
    assert rows.state == "problem"
    assert "its configuration has another hash" in rows.found
    with sqlite.driver.connect(store.path) as connection:
        connection.execute("UPDATE curves SET terms = '{'")
    assert "is not JSON" in findings(store)["rows"].found


def test_a_zeroed_page_is_named(store: Store, tmp_path: Path) -> None:
    for seed in range(2, 40):
        store.enqueue("g", [config(seed)])
    store.close()
    damaged = bytearray(store.path.read_bytes())
    damaged[4096:8192] = bytes(4096)
    (tmp_path / "damaged.db").write_bytes(damaged)
    found = {one.what: one for one in examine(f"sqlite:///{tmp_path}/damaged.db", deep=True)}
    problems = [one for one in found.values() if one.state == "problem"]
    assert problems
    assert all(one.advice for one in problems)


def test_what_killed_processes_left_is_named_when_it_is_old(store: Store) -> None:
    left = store.folder / "cache" / "bases" / ".writing-abc"
    left.mkdir(parents=True)
    assert "unfinished files" not in findings(store)
    os.utime(left, (0, 0))
    assert ".writing-abc" in findings(store)["unfinished files"].found


def test_kept_features_have_a_size_and_may_go(store: Store) -> None:
    """Two files of 100 bytes, with or without a database beside them; an unfinished one is no feature."""
    assert "features" not in findings(store)
    folder = store.folder / "cache" / "features"
    folder.mkdir(parents=True)
    for name in ("a.npy", "b.npy", ".writing-c"):
        (folder / name).write_bytes(bytes(100))
    os.utime(folder / ".writing-c", (0, 0))
    found = findings(store)
    assert found["features"].state == "ok"
    assert f"2 files, 200 bytes in {folder}; remove the folder" in found["features"].found
    assert ".writing-c" in found["unfinished files"].found
    (alone := store.folder / "alone").mkdir()
    (store.folder / "cache").rename(alone / "cache")
    assert "200 bytes" in {one.what: one.found for one in examine(f"sqlite:///{alone}/runs.db")}["features"]


def test_a_file_that_is_finished_meanwhile_is_no_problem(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker renames its `.partial` between the doctor's look into the folder and its look at the file."""
    partial = store.folder / "rollouts" / "x.partial"
    partial.touch()
    os.utime(partial, (0, 0))
    look = Path.glob

    def slow(folder: Path, pattern: str) -> list[Path]:
        found = list(look(folder, pattern))
        partial.unlink(missing_ok=True)
        return found

    assert "x.partial" in findings(store)["unfinished files"].found
    monkeypatch.setattr(Path, "glob", slow)
    found = findings(store)
    assert "unfinished files" not in found
    assert {name for name, one in found.items() if one.state == "problem"} == set()


def test_runs_that_went_on_with_other_threads_are_named(store: Store) -> None:
    store.finish(
        store.runs(status="running")["run_id"][0], ME, **{**RESULTS, "provenance": {"training_threads": [1, 2]}}
    )
    assert "1 runs went on with another number of threads" in findings(store)["threads of runs"].found


def test_an_old_sqlite_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(one for one in machine() if one.what == "sqlite").state == ("ok" if sqlite.is_safe() else "warning")
    monkeypatch.setattr(sqlite, "version", lambda: "3.40.1")
    old = next(one for one in machine() if one.what == "sqlite")
    assert old.state == "warning"
    assert "pip install pysqlite3" in old.advice


def test_a_network_file_system_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is said to be mounted by NFS: SQLite does not lock there."""
    mounts = [psutil.disk_partitions(all=True)[0]._replace(mountpoint=str(store.folder), fstype="nfs4")]
    monkeypatch.setattr(engines.psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(StoreError, match=r"is on nfs4 .*postgresql://"):
        Store(store.url)
    assert findings(store)["store"].state == "problem"


def test_a_disk_without_room_is_a_problem(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = psutil.disk_usage(str(store.folder))
    monkeypatch.setattr("harness.cli.doctor.shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    assert findings(store)["room"].found.startswith("1 MB left")
