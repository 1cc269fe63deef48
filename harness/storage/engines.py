"""Connections to a store's database: a SQLite file for one machine, or a PostgreSQL server for several."""

from __future__ import annotations

import random
import time
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from harness.errors import StoreError
from harness.storage.url import printable_url
from harness.system.sqlite import driver

Mode = Literal["rwc", "rw", "ro"]
BUSY_SECONDS = 60  # a writer waits so long for one transaction of another; a flush of a disk has taken 30
PAUSE = 0.05  # seconds; the longest pause between two tries of a writer while others commit
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs")
# A lost client must not keep its locks, and a lost server must not keep a worker waiting for hours.
_LINE = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 60_000}
_WAITS = "-c idle_in_transaction_session_timeout=60s -c lock_timeout=60s"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")


class database_time(FunctionElement[float]):
    """Seconds since 1970 by the database's own clock: the one clock that all workers share."""

    type = sa.Float()
    inherit_cache = True


@compiles(database_time, "sqlite")
def _sqlite_time(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_time, "postgresql")
def _postgres_time(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@dataclass(frozen=True)
class Place:
    """Location of a store: its database, and the folder of its files (rollouts, checkpoints, shared models).

    `path` is the SQLite file; None where the database is a server.
    """

    url: str
    folder: Path
    path: Path | None

    def engine(self, mode: Mode) -> sa.Engine:
        """Connections to the database; a writing transaction asks for the write lock as it starts."""
        if self.path is None:
            url = sa.make_url(self.url).set(drivername="postgresql+psycopg")
            own = url.query.get("options", "")  # such as a search_path; the URL's come last and override
            options = f"{_WAITS}{' -c default_transaction_read_only=on' * (mode == 'ro')} {own}"
            bare = url.difference_update_query(["files", "options"])
            return sa.create_engine(bare, connect_args=_LINE | {"options": options}, pool_pre_ping=True)
        file = sa.URL.create("sqlite", database=self.path.as_uri(), query={"mode": mode, "uri": "true"})
        engine = sa.create_engine(file, module=driver)
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
        return engine


def place_of(url: str) -> Place:
    """Location that a store's URL names: `sqlite:///PATH`, or `postgresql://USER@HOST/DATABASE?files=/FOLDER`.

    Raises:
        StoreError: another kind of URL, a folder, no folder for the files, or SQLite on a network file system.
    """
    if url.partition("://")[0] in _POSTGRES:
        files = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)).get("files", "")
        if not files.startswith("/"):
            raise StoreError(
                f"{printable_url(url)}: rollouts and checkpoints are files; say where with ?files=/FOLDER, one that "
                "every worker sees"
            )
        return Place(url, Path(files), None)
    path = path_of(url)
    mount, kind = filesystem(path)
    if kind in NETWORK or kind.startswith("fuse."):
        raise StoreError(
            f"{path} is on {kind} (mounted at {mount}), where SQLite's locks do not hold; give a local --store, "
            "or PostgreSQL: postgresql://USER@HOST/DATABASE?files=/FOLDER"
        )
    return Place(url, path.parent, path)


def path_of(url: str) -> Path:
    """The absolute path of `sqlite:///PATH`.

    Raises:
        StoreError: another kind of URL, or a folder.
    """
    scheme, _, place = url.partition(":///")
    if scheme.rstrip("/:") != "sqlite" or "?" in place:
        raise StoreError(
            f"{printable_url(url)!r} is not a store's URL; write sqlite:///results/runs.db, or for workers on several "
            "hosts postgresql://USER@HOST/DATABASE?files=/FOLDER"
        )
    if place in ("", ":memory:"):
        raise StoreError(f"{url!r} is in memory, but rollouts are files beside it; write sqlite:///results/runs.db")
    path = Path(place).absolute()
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file in it: sqlite:///{path}/runs.db")
    return path


def filesystem(path: Path) -> tuple[str, str]:
    """(mount point, type) of the file system that a path is on or would be on; empty where unknown."""
    try:
        real = path.resolve()
        mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    except OSError:
        return "", ""
    best = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return ("", "") if best is None else (best.mountpoint, best.fstype)


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT with `on_conflict_do_nothing`, in the connection's dialect."""
    known = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return known[connection.dialect.name](table)


def _on_connect(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is a deferred one; _on_begin chooses
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # A deferred transaction that turns to writing fails with "database is locked" at once, whatever the timeout.
    if connection.get_execution_options().get("begin") == "IMMEDIATE":
        _take_write_lock(connection.connection.driver_connection)
    else:
        connection.exec_driver_sql("BEGIN DEFERRED")


def _take_write_lock(connection: Any) -> None:
    """Begin a writing transaction once no other connection is in one; fail after `BUSY_SECONDS` without any commit.

    SQLite's own wait ends after a fixed time, however many others wrote meanwhile, and its pauses grow: among 64
    writers the latest arrivals look every few ms and take the lock from those that wait longest.  With random pauses
    of one length every writer is equally likely to be next, and the time limit restarts with every commit of another.
    Without commits all writers try less often: while 63 kept trying, flushes stalled until these gave up.
    """
    connection.execute("PRAGMA busy_timeout=0")
    seen, since = None, time.monotonic()
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except driver.OperationalError as error:
                if "locked" not in str(error):
                    raise
                with suppress(driver.OperationalError):  # outside WAL mode a writer keeps readers out, too
                    (commits,) = connection.execute("PRAGMA data_version").fetchone()
                    if commits != seen:
                        seen, since = commits, time.monotonic()
                if time.monotonic() - since > BUSY_SECONDS:
                    raise
            still = time.monotonic() - since  # seconds without a commit
            time.sleep(random.uniform(0.0, max(PAUSE, min(still / 2, 1.0))))
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
