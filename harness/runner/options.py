"""Options of a supervisor: number of processes, pause between checkpoints, and limits after which a cell has failed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class RunnerOptions:
    """Options of computing cells; none changes a result, but for the last bits that `threads` moves.

    Attributes:
        workers: number of processes that compute at the same time.
        device: auto, cpu or cuda.
        threads: CPU threads of all workers together; None: OMP_NUM_THREADS each, or all cores together.
        include: files that register plug-ins.
        keep_going: after a failed cell go on (True), stop (False), or stop if the first `alike` cells all failed for
            the same reason (None).
        forever: wait for new cells when none is left.
        checkpoint_every: seconds between two checkpoints of a run.
        stall_after: seconds without a message after which a worker is ended and its cell tried again.
        timeout: seconds that one attempt may take; None: no limit.
        crashes: number of attempts in a row, on any machine, that crash, stall or are lost until the cell has failed.
        alike: see `keep_going`.
        grace: seconds that workers have to save their cells when all are to stop.
    """

    workers: int = 1
    device: str = "auto"
    threads: int | None = None
    include: tuple[str, ...] = ()
    keep_going: bool | None = None
    forever: bool = False
    checkpoint_every: float = 60.0
    stall_after: float = 1800.0
    timeout: float | None = None
    crashes: int = 3
    alike: int = 3
    grace: float = 20.0

    @property
    def threads_each(self) -> int:
        """CPU threads for each worker."""
        if self.threads is not None:
            return max(1, self.threads // self.workers)
        asked = os.environ.get("OMP_NUM_THREADS", "")
        if asked.isdigit() and int(asked):
            return int(asked)
        return max(1, (psutil.cpu_count(logical=False) or 1) // self.workers)


DEFAULT = RunnerOptions()


def error_pattern(error: str) -> str:
    """The last line of an error without its numbers: equal for cells that failed for the same reason."""
    last = error.strip().splitlines()[-1] if error.strip() else ""
    return re.sub(r"[0-9a-f]{16}|[-+]?[0-9][-+.0-9e]*", "#", last)
