"""Examination of the machine and of a store: findings with advice; nothing is changed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from harness.errors import HarnessError, StoreError
from harness.runner.options import RunnerOptions
from harness.storage.engines import NETWORK, Place, filesystem, place_of
from harness.storage.store import Store
from harness.storage.url import printable_url
from harness.system import sqlite
from harness.system.provenance import provenance

State = Literal["ok", "warning", "problem"]
MIN_FREE = 2 * 2**30  # bytes that a disk should have left
AGE = 3600.0  # seconds after which an unfinished file belongs to no process


@dataclass(frozen=True)
class Finding:
    """The state of one thing, and advice.

    Attributes:
        what: the thing that was examined.
        state: `ok`, `warning` (works, but), or `problem`.
        found: its state in words.
        advice: a remedy; empty where none is needed.
    """

    what: str
    state: State
    found: str
    advice: str = ""


def examine(url: str, *, deep: bool = False) -> Iterator[Finding]:
    """Findings about the machine, the disk and the store of a grid; `deep` reads every row and file of the store."""
    yield from machine()
    try:
        place = place_of(url)
    except StoreError as error:
        yield Finding("store", "problem", *_parted(str(error)))
        return
    yield from disk(place)
    yield from features(place)
    if place.path is not None and not place.path.exists():
        yield Finding("store", "ok", f"nothing is stored at {printable_url(url)} yet")
        return
    try:
        with Store.open(url, read_only=True) as store:
            for look in (_damage, _clock, _claims, _files) + ((_rows,) if deep else ()):
                yield from _guarded(look, store, deep)
    except StoreError as error:
        yield Finding("store", "problem", *_parted(str(error)))


def machine() -> Iterator[Finding]:
    """Findings about SQLite, processors and threads, torch and its devices."""
    version, kind = sqlite.version(), sqlite.driver.__name__
    if sqlite.is_safe():
        yield Finding("sqlite", "ok", f"{version} ({kind})")
    else:
        wanted = ".".join(map(str, sqlite.SAFE))
        yield Finding(
            "sqlite",
            "warning",
            f"{version} ({kind}): before {wanted} several writers can damage a file as its log is reset",
            "pip install pysqlite3, or use one worker, or PostgreSQL",
        )
    facts = provenance()
    asked = os.environ.get("OMP_NUM_THREADS", "unset")
    cores = facts["cpu"]["cores"] or 1
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else cores
    each = RunnerOptions().threads_each
    found = f"{cores} cores, {allowed} for this process, OMP_NUM_THREADS {asked}: {each} for one worker"
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > cores:
        advice = "other processes compute here, too: threads of one worker then wait for each other; try --threads 1"
        yield Finding("threads", "warning", f"{found}; load {busy:.1f}", advice)
    else:
        yield Finding("threads", "ok", found)
    import torch

    cuda = torch.version.cuda
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("torch", "ok", f"{torch.__version__}, CUDA {cuda}, devices: {names}")
    else:
        built = f"built for CUDA {cuda}, but it finds no device" if cuda else "built for the CPU"
        advice = "check the driver with nvidia-smi, or install the CPU build" if cuda else ""
        yield Finding("torch", "warning" if cuda else "ok", f"{torch.__version__}, {built}", advice)


def disk(place: Place) -> Iterator[Finding]:
    """Findings about the file system of the store's folder: its kind, permission to write, and free space."""
    folder = place.folder
    while not folder.exists():
        folder = folder.parent
    mount, kind = filesystem(folder)
    shared = kind in NETWORK or kind.startswith("fuse.")
    yield Finding("file system", "ok", f"{kind or 'unknown'} at {mount or folder}{', shared' if shared else ''}")
    if not os.access(folder, os.W_OK):
        yield Finding("folder", "problem", f"{folder} may not be written", "change its owner, or give another --store")
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE:
        advice = "free some space: a run that cannot save stops and waits"
        yield Finding("room", "problem", f"{free / 2**20:.0f} MB left on {mount}", advice)
    else:
        yield Finding("room", "ok", f"{free / 2**30:.1f} GB left")
    if place.path is None and importlib.util.find_spec("psycopg") is None:
        advice = "pip install 'sequencematch-harness[postgres]'"
        yield Finding("psycopg", "problem", "not installed", advice)


def _guarded(look: Callable[[Store, bool], Iterator[Finding]], store: Store, deep: bool) -> Iterator[Finding]:
    """The findings of one examination; a store that cannot be read is a finding, too."""
    try:
        yield from look(store, deep)
    except HarnessError as error:
        yield Finding("store", "problem", *_parted(str(error)))
    except Exception as error:  # a damaged value, which may raise anything
        found = f"a value cannot be read: {type(error).__name__}: {error!s:.200}"
        yield Finding("store", "problem", found, "restore it from a copy")


def _damage(store: Store, deep: bool) -> Iterator[Finding]:
    """Finding of the database's own integrity check."""
    found = store.database.integrity_errors(thorough=deep)
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        advice = "restore a copy; to rescue what can be read: sqlite3 runs.db .recover | sqlite3 rescued.db"
        yield Finding("database", "problem", "damaged: " + "; ".join(found[:3]) + more, advice)
    else:
        yield Finding(
            "database", "ok", f"{store.database.url} is whole" + ("" if deep else " (a quick look; --deep reads all)")
        )


