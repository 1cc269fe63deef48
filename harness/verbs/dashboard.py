"""The verb that shows a store in the browser."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError
from harness.verbs.arguments import DEFAULT_STORE, StoreUrl

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")]
Sample = Annotated[bool, typer.Option("--sample", help="Show the small store that ships with the harness.")]


def dashboard(store: StoreUrl = DEFAULT_STORE, port: Port = 8501, sample: Sample = False) -> None:
    """Open the results in a browser, on this machine only."""
    found = find_spec("dashboard")
    if found is None or found.origin is None:
        raise HarnessError("the dashboard is not installed; install the whole project, `make install`")
    folder = Path(found.origin).parent
    url = f"sqlite:///{folder / 'sample' / 'runs.db'}" if sample else store
    typer.echo(f"{url} on http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py"), f"--server.port={port}"]
    try:
        ended = subprocess.run(command, env={**os.environ, "HARNESS_STORE": url}, check=False)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(0 if ended.returncode in (0, 130, -2, -15) else 3)
