"""Errors of the machine, after which a cell waits, and errors of the cell, after which it has failed."""

from __future__ import annotations

import errno

import pytest

from harness.errors import ConfigError, EnvironmentProblem
from harness.runner.worker import _failed
from harness.system.disk_full import OutOfSpace


class FromRust(Exception):
    """An error as safetensors and tokenizers raise it."""


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (OutOfSpace("a checkpoint cannot be written"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (FromRust("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ConfigError("no such option"), False),
        # Were the cell to wait, its supervisor would end, and with the same cell first in line, every later one too.
        (EnvironmentProblem("'nobody/nothing' cannot be loaded: offline"), False),
    ],
)
def test_a_cell_waits_for_room_and_for_nothing_else(error: Exception, waits: bool) -> None:
    assert _failed(error).environment is waits