def features(place: Place) -> Iterator[Finding]:
    """Number and size of kept features of texts, where there are any; they go with their folder."""
    folder = place.folder / "cache" / "features"
    with contextlib.suppress(OSError):  # removed meanwhile
        sizes = [path.stat().st_size for path in folder.glob("*.npy")]
        if sizes:
            found = f"{len(sizes)} files, {sum(sizes):,} bytes in {folder}"
            yield Finding("features", "ok", found + "; remove the folder to free them, they are computed again")


def _clock(store: Store, deep: bool) -> Iterator[Finding]:
    """Finding about the database's clock, by which leases are measured."""
    behind = store.database_time() - time.time()
    if abs(behind) > 5:
        advice = "set both with NTP; leases follow the database's clock, so nothing is lost meanwhile"
        yield Finding("clock", "warning", f"the database's clock differs from this machine's by {behind:.0f} s", advice)
    else:
        yield Finding("clock", "ok", "the database's and this machine's agree")


def _claims(store: Store, deep: bool) -> Iterator[Finding]:
    """Findings about cells by status, running workers and failed cells."""
    counts = store.counts()
    running = store.hosts()
    by_status = ", ".join(f"{number} {name}" for name, number in counts.items())
    away = len(store.archived_grids()), len(store.archived_runs())
    by_status += f"; archived: {away[0]} grids, {away[1]} runs" if any(away) else ""
    yield Finding("cells", "ok", by_status + (f"; workers on {', '.join(sorted(running))}" if running else ""))
    if counts["failed"]:
        advice = "harness ls runs names them, harness retry --failed frees them"
        yield Finding("failed cells", "warning", f"{counts['failed']}", advice)


def _files(store: Store, deep: bool) -> Iterator[Finding]:
    """Findings about files: those that rows name exist (`deep`: unchanged), and no unfinished ones are left over."""
    rollouts = store.stored_files()
    for kind, files in (("rollouts", rollouts), ("checkpoints", store.checkpoint_files())):
        wrong = [
            f"{path} ({why})" for path, sha in files if (why := _wrong(store.folder / path, sha if deep else None))
        ]
        if wrong:
            advice = {
                "rollouts": "restore the file from a copy; its scores are whole, samples and rescore need it",
                "checkpoints": "nothing is to do: the run goes on from the one before it, or from its start",
            }[kind]
            state: State = "problem" if kind == "rollouts" else "warning"
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            yield Finding(kind, state, "; ".join(wrong[:3]) + more, advice)
        else:
            yield Finding(kind, "ok", f"{len(files)} files " + ("unchanged" if deep else "there"))
    old = time.time() - AGE
    left = [path for pattern in _UNFINISHED for path in store.folder.glob(pattern) if _changed_at(path) < old]
    if left:
        found = f"{len(left)} that killed processes left: {', '.join(str(path) for path in left[:3])}"
        yield Finding("unfinished files", "warning", found, "remove them; nothing reads them")


_UNFINISHED = (
    "rollouts/*.partial",
    "checkpoints/*/*.partial",
    "policies/.*",
    "cache/bases/.writing-*",
    "cache/features/.writing-*",
    "*.id.*.partial",
)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its process has finished it meanwhile
        return math.inf


def _wrong(path: Path, sha256: str | None) -> str:
    if not path.is_file():
        return "missing"
    if sha256 is None:
        return ""
    with path.open("rb") as file:
        return "" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "changed"


def _rows(store: Store, deep: bool) -> Iterator[Finding]:
    """Findings about rows: every one of every run can be read and agrees with the others."""
    wrong: list[str] = []
    mixed: list[str] = []
    runs = store.runs(archived=None).to_dict("records")
    for run in runs:
        run_id = str(run["run_id"])
        try:
            if store.config(run_id).run_id != run_id:
                wrong.append(f"run {run_id}: its configuration has another hash")
            curve = store.curves(run_id)
            store.scores(run_id=run_id), store.profiles(run_id=run_id)
            if len((store.provenance(run_id) or {}).get("training_threads") or ()) > 1:
                mixed.append(run_id)
            if run["status"] == "done" and run["step"] is not None and not curve["step"].eq(run["step"]).any():
                wrong.append(f"run {run_id}: its curve does not reach step {run['step']}")
        except Exception as error:  # a damaged row may raise anything
            wrong.append(f"run {run_id}: {str(error).splitlines()[0]:.160}")
    if mixed:
        found = f"{len(mixed)} runs went on with another number of threads: {', '.join(mixed[:3])}"
        yield Finding("threads of runs", "warning", found, "their last bits are not reproducible; their scores hold")
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        yield Finding("rows", "problem", "; ".join(wrong[:3]) + more, "restore the store from a copy")
    else:
        yield Finding("rows", "ok", f"{len(runs)} runs can be read")


def _parted(message: str) -> tuple[str, str]:
    """An error's sentence and its advice."""
    found, _, advice = message.partition("; ")
    return found, advice
