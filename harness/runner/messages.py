"""What the supervisor and a worker process say to each other: plain values that cross a pipe; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from harness.records.events import Event, SavedCheckpoint


@dataclass(frozen=True)
class Failed:
    """The run cannot be finished, and why; `environment`: no run could be on this machine as it stands."""

    error: str
    headline: str
    environment: bool = False


@dataclass(frozen=True)
class Stopped:
    """The run was asked to stop and has saved what it can."""


Message: TypeAlias = Event | Failed | Stopped


@dataclass(frozen=True)
class Job:
    """A claimed run for a process to compute.

    `config` is JSON, `folder` the store's, `checkpoints` are the registered ones, newest first, and `every` is how
    many seconds may pass between two checkpoints.
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
    """Save a checkpoint and end the job at hand."""
