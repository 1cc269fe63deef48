"""How a supervisor works: how many processes, how often they save, and when it gives up on one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class RunnerOptions:
    """How cells are computed; nothing here changes a result, but for the last bits that `threads` moves.

    Attributes:
        workers: processes that compute at the same time.
        device: auto, cpu or cuda.
        threads: CPU threads of all workers together; None: OMP_NUM_THREADS each, or all cores together.
        include: files that register plug-ins.
        keep_going: what to do after a cell has failed: go on, stop, or (None) stop where the first `alike` ones all
            failed for the same reason.
        forever: wait for new cells where none is left.
        checkpoint_every: seconds between two checkpoints of a run.
        stall_after: seconds of silence after which a worker is ended and its cell tried again.
        timeout: seconds that one attempt may take; None: any.
        crashes: how many attempts in a row may die, fall silent or be lost, on whatever machine, until the cell has
            failed.
        alike: see `keep_going`.
        grace: seconds that workers have to save themselves when all is to stop.
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


def alike(error: str) -> str:
    """An error without its numbers: two cells that differ only there failed for the same reason."""
    last = error.strip().splitlines()[-1] if error.strip() else ""
    return re.sub(r"[0-9a-f]{16}|[-+]?[0-9][-+.0-9e]*", "#", last)
