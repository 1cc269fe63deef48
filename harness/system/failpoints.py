"""Points at which a test may end or freeze a process; without HARNESS_FAILPOINTS they do nothing.

HARNESS_FAILPOINTS names a folder.  A process that reaches the point NAME while the folder has a file NAME removes the
file and obeys its content: `kill` ends the process as a power cut would, `stop` freezes it until SIGCONT.
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
    """End or freeze this process if the point is armed; it stands just before or after a step that must be atomic."""
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
