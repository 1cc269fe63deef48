"""The SQLite library in use: pysqlite3's where that is installed, else Python's own.

SQLite before 3.51.3 can damage a WAL file that several processes write (its "WAL-reset" bug), and the library that a
Python was built with is often years old.  A process must use only one of the two: a file's locks belong to the process,
and closing the file in one library releases the locks of the other.
"""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import suppress
from typing import Any

SAFE = (3, 51, 3)
driver: Any = sqlite3
with suppress(ImportError):
    driver = importlib.import_module("pysqlite3")


def version() -> str:
    """The version in use, such as `3.53.4`."""
    return str(driver.sqlite_version)


def is_safe() -> bool:
    """True if it has the fix for several writing processes."""
    return tuple(int(part) for part in version().split(".")) >= SAFE
