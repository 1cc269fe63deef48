"""URLs of stores: the default one, one of a path, and any without its password for messages and logs."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import StoreError

DEFAULT_STORE = "sqlite:///results/runs.db"  # of a command without --store
_PASSWORDS = re.compile(r"(?<=://)([^:/@?]*):(?!\d+/)[^@]*@|([?&]password=)[^&]*")
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*):(?P<rest>/.*)", re.DOTALL | re.IGNORECASE)


def store_url(given: str) -> str:
    """The URL of a store that is given as one, or as the path of its SQLite file.

    >>> store_url("results/my runs.db")
    'sqlite:///results/my runs.db'
    >>> store_url("postgresql://me@host/runs?files=/shared")
    'postgresql://me@host/runs?files=/shared'

    Raises:
        StoreError: nothing, a folder, a path with a question mark, or a URL of SQLite without its three slashes.
    """
    if not given.strip():
        raise StoreError("--store is empty; give the path of its file, such as results/runs.db, or leave it out")
    found = _SCHEME.fullmatch(given)
    if found is not None and found["scheme"].lower() != "sqlite":
        return given
    path = given.removeprefix("sqlite:///")
    if found is not None and path == given:
        file = found["rest"].removeprefix("//")
        if not file:
            return given  # refused where it is opened, as in memory
        raise StoreError(f"{given!r}: a URL of SQLite has three slashes; write sqlite:///{file}, or the path: {file}")
    if path.endswith("/"):
        raise StoreError(f"{given!r} is a folder; name a file in it: {path}runs.db")
    if found is None and "?" in path:
        raise StoreError(f"{given!r} has a question mark, which ends the path of a URL; give a file without one")
    if path.startswith("~"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError as error:
            raise StoreError(f"{given!r}: {error}; write the path of the file in full") from error
    return f"sqlite:///{path}"


def printable_url(url: str) -> str:
    """The URL with `***` in place of its password.

    >>> printable_url("postgresql://me:secret@host/runs?files=/shared")
    'postgresql://me:***@host/runs?files=/shared'
    >>> printable_url("sqlite:///results/runs.db")
    'sqlite:///results/runs.db'
    """
    return _PASSWORDS.sub(lambda found: f"{found[1]}:***@" if found[2] is None else f"{found[2]}***", url)
