"""`WorkerProcess`: a worker process and its pipe, seen by the supervisor; no store."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from harness.errors import EnvironmentProblem
from harness.runner.messages import Job, Message, Stop
from harness.runner.options import RunnerOptions
from harness.runner.worker import work

LINES = 50  # of a failed attempt's output are kept
REFUSALS = 3  # failed starts in a row after which the machine is at fault


@dataclass(frozen=True)
class ProcessFailure:
    """Reason why a process gives no result for its job.

    Attributes:
        outcome: of the attempt: `crashed` (the process has ended), `stalled` (no message for too long) or `failed` (the
            job took too long).
        error: one sentence.
        final: the job is not to be tried again.
    """

    outcome: str
    error: str
    final: bool = False


def crash_site(output: str) -> str:
    """The lines of Python that a crashed process was in, as `faulthandler` has written them; empty without them."""
    _, found, after = output.rpartition("Fatal Python error: ")
    return (found + after).partition("\n\nExtension modules:")[0] if found else ""


class WorkerProcess:
    """A process that computes one job after another; started when it is needed, and again after it has ended.

    Attributes:
        connection: the pipe to the process; there is none before the first start.
    """

    connection: Connection

    def __init__(self, options: RunnerOptions, context: ForkServerContext) -> None:
        """A worker whose process is not started yet."""
        self._options, self._context = options, context
        self._process: BaseProcess | None = None
        self._system_process: psutil.Process  # the same process by the kernel's tables
        self._refusals = 0
        self._output = Path()  # the file with what the process prints
        self._assigned = self._last_message = self._extension = 0.0

    def start(self) -> bool:
        """Start the process unless it runs; False if that failed and may work later.

        Raises:
            EnvironmentProblem: it has failed `REFUSALS` times in a row.
        """
        if self._process is not None and not self._ended():
            return True
        self.close()
        try:
            self._start()
        except (EOFError, OSError, psutil.NoSuchProcess) as error:  # the next start makes a new fork server
            self._refusals += 1
            if self._refusals < REFUSALS:
                return False
            raise EnvironmentProblem(
                f"no worker process could be started, {REFUSALS} times in a row: {str(error) or 'its server ended'}; "
                f"what it printed stands above; make room in {tempfile.gettempdir()} and in memory, look at "
                "`ulimit -n -u`, or let `python -m harness.runner.preload` say what does not import"
            ) from error
        self._refusals = 0
        return True

    def _start(self) -> None:
        handle, name = tempfile.mkstemp(prefix="harness-output-")
        os.close(handle)
        self._output = Path(name)
        ours, theirs = self._context.Pipe()
        try:
            arguments = (theirs, name, self._options.threads_each, self._options.include)
            process = self._context.Process(target=work, args=arguments, daemon=True)
            process.start()
            self._system_process = psutil.Process(process.pid)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.connection, self._process = ours, process

    def _ended(self) -> bool:
        """True if the process has ended; the end of the fork server looks the same to `is_alive` and is no proof."""
        assert self._process is not None
        if self._process.is_alive():
            return False
        try:
            return not self._system_process.is_running() or self._system_process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def assign(self, job: Job) -> None:
        """Send a job; its output and its time limits begin anew."""
        self._assigned = self._last_message = time.monotonic()
        self._extension = 0.0
        with suppress(OSError):
            os.truncate(self._output, 0)
        with suppress(OSError):  # the process has ended meanwhile: `poll` reports it
            self.connection.send(job)

    def poll(self) -> Message | ProcessFailure | None:
        """The next message, or the reason why there will be none; None where nothing has come yet."""
        if self.connection.poll():
            try:
                message: Message = self.connection.recv()
            except (EOFError, OSError):
                return self._crash()
            self._last_message, self._extension = time.monotonic(), 0.0
            return message
        now, options = time.monotonic(), self._options
        if self._ended() and not self.connection.poll():  # else its last message came between the two looks
            return self._crash()
        if now - self._last_message > options.stall_after:
            return ProcessFailure(
                "stalled", f"its process sent no message for {options.stall_after:.0f} s (--stall-after)"
            )
        if options.timeout is not None and now - self._assigned > options.timeout:
            return ProcessFailure("failed", f"it took longer than {options.timeout:.0f} s (--timeout)", final=True)
        return None

    def _crash(self) -> ProcessFailure:
        assert self._process is not None
        self._process.join(1)
        code = self._process.exitcode
        how = f"signal {-code} ({signal.strsignal(-code)})" if code is not None and code < 0 else f"exit code {code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        return ProcessFailure("crashed", f"its process ended by {how}{hint}")

    def extend_deadline(self, seconds: float) -> None:
        """Extend the stall deadline by a time in which the supervisor itself was blocked.

        Between two messages only the longest such time counts, once: else a slow database excused a stall for ever.
        """
        more = max(0.0, seconds - self._extension)
        self._last_message, self._extension = self._last_message + more, self._extension + more

    def ask_to_stop(self) -> None:
        """Ask the process to save its job and end it."""
        with suppress(OSError):
            self.connection.send(Stop())

    def output(self) -> str:
        """The last `LINES` lines that the process printed for this job."""
        try:
            text = self._output.read_bytes()[-100_000:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LINES:])

    def end(self) -> None:
        """Kill the process and all that it started; its output stays readable."""
        if self._process is None:
            return
        if not self._ended():  # else its number may be another process's by now
            with suppress(OSError):
                os.killpg(self._system_process.pid, signal.SIGKILL)
            with suppress(OSError, psutil.NoSuchProcess):
                self._system_process.kill()  # where it has no group of its own yet
        self._process.join(5)
        self._process = None
        self.connection.close()

    def close(self) -> None:
        """Kill the process and remove its output."""
        self.end()
        if self._output.name:
            self._output.unlink(missing_ok=True)
            self._output = Path()
