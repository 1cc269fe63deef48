"""Places at which a test may end or freeze a process; without HARNESS_FAILPOINTS they do nothing.

HARNESS_FAILPOINTS names a folder.  Whoever comes to the point NAME while the folder has a file NAME takes the file
and does what it says: `kill` ends the process as a power cut would, `stop` freezes it until SIGCONT.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

NAMES = (
    "commit.before",
    "commit.after",
    "file.written",
    "file.synced",
    "file.renamed",
    "checkpoint.written",
    "results.computed",
)
_SIGNALS = {"kill": "SIGKILL", "stop": "SIGSTOP"}  # by name: Windows has neither


def failpoint(name: str) -> None:
    """A named moment: just before or after something that must not be half done."""
    folder = os.environ.get("HARNESS_FAILPOINTS")
    if folder is None:
        return
    armed = Path(folder) / name
    taken = armed.with_name(f"{name}.{os.getpid()}.taken")
    try:
        armed.rename(taken)  # one process takes it
        action = taken.read_text()
    except OSError:
        return
    os.kill(os.getpid(), getattr(signal, _SIGNALS[action]))
