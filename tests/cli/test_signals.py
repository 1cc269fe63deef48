"""Signals ask to stop; a second one, from somebody who cannot wait, ends the waiting."""

from __future__ import annotations

import os
import signal
import time

import pytest

from harness.cli import signals
from harness.cli.signals import stop_on_signals


def test_one_request_may_come_twice_and_a_second_request_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """GNU timeout sends SIGTERM to its child and to the group that the child is in: that is one request."""
    monkeypatch.setattr(signals, "ECHO", 0.2)
    with stop_on_signals() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
        time.sleep(0.3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
