"""SIGINT and SIGTERM as requests to stop, for commands that work for hours."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# seconds within which a second signal counts as the first: `timeout` signals its child, then its child's group
ECHO = 1.0


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT (Ctrl-C) and SIGTERM into requests to stop; yields a function that is true once one has arrived.

    A second signal, later than `ECHO`, does not wait: it raises KeyboardInterrupt.
    """
    asked: list[float] = []

    def handle(_: int, __: FrameType | None) -> None:
        if asked and time.monotonic() - asked[0] > ECHO:
            raise KeyboardInterrupt
        asked.append(time.monotonic())

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
