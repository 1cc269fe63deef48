"""A PostgreSQL server of the test's own: on loopback, in a temporary folder, gone when the test is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


def programs() -> Path:
    """The folder with initdb and postgres, or a skip with the reason."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'sequencematch-harness[postgres]'")
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    for place in PLACES:
        folders += sorted(Path("/").glob(place.lstrip("/")))
    for folder in reversed(folders):
        if (folder / "postgres").exists():
            return folder
    pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server and give the URL of its database `postgres`, with a folder for files; stop it at the end."""
    bins = programs()
    data = folder / "data"
    data.mkdir(parents=True)
    who: dict[str, str] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root; Debian's package brings a user for it
        who = {"user": "postgres", "group": "postgres"}
        shutil.chown(data, **who)
        for parent in (folder, *folder.parents):
            if parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)  # the way to its folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-A", "trust", "-U", "harness", "-E", "UTF8", "--no-sync"]
    subprocess.run([bins / "initdb", "-D", data, *options], check=True, capture_output=True, cwd="/", **who)
    # no socket file: its path may have 107 bytes, and temporary folders lie deep
    settings = f"-h 127.0.0.1 -p {port} -k '' -c max_connections=100 -c fsync=off"
    control = [bins / "pg_ctl", "-D", data, "-w"]
    start = [*control, "-l", data / "log", "-o", settings, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **who)
    try:
        yield f"postgresql://harness@127.0.0.1:{port}/postgres?files={folder}/files"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True, cwd="/", **who)
