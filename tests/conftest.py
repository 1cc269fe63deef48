"""Fixtures that every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.storage.store import Store

pytest_plugins = ("proving",)


@pytest.fixture(autouse=True)
def _main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's AppTest leaves its script as `__main__`, which every process that a later test starts would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def data() -> Callable[[str], Path]:
    """`data("tinystories")`: that folder of real data, or a skip with the reason."""

    def find(name: str) -> Path:
        root = os.environ.get("HARNESS_DATA")
        if not root:
            pytest.skip("HARNESS_DATA is not set: this check compares with outside data")
        folder = Path(root) / name
        if not folder.exists():
            pytest.skip(f"HARNESS_DATA has no {name}")
        return folder

    return find


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened
