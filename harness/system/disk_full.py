"""The error for a full disk or quota, `OutOfSpace`, whichever library met it: the cell waits until there is space."""

from __future__ import annotations

import errno

from harness.errors import EnvironmentProblem, message_of

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutOfSpace(EnvironmentProblem):
    """The disk or quota is full; the cell waits until there is space."""


def is_full(error: BaseException) -> bool:
    """True if the error's cause is a full disk, a quota or the largest file size."""
    if isinstance(error, OSError):
        return error.errno in FULL
    message = message_of(error)
    return any(f"(os error {number})" in message for number in FULL)  # safetensors' and tokenizers' own
