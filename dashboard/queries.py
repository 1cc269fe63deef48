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


def scores_of(run_id: str) -> pd.DataFrame:
    """As `Store.scores` of one run."""
    return open_store().scores(run_id=run_id)


def curves(run_id: str) -> pd.DataFrame:
    """As `Store.curves`."""
    return open_store().curves(run_id)


def provenance(run_id: str) -> dict[str, Any] | None:
    """As `Store.provenance`."""
    return open_store().provenance(run_id)


def run_names(frame: pd.DataFrame) -> dict[str, str]:
    """Run ids with what a person calls them: benchmark, trainer, action space, seed."""
    names = {}
    for row in frame.to_dict("records"):
        words = [row["benchmark.name"], row["trainer.name"], row.get("trainer.divergence")]
        words += ["<backspace>" if row["actions.backspace"] else None, f"seed {row['seeds.train']}"]
        names[row["run_id"]] = " ".join(str(word) for word in words if isinstance(word, str))
    return names


def configuration(row: pd.Series) -> dict[str, str]:
    """A run's configuration under dotted keys, keys that it does not have left out."""
    return {str(key): str(value) for key, value in row.items() if "." in str(key) and value == value}


def number(value: Any) -> str:
    """A number as a person reads it; a dash where there is none."""
    if value is None or value != value:
        return "–" if value is None else "nan"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def quoted(field: str) -> str:
    """A column's name as a chart's field: dots and colons mean something there."""
    return field.replace(".", "\\.").replace(":", "\\:")


def as_yaml(facts: dict[str, Any], indent: str = "") -> str:
    """Nested facts as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", as_yaml(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
