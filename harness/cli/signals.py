"""How a verb that works for hours is asked to stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ECHO = 1.0  # seconds in which a second signal is the first again: `timeout` ends its child, then its child's group


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within it Ctrl-C and SIGTERM only ask to stop; whether they have is the answer of what it gives.

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
