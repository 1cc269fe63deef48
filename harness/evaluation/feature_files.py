"""Features of texts in files, by all that they depend on: written aside and renamed, checked when they are read.

A file that is damaged, cut short or gone is computed again; where none can be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

MOST = 2**30  # bytes that the files of a folder may have together; those unused for longest go first
_DIGEST = 32  # bytes before the array: its SHA-256


def kept(path: Path) -> np.ndarray | None:
    """The array of a file; None where there is none that is whole."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            return None
        found: np.ndarray = np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    with suppress(OSError):  # of another user: it was used all the same
        os.utime(path)
    return found


def keep(path: Path, features: np.ndarray) -> None:
    """Write an array to a file, beside other writers of the same; then remove the oldest files above `MOST`."""
    content = io.BytesIO()
    np.save(content, features, allow_pickle=False)
    array = content.getvalue()
    partial = path.with_name(f".writing-{uuid.uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(hashlib.sha256(array).digest() + array)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        _cut(path.parent)


def _cut(folder: Path) -> None:
    """Remove the files that were used longest ago until the others have at most `MOST` bytes."""
    files = sorted(((path.stat(), path) for path in folder.glob("*.npy")), key=lambda one: one[0].st_mtime_ns)
    above = sum(stat.st_size for stat, _ in files) - MOST
    for stat, path in files:
        if above <= 0:
            return
        path.unlink(missing_ok=True)
        above -= stat.st_size
