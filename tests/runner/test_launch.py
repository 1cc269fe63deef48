"""Workers as jobs of submitit: they pull from the store, end when it is empty, and save when their time is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
        wait_until(store, 2, 120)
        assert job.isdigit() or "_" in job
        assert list((tmp_path / "jobs").glob("*.out"))


@pytest.mark.parametrize(
    ("hours", "notice", "grace"),
    [
        (24.0, 120, 105),
        (0.05, 90, 75),  # 3 minutes: half of them
        (0.02, 30, 15),  # submitit counts in minutes: 1
    ],
)
def test_the_notice_of_a_job_and_the_time_of_its_worker_to_save_agree(
    tmp_path: Path, hours: float, notice: int, grace: int
) -> None:
    """submitit's own notice on this machine is 30 s; a worker that then takes up to 105 s to save would be killed."""
    url = f"sqlite:///{tmp_path}/runs.db"
    Store(url).close()
    assert submitted(tmp_path, url, hours) == (notice, grace)


@pytest.mark.parametrize(
    ("given", "hours", "notice", "grace"),
    [
        ("300", 24.0, 300, 285),  # longer than the default
        ("40", 24.0, 40, 25),
        ("16", 0.02, 16, 1),  # the shortest
        ("59", 0.02, 59, 44),  # the longest of a minute
    ],
)
@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_a_notice_that_is_given_is_the_worker_s_too(
    cluster: str, given: str, hours: float, notice: int, grace: int, tmp_path: Path, slurm: Path
) -> None:
    parameters = {f"{cluster}_signal_delay_s": given}
    if cluster == "slurm":
        assert to_slurm(tmp_path, slurm, hours, parameters) == (notice, grace)
    else:
        url = f"sqlite:///{tmp_path}/runs.db"
        Store(url).close()
        assert submitted(tmp_path, url, hours, parameters) == (notice, grace)


@pytest.mark.parametrize(("hours", "notice"), [(24.0, 120), (0.05, 90), (0.02, 30)])
def test_slurm_and_its_worker_are_told_the_same_notice(hours: float, notice: int, tmp_path: Path, slurm: Path) -> None:
    assert to_slurm(tmp_path, slurm, hours, {"slurm_partition": "long"}) == (notice, notice - 15)
    assert to_slurm(tmp_path, slurm, hours, {"local_signal_delay_s": "20"}) == (notice, notice - 15)  # of the other


def test_a_parameter_that_has_a_flag_is_no_surprise(tmp_path: Path, slurm: Path) -> None:
    """Given beside the flag's own value, it counts; submitit's type is said."""
    to_slurm(tmp_path, slurm, 1, {"name": "mine"})
    assert "--job-name=mine" in slurm.read_text()
    with pytest.raises(ConfigError, match=r"--set: .*gpus_per_node"):
        to_slurm(tmp_path, slurm, 1, {"gpus_per_node": "some"})


@pytest.mark.parametrize("given", ["15", "0", "-20", "1.5", "soon", "", "60", "90"])
def test_a_notice_in_which_nothing_can_be_saved_is_refused(given: str, tmp_path: Path, slurm: Path) -> None:
    for cluster in ("local", "slurm"):
        with pytest.raises(ConfigError, match=rf"--set {cluster}_signal_delay_s={given}: .*use 16 to 59, or leave it"):
            launch(
                POSTGRES.format(tmp_path),
                1,
                [],
                cluster=cluster,
                hours=0.02,
                parameters={f"{cluster}_signal_delay_s": given},
            )
    assert not slurm.exists()


@pytest.mark.parametrize("name", ["timeout_min", "slurm_timeout_min", "slurm_time"])
def test_a_time_beside_that_of_the_job_is_refused(name: str, tmp_path: Path, slurm: Path) -> None:
    """A job that ends earlier than its worker believes is killed before it has saved."""
    with pytest.raises(ConfigError, match=rf"--set {name}=30: a job's time is --hours"):
        to_slurm(tmp_path, slurm, 2, {name: "30"})


POSTGRES = "postgresql://host/db?files={}"


