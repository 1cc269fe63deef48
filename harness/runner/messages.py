"""The values that cross the pipe between the supervisor and a worker process; no torch.

To the process: `Job` and `Stop`.  To the supervisor: the events of `harness/records/events.py` as the run yields them,
and `Failed` or `Stopped` where a job ends without results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from harness.records.events import Event, SavedCheckpoint


@dataclass(frozen=True)
class Job:
    """A claimed run to compute; from the supervisor to the process.

    `config` is JSON, `folder` the store's, `checkpoints` are the registered ones, newest first, and `every` is the
    number of seconds between two checkpoints.
    """

    run_id: str
    attempt: int
    config: str
    folder: str
    device: str
    checkpoints: tuple[SavedCheckpoint, ...]
    every: float


@dataclass(frozen=True)
class Stop:
    """The request to save the training at hand and to end; from the supervisor to the process."""


@dataclass(frozen=True)
class Failed:
    """The end of a job by an error; from the process to the supervisor.

    `error` has the traceback where the error was not foreseen, `headline` is one paragraph; with `environment` no run
    can be computed on this machine as it stands, and the cell waits.
    """

    error: str
    headline: str
    environment: bool = False


@dataclass(frozen=True)
class Stopped:
    """The end of a job as `Stop` asked for, with its training saved; from the process to the supervisor."""


Message: TypeAlias = Event | Failed | Stopped
"""From the process to the supervisor."""
