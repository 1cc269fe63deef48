"""URLs of stores: the default one, and any without its password for messages and logs."""

from __future__ import annotations

import re

DEFAULT_STORE = "sqlite:///results/runs.db"  # of a command without --store
_PASSWORDS = re.compile(r"(?<=://)([^:/@?]*):(?!\d+/)[^@]*@|([?&]password=)[^&]*")


def printable_url(url: str) -> str:
    """The URL with `***` in place of its password.

    >>> printable_url("postgresql://me:secret@host/runs?files=/shared")
    'postgresql://me:***@host/runs?files=/shared'
    >>> printable_url("sqlite:///results/runs.db")
    'sqlite:///results/runs.db'
    """
    return _PASSWORDS.sub(lambda found: f"{found[1]}:***@" if found[2] is None else f"{found[2]}***", url)
