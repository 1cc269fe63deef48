"""What the pages ask of a store: read-only, and asked again only when the store has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from harness.report import Leaderboard, leaderboard
from harness.store import Store

DEFAULT_STORE = "sqlite:///results/runs.db"
SECONDS_BETWEEN_LOOKS = 2  # how old an answer may be where the store cannot be seen to change


def store_url() -> str:
    """The store that this dashboard shows."""
    return os.environ.get("HARNESS_STORE", DEFAULT_STORE)


def open_store() -> Store:
    """The store, for reading.

    Raises:
        StoreError: there is none yet, or it cannot be read.
    """
    return _store(store_url())


@st.cache_resource(max_entries=4)
def _store(url: str) -> Store:
    return Store.open(url, read_only=True)


def stamp() -> tuple[int, ...]:
    """What differs as soon as something was written: size and time of the database's files."""
    path = open_store().path
    files = [path, path.with_name(path.name + "-wal")]
    found = [file.stat() for file in files if file.exists()]
    return tuple(number for one in found for number in (one.st_mtime_ns, one.st_size)) or (
        int(time.time() / SECONDS_BETWEEN_LOOKS),
    )


def grids() -> list[str]:
    """Names of the grids in the store."""
    return _grids(store_url(), stamp())


def counts(grid: str | None) -> dict[str, int]:
    """How many cells there are, by status."""
    return _counts(store_url(), grid)


def runs(grid: str | None) -> pd.DataFrame:
    """As `Store.runs`."""
    return _runs(store_url(), stamp(), grid)


def board(grid: str | None, **asked: Any) -> Leaderboard:
    """As `harness.report.leaderboard`."""
    return _board(store_url(), stamp(), grid, tuple(sorted((key, _frozen(value)) for key, value in asked.items())))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


@st.cache_data(max_entries=8, show_spinner=False)
def _grids(url: str, at: tuple[int, ...]) -> list[str]:
    return _store(url).grids()


def _counts(url: str, grid: str | None) -> dict[str, int]:
    return _store(url).counts(grid)


@st.cache_data(max_entries=16, show_spinner=False)
def _runs(url: str, at: tuple[int, ...], grid: str | None) -> pd.DataFrame:
    return _store(url).runs(grid)


@st.cache_data(max_entries=64, show_spinner=False)
def _board(url: str, at: tuple[int, ...], grid: str | None, asked: tuple[tuple[str, Any], ...]) -> Leaderboard:
    return leaderboard(_store(url), grid=grid, **dict(asked))
