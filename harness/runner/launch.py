"""Starts `harness worker` processes as jobs on Slurm or this machine, through submitit.

The jobs get their cells from the store, which alone records what is done.  submitit's own retries are off: a worker
that ended is started again by the next `harness launch`, and loses nothing meanwhile.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import ConfigError, EnvironmentProblem, StoreError
from harness.storage.engines import place_of

Cluster = Literal["auto", "local", "slurm"]
GRACE = 120  # seconds before the end of its time at which a job is asked to save, unless given; at most half of that
CLOSING = 15  # of these, for a worker to end once its cells are saved
NOTICES = {signal.SIGUSR1, signal.SIGUSR2}  # one of them asks a job to save


@dataclass
class Work:
    """One `harness worker` process as a job; submitit pickles it, runs it on some machine, and may ask it to end.

    submitit runs a job in one thread, and calls `checkpoint` in a signal's handler, on top of the `wait()` that it has
    interrupted; `wait()` holds the lock of its process meanwhile, so that the handler cannot wait for the process.
    """

    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    asked: bool = field(default=False, repr=False)

    def __call__(self) -> int:
        """Run the worker to its end, also where it is asked to save before; returns its exit code."""
        from submitit.core.utils import UncompletedJobError

        # The worker inherits the mask: Slurm sends its notice to every process of a job, and it would end the worker.
        # A notice that comes before `process` is set waits until the mask is lifted.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NOTICES)
        self.process = subprocess.Popen([sys.executable, "-m", "harness", "worker", *self.arguments])
        while True:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                return self.process.wait()
            except UncompletedJobError:  # how submitit's handler ends a job that it is not to run again: not yet
                continue
            except KeyboardInterrupt:  # the job is cancelled, or its time is over; the worker would outlive it
                self.process.terminate()
                raise

    def checkpoint(self) -> None:
        """Ask the worker to save and end, as the job's time is over; submitit does not run it again.

        A further notice is none to the worker, which a second request would end before it has saved.
        """
        if self.process is not None and not self.asked:
            self.asked = True
            self.process.terminate()


def launch(
    url: str,
    workers: int,
    arguments: Sequence[str],
    *,
    cluster: Cluster = "auto",
    hours: float = 24.0,
    threads: int | None = None,
    gpus: int = 0,
    parameters: Mapping[str, Any] | None = None,
) -> list[str]:
    """Submit workers; returns the ids of their jobs.

    Args:
        url: the store, which every worker must reach; SQLite serves the local cluster only.
        workers: number of jobs, each a worker with a process of its own.
        arguments: further arguments of `harness worker`.
        cluster: auto is Slurm where it is installed, else this machine.
        hours: the time that a job may take; it is asked to save before that.
        threads: CPU threads of a job.
        gpus: GPUs of a job.
        parameters: further parameters of submitit's executor, such as slurm_partition; of CLUSTER_signal_delay_s, the
            seconds before the end of its time at which a job is asked to save, its worker is told, too.

    Raises:
        EnvironmentProblem: submitit is not installed, or there is no such cluster here.
        ConfigError: a parameter that submitit does not know, a job's time, or too short a notice.
        StoreError: SQLite for several hosts.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"{error}; pip install 'sequencematch-harness[slurm]'") from error
    place = place_of(url)
    try:
        executor = submitit.AutoExecutor(place.folder / "jobs", cluster=None if cluster == "auto" else cluster)
    except RuntimeError as error:
        raise EnvironmentProblem(f"--cluster {cluster}: {error}; use --cluster local here") from error
    if place.path is not None and executor.cluster != "local":
        raise StoreError(
            f"{url}: jobs run on several hosts, SQLite serves one; give --store "
            "postgresql://USER@HOST/DATABASE?files=/FOLDER"
        )
    minutes = max(1, round(hours * 60))
    given = dict(parameters or {})
    notice = _notice(given, executor.cluster, minutes)
    settings: dict[str, Any] = {"name": "harness", "timeout_min": minutes, "gpus_per_node": gpus}
    if threads is not None:
        settings["cpus_per_task"] = threads
    if executor.cluster == "slurm":
        settings["slurm_signal_delay_s"] = notice
    try:
        executor.update_parameters(**{**settings, **given})
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise ConfigError(f"--set: {error}; submitit's documentation lists its parameters") from error
    if executor.cluster == "local":  # which has this parameter, but no prefixed name for it
        executor.parameters["signal_delay_s"] = notice
    store = url if place.path is None else f"sqlite:///{place.path}"
    command = ["--store", store, "--until-empty", "--grace", str(notice - CLOSING)]
    command += [*([] if threads is None else ["--threads", str(threads)]), *arguments]
    with executor.batch():
        jobs = [executor.submit(Work(command)) for _ in range(workers)]
    return [str(job.job_id) for job in jobs]


def _notice(given: dict[str, Any], cluster: str, minutes: int) -> int:
    """Seconds before the end of its time at which a job is asked to save: those of `--set`, taken out of `given`.

    submitit ignores the parameters of another cluster, and so does this.

    Raises:
        ConfigError: a notice within which no worker could save, or a time beside `--hours`.
    """
    for name in ("timeout_min", f"{cluster}_timeout_min", f"{cluster}_time"):
        if name in given:
            raise ConfigError(
                f"--set {name}={given[name]}: a job's time is --hours, by which its worker knows when to save; "
                "give --hours, and not this"
            )
    name, seconds = f"{cluster}_signal_delay_s", minutes * 60
    taken = {key: given.pop(key) for key in (name, "local_signal_delay_s") if key in given}  # submitit has no local one
    if name not in taken:
        return min(GRACE, seconds // 2)
    asked = str(taken[name])
    if not asked.isdecimal() or not CLOSING < int(asked) < seconds:
        raise ConfigError(
            f"--set {name}={asked}: no number of seconds in which a job of {seconds} s is asked to save and a worker "
            f"ends, for which it takes {CLOSING} s; use {CLOSING + 1} to {seconds - 1}, or leave it out"
        )
    return int(asked)


def log_folder(url: str) -> Path:
    """Folder of the jobs' output."""
    return place_of(url).folder / "jobs"
