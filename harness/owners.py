"""Who holds a claim, and whether that process is still alive."""

from __future__ import annotations

import os
import platform
from functools import cache

import psutil


def this_owner() -> str:
    """Who claims: `host:pid:start`, start in seconds after boot (pids come again, and clocks are set back)."""
    return _owner(os.getpid())


@cache  # read once per process: while the clock is being set, two readings of its start may differ
def _owner(pid: int) -> str:
    return f"{platform.node()}:{pid}:{_started(pid):.2f}"


def is_dead(owner: str) -> bool:
    """Whether the owner was a process of this host that is gone; False for everybody this host cannot judge.

    What follows `#` tells the claims of one process apart.
    """
    host, pid, start = ["", "", *owner.partition("#")[0].rsplit(":", 2)][-3:]
    if host != platform.node() or not pid.isdigit():
        return False
    try:
        return abs(_started(int(pid)) - float(start)) > 2  # boot time is known to the second only
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def host_of(owner: str) -> str:
    """The host part of an owner's name."""
    return owner.partition("#")[0].rsplit(":", 2)[0]


def _started(pid: int) -> float:
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return process.create_time() - psutil.boot_time()
