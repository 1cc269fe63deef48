"""Owners of claims: the name of this process, and the check whether an owner's process has ended."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


def this_owner() -> str:
    """Name of this process as an owner: `host/place:pid:start`.

    `start` is in seconds after boot, since pids are reused and clocks may be set back.
    """
    return _owner(os.getpid())


@cache  # once per process: while the clock is being set, two readings of the start may differ
def _owner(pid: int) -> str:
    return f"{_here()}:{pid}:{_started(pid):.2f}"


def _here() -> str:
    """`host/place`: the scope in which a pid names one process.

    Containers and machines may share a host's name; the place distinguishes them, by boot and by namespace of pids.
    """
    boot = namespace = ""
    with suppress(OSError):  # not Linux, or hidden
        boot, namespace = BOOT.read_text(), os.readlink(NAMESPACE)
    return f"{platform.node()}/{hashlib.sha256(f'{boot} {namespace}'.encode()).hexdigest()[:8]}"


def has_ended(owner: str) -> bool:
    """True if the owner was a process of this place that has ended; False if that cannot be known from here.

    An owner that stops renewing its lease loses the claim anyway.  The part after `#` distinguishes the claims of one
    process.
    """
    host, pid, start = ["", "", *owner.partition("#")[0].rsplit(":", 2)][-3:]
    if host != _here() or not pid.isdigit():
        return False
    try:
        return abs(_started(int(pid)) - float(start)) > 2  # boot time is known to the second only
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def host_of(owner: str) -> str:
    """The host part of an owner's name."""
    return owner.partition("#")[0].rsplit(":", 2)[0].partition("/")[0]


def _started(pid: int) -> float:
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return process.create_time() - psutil.boot_time()