def submitted(folder: Path, url: str, hours: float, parameters: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Seconds of notice of a job on this machine, which is killed at once, and of its worker to save."""
    (job,) = launch(url, 1, [], cluster="local", hours=hours, threads=1, parameters=parameters)
    controller = psutil.Process(int(job))
    while (given := controller.environ().get("SUBMITIT_LOCAL_SIGNAL_DELAY_S")) is None:  # forked, but not begun
        time.sleep(0.01)
    started = controller.children(recursive=True)
    controller.kill()
    for process in started:
        process.kill()
    return int(given), grace_of(folder)


def grace_of(folder: Path) -> int:
    from submitit.core.utils import DelayedSubmission

    newest = max((folder / "jobs").glob("*_submitted.pkl"), key=lambda path: path.stat().st_mtime_ns)
    arguments = DelayedSubmission.load(newest).function.arguments
    return int(arguments[arguments.index("--grace") + 1])


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that takes a job and does nothing; the file is what it was given last."""
    given = tmp_path / "given.sh"
    for name, does in (("srun", "true"), ("sbatch", f'cp "$1" {given}; echo Submitted batch job 7')):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return given


def to_slurm(folder: Path, slurm: Path, hours: float, parameters: Mapping[str, str]) -> tuple[int, int]:
    """Seconds of notice that Slurm is asked for, and of the worker to save."""
    launch(POSTGRES.format(folder), 1, [], cluster="slurm", hours=hours, parameters=parameters)
    (line,) = [line for line in slurm.read_text().splitlines() if "--signal=" in line]
    return int(line.rpartition("@")[2]), grace_of(folder)


def test_what_cannot_be_launched_is_said_before_anything_starts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with pytest.raises(EnvironmentProblem, match=r"--cluster slurm.*use --cluster local here"):
        launch(url, 1, [], cluster="slurm")
    with pytest.raises(ConfigError, match=r"--set: .*nonsense"):
        launch(url, 1, [], cluster="local", parameters={"nonsense": "1"})
    with pytest.raises(StoreError, match="files="):
        launch("postgresql://host/db", 1, [])


def outcome(folder: Path, job: str) -> tuple[str, Any]:
    """`success` with the result of a job, or `error` with its traceback, as submitit keeps it."""
    import cloudpickle

    file = folder / "jobs" / f"{job}_0_result.pkl"
    deadline = time.monotonic() + 100  # the time in which a handler that waits for its worker gives up is longer
    while not file.exists():
        assert time.monotonic() < deadline, [path.read_text() for path in (folder / "jobs").glob(f"{job}*.err")]
        time.sleep(0.1)
    found: tuple[str, Any] = cloudpickle.loads(file.read_bytes())
    return found


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """SIGINT as a terminal has it: what a shell starts in the background ignores it, and so do the jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _no_job_left(tmp_path: Path) -> Iterator[None]:
    """Jobs of a test that failed are ended with it: they would train on beside all later tests."""
    yield
    for job in psutil.Process().children():
        if job.status() != psutil.STATUS_ZOMBIE and str(tmp_path) in " ".join(job.cmdline()):
            for process in (job, *job.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.mark.usefixtures("_interruptible", "_no_job_left")
def test_jobs_whose_time_is_over_let_their_workers_save(tmp_path: Path) -> None:
    """The notice comes to the one thread of a job, which ends as its worker does: with 75, the cell saved and free.

    So it does where the notice comes again while the worker saves, and where every process of the job gets it, as on
    Slurm.  A job that is cancelled takes its worker with it, which saves, too.
    """
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        store.enqueue("g", cells(4, 200_000))
        jobs = launch(store.url, 4, [], cluster="local", hours=0.5, threads=1)
        deadline = time.monotonic() + 600  # four starts beside trainings, on a machine with other work
        while (store.runs(status="running")["step"] > 0).sum() < 4:
            assert time.monotonic() < deadline, store.runs()[["status", "step"]]
            time.sleep(0.2)
        once, twice, everywhere, cancelled = (psutil.Process(int(job)).children()[0] for job in jobs)
        workers = once.children() + twice.children() + everywhere.children() + cancelled.children()
        for process in (once, twice, everywhere, *everywhere.children(recursive=True)):
            process.send_signal(signal.SIGUSR2)
        cancelled.send_signal(signal.SIGINT)
        time.sleep(1.5)  # a worker takes two requests within a second for one
        with suppress(psutil.NoSuchProcess):
            twice.send_signal(signal.SIGUSR2)
        assert [outcome(tmp_path, job) for job in jobs[:3]] == [("success", 75)] * 3
        assert psutil.wait_procs(workers, timeout=60)[1] == []
        assert store.counts() == {"cells": 4, "done": 0, "failed": 0, "running": 0, "pending": 4}
        assert all(store.checkpoints(run_id) for run_id in store.runs()["run_id"])
        assert store.attempts()["outcome"].tolist() == ["released"] * 4


def test_a_job_that_is_asked_before_its_worker_runs_starts_none() -> None:
    Work(["--help"]).checkpoint()


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
