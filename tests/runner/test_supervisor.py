"""Outcomes of cells whose process crashes, stalls, takes too long, fails, or is asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.config.run import RunConfig
from harness.errors import EnvironmentProblem, StoreError
from harness.plugins.options import resolve
from harness.records.progress import Progress
from harness.registry import include
from harness.runner.options import RunnerOptions, error_pattern
from harness.runner.supervisor import FailedAlike, crashes_in_a_row, supervise
from harness.runs.fingerprint import content
from harness.storage.store import Store
from harness.system import sqlite

PLUGIN = """
import os, resource, signal, time
from pathlib import Path
from dataclasses import dataclass
from harness.plugins import Loss, Needs
from harness.registry import TRAINERS


@TRAINERS.register("troubled")
@dataclass(frozen=True)
class Troubled:
    \"\"\"Maximum likelihood that gets into trouble halfway.\"\"\"

    trouble: str = "none"
    full: str = ""
    needs = Needs()

    def loss(self, evaluate, expert, rollouts, moment):
        if moment.progress >= 0.5:
            if self.trouble == "dies":
                print(*(f"line {n}" for n in range(60)), sep="\\n", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if self.trouble == "hangs":
                time.sleep(600)
            if self.trouble == "fails":
                raise ArithmeticError(f"seed {moment.generator.initial_seed()} is not to my taste")
        full = bool(self.full) and Path(self.full).exists()  # as a disk that has room for 1,000 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if full else resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        time.sleep(0.01 if self.trouble == "slow" else 0)
        return Loss(-(evaluate(expert).log_prob * expert.weight).sum(-1).mean())
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "troubled.py"
    path.write_text(PLUGIN)
    include(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def cells(trouble: str, seeds: int = 1, steps: int = 30, full: Path | None = None) -> list[RunConfig]:
    return [
        resolve(
            RunConfig(
                benchmark={"name": "language", "length": 6, "train": 64, "validation": 8, "test": 8},
                trainer={"name": "troubled", "trouble": trouble, "full": str(full or "")},
                model={"layers": 1, "width": 8, "heads": 2, "tokenizer": "characters", "context": 8, "base_steps": 0},
                training={"steps": steps, "rows": 2},
                sampling={"rollouts": 4},
                metrics=["actions"],
                seeds={"train": seed},
            )
        )
        for seed in range(seeds)
    ]


def run(
    store: Store, grid: list[RunConfig], plugin: Path, stopping: Callable[[], bool] = lambda: False, **options: Any
) -> list[Progress]:
    store.enqueue("g", grid)
    return list(supervise(store, RunnerOptions(threads=1, include=(str(plugin),), **options), grid, stopping))


def outcomes(store: Store) -> list[str]:
    return list(store.attempts()["outcome"])


def test_a_cell_whose_process_crashes_is_tried_again_and_then_failed(store: Store, plugin: Path) -> None:
    """Three crashes by signal 9; of the 60 lines that it printed each time the last 50 are kept: 10 to 59."""
    events = run(store, cells("dies"), plugin, crashes=3)
    assert [event.stage for event in events if event.stage in ("waiting", "failed")] == ["waiting", "waiting", "failed"]
    assert outcomes(store) == ["crashed"] * 3
    last = store.attempts().iloc[-1]
    assert "signal 9 (Killed); out of memory?" in last["error"]
    assert last["output"].splitlines() == [f"line {n}" for n in range(10, 60)]
    assert store.runs()["status"].tolist() == ["failed"]


def test_a_cell_outlives_the_fork_server_of_its_process(store: Store, plugin: Path) -> None:
    """Only the exit codes of its children are lost with the server: the cell is done in its first attempt."""
    grid = cells("slow", steps=100)
    store.enqueue("g", grid)
    for event in supervise(store, RunnerOptions(threads=1, include=(str(plugin),)), grid, lambda: False):
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if event.stage == "train" and event.fraction < 0.5 and psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    assert outcomes(store) == ["done"]


def test_a_stalled_cell_is_ended_and_tried_again(store: Store, plugin: Path) -> None:
    run(store, cells("hangs"), plugin, stall_after=1.5, crashes=2)
    assert outcomes(store) == ["stalled", "stalled"]
    assert "sent no message for 2 s (--stall-after)" in store.runs()["error"][0]


def test_a_cell_may_take_only_so_long(store: Store, plugin: Path) -> None:
    run(store, cells("hangs"), plugin, timeout=1.5)
    assert outcomes(store) == ["failed"]
    assert "(--timeout)" in store.runs()["error"][0]


def test_three_failures_of_one_kind_end_it_unless_asked_to_keep_going(store: Store, plugin: Path) -> None:
    """Five cells fail with messages that differ in a number: after three it stops; with `keep_going` all are run."""
    grid = cells("fails", seeds=5)
    with pytest.raises(FailedAlike, match=r"the first 3 cells failed alike: ArithmeticError.*\n.*--keep-going"):
        run(store, grid, plugin)
    assert store.counts()["failed"] == 3
    assert "Traceback" in store.attempts()["error"][0]
    run(store, grid, plugin, keep_going=True)
    assert store.counts()["failed"] == 5
    assert store.retry([config.run_id for config in grid]) == 5
    with pytest.raises(FailedAlike, match="--fail-fast"):
        run(store, grid, plugin, keep_going=False)
    assert store.counts() == {"cells": 5, "done": 0, "failed": 1, "running": 0, "pending": 4}


def test_errors_are_alike_when_they_differ_in_numbers() -> None:
    assert error_pattern("x\nloss is nan after 12 steps") == error_pattern("y\nloss is nan after 7 steps")
    assert error_pattern("run 0123456789abcdef: -1e-5") == error_pattern("run fedcba9876543210: 2.5")
    assert error_pattern("no such file") != error_pattern("no such folder")


LONG = 300  # steps of 10 ms, of which two checkpoints take a part even where saving is slow


def stopped_halfway(store: Store, grid: list[RunConfig], plugin: Path) -> None:
    """Run until the first cell has two checkpoints, then ask to stop."""
    store.enqueue("g", grid)
    options = RunnerOptions(threads=1, include=(str(plugin),), checkpoint_every=0.05)
    list(supervise(store, options, grid, lambda: len(store.checkpoints(grid[0].run_id)) == 2))


@pytest.fixture(scope="module")
def uninterrupted(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content of a store in which a slow cell was left alone."""
    with Store(f"sqlite:///{tmp_path_factory.mktemp('alone')}/runs.db") as alone:
        run(alone, cells("slow", steps=LONG), plugin)
        assert outcomes(alone) == ["done"]
        return content(alone)


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_stopped_and_damaged_it_goes_on_from_what_is_whole(
    store: Store, plugin: Path, uninterrupted: str, damaged: int
) -> None:
    """None, the newest, or both of two checkpoints have one bit flipped: it goes on from the newest, the older, 0."""
    grid = cells("slow", steps=LONG)
    stopped_halfway(store, grid, plugin)
    newest, older = store.checkpoints(grid[0].run_id)
    assert 0 < older.step < newest.step < LONG
    assert store.runs()["status"].tolist() == ["pending"]
    assert store.curves(grid[0].run_id)["step"].max() <= newest.step
    for saved in (newest, older)[:damaged]:
        file = store.folder / saved.path
        content_ = bytearray(file.read_bytes())
        content_[-20] ^= 1
        file.write_bytes(content_)
    events = run(store, grid, plugin)
    assert outcomes(store) == ["released", "done"]
    assert store.attempts()["from_step"].tolist() == [0, (newest.step, older.step, 0)[damaged]]
    assert sum("is damaged or missing" in event.message for event in events) == damaged
    assert content(store) == uninterrupted
    assert list((store.folder / "checkpoints").iterdir()) == []


def test_a_supervisor_that_lost_its_lease_drops_the_cell(store: Store, plugin: Path, uninterrupted: str) -> None:
    """Its lease ends and another owner claims the cell and loses it at once: it is claimed again, and done."""
    grid = cells("slow", steps=LONG)
    store.enqueue("g", grid)
    options = RunnerOptions(threads=1, include=(str(plugin),), checkpoint_every=0.05)
    taken = None
    with Store(store.url, lease=-1.0) as other:  # a lease that is over as it begins
        for event in supervise(store, options, grid, lambda: False):
            if taken is None and event.stage == "train" and event.fraction > 0.3:
                other.heartbeat(grid[0].run_id, str(store.runs()["owner"][0]))
                taken = other.claim_next("elsewhere:1:1")
                assert taken is not None
    assert outcomes(store) == ["lost", "lost", "done"]
    assert content(store) == uninterrupted


def test_without_room_for_a_checkpoint_the_cell_waits(store: Store, plugin: Path, tmp_path: Path) -> None:
    """The disk fills up after two checkpoints: those stay, and with room again the cell goes on from the newer one."""
    full = tmp_path / "full"
    grid = cells("slow", steps=LONG, full=full)
    stopped_halfway(store, grid, plugin)
    kept = store.checkpoints(grid[0].run_id)
    full.touch()
    with pytest.raises(EnvironmentProblem, match=r"File too large.*a checkpoint of this run takes 0.0 MB: make room"):
        run(store, grid, plugin, checkpoint_every=0.05)
    assert store.runs()["status"].tolist() == ["pending"]
    assert store.checkpoints(grid[0].run_id) == kept
    full.unlink()
    run(store, grid, plugin)
    assert outcomes(store) == ["released", "released", "done"]
    assert store.attempts()["from_step"].tolist() == [0, kept[0].step, kept[0].step]


def test_without_room_for_the_trained_policy_the_cell_waits(store: Store, plugin: Path, tmp_path: Path) -> None:
    """The disk is full when training ends: nothing is failed, and with room again the same command finishes."""
    full = tmp_path / "full"
    full.touch()
    grid = cells("none", full=full)
    with pytest.raises(EnvironmentProblem, match=r"a trained policy cannot be written .*\(os error 27\); make room"):
        run(store, grid, plugin, checkpoint_every=600.0)
    assert store.runs()["status"].tolist() == ["pending"]
    assert not list((store.folder / "policies").iterdir())
    full.unlink()
    run(store, grid, plugin)
    assert outcomes(store) == ["released", "done"]


def test_sqlite_serves_one_host(store: Store, plugin: Path) -> None:
    grid = cells("none", seeds=2)
    store.enqueue("g", grid)
    assert store.claim(grid[0].run_id, "elsewhere:1:1")
    with pytest.raises(StoreError, match=r"in use on elsewhere: SQLite serves one host.*postgresql"):
        run(store, grid, plugin)


def test_crashes_in_a_row_count_on_any_machine() -> None:
    """Two crashes and a loss make three; one that got further, was released or was retried by hand begins anew."""

    def counted(*ended: tuple[str, int], begins: int = 0) -> int:
        attempts = [*ended, ("running", begins)]
        rows = [{"attempt": n, "outcome": out, "from_step": step} for n, (out, step) in enumerate(attempts, start=1)]
        return crashes_in_a_row(rows[::-1], 3)

    assert counted() == 0
    assert counted(("crashed", 0), ("stalled", 0), ("lost", 0)) == 3
    assert counted(("lost", 0), ("lost", 50), begins=90) == 0
    assert counted(("lost", 0), ("lost", 50), begins=50) == 1
    assert counted(("crashed", 0), ("crashed", 0), ("released", 0), ("crashed", 0)) == 1
    assert counted(*[("crashed", 0)] * 3) == 0  # failed by the third, and retried by hand since
    assert counted(*[("crashed", 0)] * 4) == 1


def test_a_cell_whose_worker_was_lost_three_times_has_failed(store: Store, plugin: Path) -> None:
    """Three workers of other hosts claim it and lose their leases; retried by hand, it has three new attempts."""
    grid = cells("none")
    store.enqueue("g", grid)
    with Store(store.url, lease=-1.0) as other:
        assert all(other.claim_next(f"elsewhere{n}:1:1") for n in range(3))
    events = run(store, grid, plugin)
    assert [event.stage for event in events] == ["failed"]
    assert "its last 3 attempts ended with their workers; `harness retry" in store.runs()["error"][0]
    store.retry([grid[0].run_id])
    run(store, grid, plugin)
    assert outcomes(store) == ["lost", "lost", "lost", "failed", "done"]


def test_crashes_count_from_one_worker_to_the_next(store: Store, plugin: Path) -> None:
    """The first worker stops after the first crash; the next one's first crash is the cell's second and last."""
    grid = cells("dies")
    run(store, grid, plugin, lambda: "crashed" in outcomes(store), crashes=2)
    assert store.counts()["pending"] == 1
    run(store, grid, plugin, crashes=2)
    assert outcomes(store) == ["crashed", "crashed"]
    assert store.counts()["failed"] == 1


def test_a_cell_of_another_version_stays_free(store: Store, plugin: Path) -> None:
    store.enqueue("g", cells("none"))
    with sqlite.driver.connect(store.path) as connection:
        connection.execute('UPDATE runs SET config = \'{"from": "the future"}\'')
    with pytest.raises(StoreError, match=r"(?s)not one of this version's.*the cell is free"):
        list(supervise(store, RunnerOptions(threads=1), None, lambda: False))
    assert store.counts()["pending"] == 1
    assert outcomes(store) == ["released"]


class Unwell(Store):
    """A slow store that refuses the first writes of each kind (`only` of one run)."""

    def __init__(self, url: str, refusals: int = 0, pause: float = 0.0, only: str = "", lease: float = 60.0) -> None:
        super().__init__(url, lease=lease)
        self.refusals, self.pause, self.only = refusals, pause, only
        self.tried: Counter[str] = Counter()

    def _try(self, kind: str, run_id: str) -> None:
        time.sleep(self.pause)
        self.tried[kind] += 1
        if self.tried[kind] <= self.refusals and self.only in ("", run_id):
            raise StoreError("the server is starting up")

    def log(self, run_id: str, *args: Any, **named: Any) -> None:
        self._try("log", run_id)
        super().log(run_id, *args, **named)

    def heartbeat(self, run_id: str, owner: str) -> None:
        self._try("heartbeat", run_id)
        super().heartbeat(run_id, owner)

    def finish(self, run_id: str, *args: Any, **named: Any) -> None:
        self._try("finish", run_id)
        super().finish(run_id, *args, **named)

    def fail(self, run_id: str, *args: Any, **named: Any) -> None:
        self._try("fail", run_id)
        super().fail(run_id, *args, **named)


def test_what_a_store_refuses_is_written_when_it_is_back(store: Store, plugin: Path, uninterrupted: str) -> None:
    with Unwell(store.url, refusals=2) as unwell:
        events = run(unwell, cells("slow", steps=LONG), plugin, checkpoint_every=0.05)
        assert outcomes(store) == ["done"]
        assert content(store) == uninterrupted
        assert any("for the store: the server is starting up" in event.message for event in events)
        run(unwell, cells("dies", steps=20), plugin, crashes=1)  # its process is gone when the store is back
        assert outcomes(store) == ["done", "crashed"]


def test_a_store_that_stays_away_for_a_lease_ends_the_worker(store: Store, plugin: Path) -> None:
    with Unwell(store.url, refusals=10**6, lease=1.0) as unwell, pytest.raises(StoreError, match="starting up"):
        run(unwell, cells("slow", steps=100), plugin, grace=1.0)


def test_one_cell_that_cannot_be_saved_does_not_keep_the_others_from_it(store: Store, plugin: Path) -> None:
    """Asked to stop with two cells at hand, of which the store refuses the first."""
    grid = cells("slow", seeds=2, steps=2000)
    with Unwell(store.url, only=grid[0].run_id) as unwell:

        def stopping() -> bool:
            if (store.runs(status="running")["step"] > 0).sum() == 2:
                unwell.refusals = 10**6
            return unwell.refusals > 0

        run(unwell, grid, plugin, stopping, workers=2, grace=5.0)
    assert [len(store.checkpoints(config.run_id)) for config in grid] == [0, 1]
    assert store.counts()["pending"] == 2


@pytest.mark.parametrize(("rule", "outcome"), [("stall_after", "stalled"), ("timeout", "failed")])
def test_a_slow_database_excuses_no_stall_for_ever(store: Store, plugin: Path, rule: str, outcome: str) -> None:
    """Each heartbeat takes 1.1 s, and there is one in each round: the supervisor is blocked most of the time."""
    over = time.monotonic() + 25
    with Unwell(store.url, pause=1.1, lease=0.4) as unwell:
        run(unwell, cells("hangs"), plugin, lambda: time.monotonic() > over, crashes=1, **{rule: 3.0})
    assert time.monotonic() < over, "only the end of it all ended it"
    assert outcomes(store) == [outcome]


def test_a_worker_for_a_grid_sees_the_cells_that_come_later(store: Store, plugin: Path) -> None:
    first, second, foreign = cells("none", seeds=3)
    store.enqueue("other", [foreign])
    store.enqueue("g", [first])
    options, over = RunnerOptions(threads=1, include=(str(plugin),), forever=True), time.monotonic() + 60

    def stopping() -> bool:
        return store.counts("g")["done"] == 2 or time.monotonic() > over

    for event in supervise(store, options, None, stopping, grid="g"):
        if event.stage == "done":
            store.enqueue("g", [first, second])
    assert store.counts("g")["done"] == 2
    assert store.counts("other")["pending"] == 1
