"""Atomic and durable writes of folders and files: complete after a crash or a power cut, or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.system.disk_full import OutOfSpace, is_full
from harness.system.failpoints import failpoint


@contextmanager
def written_aside(directory: Path, what: str) -> Iterator[Path]:
    """Yield a fresh folder beside `directory`, to be filled and renamed to it; removed at the end if it was not.

    Raises:
        OutOfSpace: there is no space for `what`.
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
    """Write `partial`, then rename it to `final`; after a power cut the file is complete, or absent."""
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        failpoint("file.written")
        os.fsync(file.fileno())
    failpoint("file.synced")
    partial.replace(final)
    failpoint("file.renamed")
    if os.name == "posix":  # the rename must reach the disk, too
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
