"""`harness dashboard` becomes a server on this machine that shows the store it was given."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.commands import dashboard


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_starts_the_server_for_that_store(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(dashboard.os, "execve", lambda *given: started.append(given))
    port = free_port()
    done = CliRunner().invoke(app, ["dashboard", "--store", "sqlite:////somewhere/runs.db", "--port", str(port)])
    assert done.exit_code == 0, done.output
    assert f"http://127.0.0.1:{port}" in done.output
    ((program, command, environment),) = started
    assert (program, command) == (sys.executable, [sys.executable, "-m", "dashboard", f"--server.port={port}"])
    assert environment["HARNESS_STORE"] == "sqlite:////somewhere/runs.db"


def test_a_taken_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard.os, "execve", lambda *given: pytest.fail("started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["dashboard", "--port", str(port)])
    assert done.exit_code == 3
    assert f"port {port} is taken, perhaps by another dashboard; give another --port" in done.output
