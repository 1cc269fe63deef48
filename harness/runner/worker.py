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

from harness.records.events import StageProgress
from harness.runner.messages import Failed, Job, Message, Stop, Stopped

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
    stop = threading.Event()
    threading.Thread(target=_receive, args=(connection, jobs, stop), daemon=True).start()

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
            for message in _computed(job, stop):
                _send(connection, message)
        except BaseException as error:  # `sys.exit()` in a plug-in included
            failed = _failed(error)
            if failed.error == failed.headline:  # the store keeps the traceback with what the attempt printed
                with contextlib.suppress(OSError):  # on a full disk
                    traceback.print_exception(error)
                    sys.stderr.flush()
            _send(connection, failed)


def _send(connection: Connection, message: Message) -> None:
    """Report to the supervisor; where it has closed the pipe, this process ends, too.

    An OSError of a run, such as a file that a plug-in misses, is no closed pipe, and must not come here.
    """
    try:
        connection.send(message)
    except OSError:
        _end()


def _receive(connection: Connection, jobs: SimpleQueue[Job], stop: threading.Event) -> None:
    """Queue jobs and pass on `Stop`; when the pipe closes, the supervisor has ended, and this process ends, too."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            _end()
        if isinstance(message, Stop):
            stop.set()
        else:
            jobs.put(message)


def _end() -> None:
    """Kill this process and all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(75)


def _computed(job: Job, stop: threading.Event) -> Iterator[Message]:
    """Messages of a job; progress in one stage at most every `PROGRESS_EVERY` seconds."""
    from harness.config.run import RunConfig
    from harness.runner.run import run
    from harness.system.device import choose_device
    from harness.training.resume import Attempt, StopRequested

    attempt = Attempt(job.run_id, job.attempt, Path(job.folder), job.checkpoints, job.every, stop.is_set)
    shown, at = "", 0.0
    try:
        for event in run(RunConfig.model_validate_json(job.config), choose_device(job.device), attempt):
            if isinstance(event, StageProgress):
                if stop.is_set() and event.stage != "train":  # training saves itself first
                    raise StopRequested
                if event.stage == shown and time.monotonic() - at < PROGRESS_EVERY:
                    continue
                shown, at = event.stage, time.monotonic()
            yield event
    except StopRequested:
        yield Stopped()


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
