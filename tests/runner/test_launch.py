"""Workers as jobs of submitit: they pull from the store, end when it is empty, and save when their time is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from postgres import server

from harness.config.run import RunConfig
from harness.errors import ConfigError, EnvironmentProblem, StoreError
from harness.plugins.options import resolve
from harness.runner.launch import Work, launch
from harness.storage.store import Store

pytestmark = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed: pip install 'sequencematch-harness[slurm]'"
)


def cells(count: int, steps: int) -> list[RunConfig]:
    return [
        resolve(
            RunConfig(
                benchmark={"name": "language", "length": 6, "train": 64, "validation": 8, "test": 8},
                trainer="mle",
                model={"layers": 1, "width": 8, "heads": 2, "tokenizer": "characters", "context": 8, "base_steps": 0},
                training={"steps": steps, "rows": 2},
                sampling={"rollouts": 4},
                metrics=["actions"],
                seeds={"train": seed, "sample": seed},
            )
        )
        for seed in range(count)
    ]


def wait_until(store: Store, cells: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while store.counts()["done"] < cells:
        assert time.monotonic() < deadline, store.counts()
        time.sleep(0.2)


def test_a_job_finishes_the_store(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        store.enqueue("g", cells(2, 3))
        (job,) = launch(store.url, 1, [], cluster="local", hours=0.5, threads=1)
        from submitit.core.utils import DelayedSubmission

        (submitted,) = (tmp_path / "jobs").glob("*_submitted.pkl")
        arguments = DelayedSubmission.load(submitted).function.arguments
        grace = arguments[arguments.index("--grace") + 1]
        assert grace == "105"  # it is asked to save 120 s before its end
        wait_until(store, 2, 120)
        assert job.isdigit() or "_" in job
        assert list((tmp_path / "jobs").glob("*.out"))


def test_what_cannot_be_launched_is_said_before_anything_starts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with pytest.raises(EnvironmentProblem, match=r"--cluster slurm.*use --cluster local here"):
        launch(url, 1, [], cluster="slurm")
    with pytest.raises(ConfigError, match=r"--set: .*nonsense"):
        launch(url, 1, [], cluster="local", parameters={"nonsense": "1"})
    with pytest.raises(StoreError, match="files="):
        launch("postgresql://host/db", 1, [])


def test_a_job_whose_time_is_over_lets_its_worker_save(tmp_path: Path) -> None:
    """submitit calls `checkpoint`: the worker exits with 75 and its cell is free, with a checkpoint."""
    import threading

    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        store.enqueue("g", cells(1, 3000))
        work = Work(["--store", store.url, "--until-empty", "--threads", "1"])
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(work()))
        thread.start()
        while not (store.runs(status="running")["step"] > 0).any():
            assert thread.is_alive()
            time.sleep(0.1)
        work.checkpoint()
        thread.join()
        assert codes == [75]
        assert store.counts()["pending"] == 1
        assert len(store.checkpoints(store.runs()["run_id"][0])) == 1


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with server(tmp_path / "postgres") as found:
        yield found


@pytest.mark.prove("cells on submitit, 5 of 8 workers killed", cases=40, seconds=44, alone=True)
def test_five_killed_workers_of_eight_leave_no_cell_undone(url: str) -> None:
    """40 cells on PostgreSQL; a worker with all its processes is killed whenever 6 more cells are done."""
    with Store(url) as store:
        store.enqueue("g", cells(40, 60))
        launch(url, 8, [], cluster="local", hours=0.5, threads=1)
        killed: list[int] = []
        while store.counts()["done"] < 40:
            if len(killed) < 5 and store.counts()["done"] >= 6 * (len(killed) + 1):
                victim = next(one for one in workers(url) if one.pid not in killed)
                killed.append(victim.pid)
                os.kill(victim.pid, signal.SIGKILL)
            time.sleep(0.1)
        assert len(killed) == 5
        outcomes = store.attempts()["outcome"].value_counts().to_dict()
        assert outcomes["done"] == 40
        assert store.counts()["failed"] == 0


def workers(url: str) -> list[psutil.Process]:
    """The supervisors that work on this store."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if url in line and "worker" in line:
            found.append(process)
    return found
