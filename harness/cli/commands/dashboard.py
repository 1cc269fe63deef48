"""The command that shows a store in the browser."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.arguments import StoreUrl
from harness.errors import EnvironmentProblem
from harness.storage.url import DEFAULT_STORE, printable_url

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the page on this machine.")]
Sample = Annotated[bool, typer.Option("--sample", help="Show the small store that ships with the harness.")]


def dashboard(store: StoreUrl = DEFAULT_STORE, port: Port = 8501, sample: Sample = False) -> None:
    """Open the results in a browser, on this machine only."""
    found = find_spec("dashboard")
    if found is None or found.origin is None:
        raise EnvironmentProblem("the dashboard is not installed; install the whole project: `make install`")
    url = store
    if sample:
        shipped = Path(found.origin).parent / "sample" / "runs.db"
        if not shipped.exists():
            raise EnvironmentProblem(f"{shipped} is missing; restore it, or run something: `harness demo`")
        here = Path.cwd()  # pages print commands with this address: keep it short where it can be
        url = f"sqlite:///{shipped.relative_to(here) if shipped.is_relative_to(here) else shipped}"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise EnvironmentProblem(f"port {port} is taken, perhaps by another dashboard; give another --port")
    typer.echo(f"{printable_url(url)} on http://127.0.0.1:{port} (Ctrl-C ends it)")
    sys.stdout.flush()
    # this process becomes the server, so that a signal to it ends the server
    command = [sys.executable, "-m", "dashboard", f"--server.port={port}"]
    os.execve(sys.executable, command, {**os.environ, "HARNESS_STORE": url})
