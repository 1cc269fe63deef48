"""The inside of a worker process: gets jobs over a pipe and reports over the same pipe; knows no store.

It is forked from a server that has torch loaded, computes one job after another, and ends with its supervisor.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psutil

from harness.records.events import StageProgress
from harness.runner.messages import Failed, Job, Message, Stop, Stopped

if TYPE_CHECKING:
    from harness.training.resume import Attempt

PROGRESS_EVERY = 0.2  # seconds between two reports of progress in one stage


def server() -> ForkServerContext:
    """The fork server, which imports all that workers need; started without waiting for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.runner.preload"])
    forkserver.ensure_running()
    return context


def work(connection: Connection, output: str, threads: int, include: Sequence[str]) -> None:
    """Compute jobs until the pipe closes.

    Args:
        connection: receives `Job` and `Stop`; sends events, then `Failed` or `Stopped` where a job has no results.
        output: the file that takes what the process prints.
        threads: CPU threads of one operation.
        include: files that register plug-ins.
    """
    os.setsid()  # a group of its own: Ctrl-C does not reach it, and all that it starts can be killed with it
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the supervisor decides
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a process printed is read while it lives, or after a crash
    faulthandler.enable(file, all_threads=False)  # a crash leaves the lines of Python that it came from
    jobs: SimpleQueue[Job] = SimpleQueue()
    reporter = _Reporter(connection)
    threading.Thread(target=_receive, args=(reporter, jobs), daemon=True).start()

    import torch
    from threadpoolctl import threadpool_limits

    from harness.registry import include as include_file

    torch.set_num_threads(threads)
    threadpool_limits(threads)
    problem = None
    try:
        for path in include:
            include_file(Path(path))
    except Exception as error:
        problem = error
    while True:
        job = jobs.get()
        try:
            if problem is not None:
                raise problem
            for message in _computed(job, reporter):
                reporter.send(message)
        except BaseException as error:  # `sys.exit()` in a plug-in included
            failed = _failed(error)
            if failed.error == failed.headline:  # the store keeps the traceback with what the attempt printed
                with contextlib.suppress(OSError):  # on a full disk
                    traceback.print_exception(error)
                    sys.stderr.flush()
            reporter.send(failed)


class _Reporter:
    """The way of messages to the supervisor, for two threads: one computes, one receives.

    Attributes:
        connection: the pipe.
        attempt: the attempt at hand; None between jobs.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.attempt: Attempt | None = None
        self._sending = threading.Lock()
        self._shown, self._at = "", 0.0

    def send(self, message: Message) -> None:
        """Report to the supervisor; where it has closed the pipe, this process ends, too.

        An OSError of a run, such as a file that a plug-in misses, is no closed pipe, and must not come here.
        """
        with self._sending:
            try:
                self.connection.send(message)
            except OSError:
                _end()

    def progress(self, event: StageProgress) -> None:
        """Report how far a stage is, at most every `PROGRESS_EVERY` seconds."""
        if event.stage != self._shown or time.monotonic() - self._at >= PROGRESS_EVERY:
            self._shown, self._at = event.stage, time.monotonic()
            self.send(event)

    def stop(self) -> None:
        """Save the training at hand, say so, and end this process in the middle of whatever it computes.

        More time is asked for (stage `save`) once a file is written, not while an update of the weights is waited for.
        What is computed besides a training is not kept, and there is nothing to save.  The other thread goes on
        meanwhile: an operation of torch or C cannot be cut, and may take longer than there is time.
        """
        attempt = self.attempt
        try:
            if attempt is not None and attempt.unsaved():
                held = False
                while not held and not attempt.saving:  # an update at hand may be long: no reason for more time
                    held = attempt.reporting.acquire(timeout=PROGRESS_EVERY)
                self.send(StageProgress("save", 0.0))
                _put_computing_last()
                if not held:
                    attempt.reporting.acquire()
                if attempt.unsaved():  # else it was the other thread's turn to save
                    self.send(attempt.save())
            self.send(Stopped())
        except Exception as error:
            self.send(_failed(error))
        _end()


def _put_computing_last() -> None:
    """Let this thread have a processor before those that compute; on Linux, where each thread has its own priority."""
    if sys.platform == "linux":
        for thread in psutil.Process().threads():
            if thread.id != threading.get_native_id():
                with contextlib.suppress(OSError):  # it has ended
                    os.setpriority(os.PRIO_PROCESS, thread.id, 19)


def _receive(reporter: _Reporter, jobs: SimpleQueue[Job]) -> None:
    """Queue jobs until `Stop` comes; when the pipe closes, the supervisor has ended, and this process ends, too."""
    while True:
        try:
            message = reporter.connection.recv()
        except (EOFError, OSError):
            _end()
        if isinstance(message, Stop):
            reporter.stop()
        jobs.put(message)


def _end() -> None:
    """Kill this process and all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(75)


def _computed(job: Job, reporter: _Reporter) -> Iterator[Message]:
    """Messages of a job but its progress, which is reported where it is made."""
    from harness.config.run import RunConfig
    from harness.runner.run import run
    from harness.system.device import choose_device
    from harness.training.resume import Attempt

    reporter.attempt = attempt = Attempt(
        job.run_id, job.attempt, Path(job.folder), job.checkpoints, job.every, reporter.progress
    )
    try:
        for event in run(RunConfig.model_validate_json(job.config), choose_device(job.device), attempt):
            if isinstance(event, StageProgress):
                reporter.progress(event)
            else:
                yield event
    finally:
        reporter.attempt = None


def _failed(error: BaseException) -> Failed:
    """The message of an error: without traceback where the harness foresaw it; a full disk is the environment's."""
    from harness.errors import HarnessError, message_of
    from harness.system.disk_full import OutOfSpace, is_full

    foreseen = isinstance(error, HarnessError)
    trace = "".join(traceback.format_exception(error))
    sentence = message_of(error)
    headline = sentence if foreseen else f"{type(error).__name__}: {sentence}"
    waits = isinstance(error, OutOfSpace) or is_full(error)
    return Failed(sentence if foreseen else trace, headline, environment=waits)
