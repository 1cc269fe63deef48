"""Folders that appear whole or not at all, and one error for a full disk, whichever library met it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import EnvironmentProblem
from harness.system.failpoints import failpoint

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutOfSpace(EnvironmentProblem):
    """Something could not be written; the cell waits until it can be."""


def is_full(error: BaseException) -> bool:
    """Whether the disk, the quota or the largest file was what ended it."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"(os error {number})" in str(error) for number in FULL)  # safetensors' and tokenizers' own


@contextmanager
def written_aside(directory: Path, what: str) -> Iterator[Path]:
    """A fresh folder beside `directory`, to be filled and renamed to it; it is removed where it was not.

    Raises:
        OutOfSpace: there is no room for `what`.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".writing-"))
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except Exception as error:
        if not is_full(error):
            raise
        raise OutOfSpace(
            f"{what} cannot be written to {directory}: {error}; make room for it and run the same command again, it "
            "goes on from what was stored"
        ) from error


def write_durably(content: bytes, partial: Path, final: Path) -> None:
    """Write `partial`, then rename it to `final`; after a power cut the file is whole, or is not there."""
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        failpoint("file.written")
        os.fsync(file.fileno())
    failpoint("file.synced")
    partial.replace(final)
    failpoint("file.renamed")
    if os.name == "posix":  # the new name, too, has to reach the disk
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
