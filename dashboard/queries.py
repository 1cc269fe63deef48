"""What the pages ask of a store about its runs and texts: read-only, and asked again only when the store has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from harness.groups import settings, varying
from harness.readings import Run, read_runs
from harness.replaying import Frame, backspace_of, frames
from harness.samples import Sample, side_by_side
from harness.selection import short_keys, written
from harness.store import Store

DEFAULT_STORE = "sqlite:///results/runs.db"
SECONDS_BETWEEN_LOOKS = 2  # how old an answer may be where the store cannot be seen to change
FAILURES = 5  # reasons shown at once

Stamp = tuple[int, ...]

# ------------------------------------------------------------------------------------------------- the store


def store_url() -> str:
    """The store that this dashboard shows."""
    return os.environ.get("HARNESS_STORE", DEFAULT_STORE)


def open_store() -> Store:
    """The store, for reading.

    Raises:
        StoreError: there is none yet, or it cannot be read.
    """
    return _store(store_url())


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(url: str) -> Store:
    return Store.open(url, read_only=True)


def stamp() -> Stamp:
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


@st.cache_data(max_entries=8, show_spinner=False)
def _grids(url: str, at: Stamp) -> list[str]:
    return _store(url).grids()


# -------------------------------------------------------------------------------------------------- the runs


def runs(grid: str | None) -> list[Run]:
    """Every run of the grid, in its order."""
    return _runs(store_url(), stamp(), grid)


@st.cache_resource(max_entries=8, show_spinner=False)
def _runs(url: str, at: Stamp, grid: str | None) -> list[Run]:
    return read_runs(_store(url), grid)


def run_frame(grid: str | None) -> pd.DataFrame:
    """One row per run, for a download."""
    rows = [
        {"run_id": run.run_id, "group_id": run.group_id, "status": run.status, "steps": run.steps, "tokens": run.tokens}
        | {
            "seconds": run.seconds,
            **{f"seeds.{name}": seed for name, seed in run.seeds._asdict().items()},
            **run.config,
        }
        for run in runs(grid)
    ]
    return pd.DataFrame(rows)


def finished(grid: str | None) -> list[Run]:
    """The runs that are done."""
    return [run for run in runs(grid) if run.status == "done"]


def counts(grid: str | None) -> dict[str, int]:
    """How many cells there are, and how many of each status; a cell whose process is dead is pending."""
    statuses = [run.status for run in runs(grid)]
    return {"cells": len(statuses)} | {
        status: statuses.count(status) for status in ("done", "failed", "running", "pending")
    }


def run_name(run: Run) -> str:
    """What a person calls a run: benchmark, trainer, divergence, action space, control, seed."""
    config = run.config
    words = [config.get("benchmark.name"), config.get("trainer.name"), config.get("trainer.divergence")]
    words = [config.get("benchmark.name"), config["control"]] if config.get("control") else words
    words += ["<backspace>" if config.get("actions.backspace") else None, f"seed {run.seeds.train}"]
    return " ".join(str(word) for word in words if word is not None)


def run_names(members: Sequence[Run]) -> dict[str, str]:
    """Run ids with what a person calls them."""
    return {run.run_id: run_name(run) for run in members}


def active(grid: str | None) -> list[list[str]]:
    """Cells at work: name, step, time since the start, time left (from done runs alike; a dash where there are none)."""
    running = {run.run_id: run for run in runs(grid) if run.status == "running"}
    if not running:
        return []
    took: dict[Any, list[float]] = {}
    frame = open_store().runs(grid)
    for row in frame[frame["status"] == "done"].to_dict("records"):
        took.setdefault((row["benchmark.name"], row["trainer.name"]), []).append(
            (row["finished"] - row["started"]).total_seconds()
        )
    rows = []
    for row in frame[frame["run_id"].isin(list(running))].to_dict("records"):
        spent = (datetime.now(UTC) - row["started"]).total_seconds()
        alike = took.get((row["benchmark.name"], row["trainer.name"]))
        left = "–" if not alike else f"{max(0.0, sum(alike) / len(alike) - spent):.0f} s"
        rows.append([run_name(running[row["run_id"]]), number(row["step"]), f"{spent:.0f} s", left])
    return rows


def failures(grid: str | None) -> list[tuple[str, str]]:
    """The first failed runs by name, each with the end of its reason."""
    failed = {run.run_id: run_name(run) for run in runs(grid) if run.status == "failed"}
    if not failed:
        return []
    frame = open_store().runs(grid, "failed")
    return [
        (failed.get(row["run_id"], row["run_id"]), str(row["error"]).strip().splitlines()[-1])
        for row in frame.head(FAILURES).to_dict("records")
    ]


def matrix(
    grid: str | None,
) -> tuple[list[tuple[list[str], dict[int, tuple[str, float | None]]]], list[str], list[int]]:
    """Groups with the status and seconds of each seed's cell; the names of their keys; all seeds."""
    members = runs(grid)
    configs: dict[str, Mapping[str, Any]] = {run.group_id: dict(run.config) for run in members}
    keys = varying(configs.values()) or ["trainer.name"]
    cells: dict[str, dict[int, tuple[str, float | None]]] = {}
    for run in members:
        cells.setdefault(run.group_id, {})[run.seeds.train] = (run.status, run.seconds)
    rows = [
        ([written(configs[group][key]) if key in configs[group] else "–" for key in keys], by_seed)
        for group, by_seed in cells.items()
    ]
    return rows, short_keys(keys), sorted({run.seeds.train for run in members})


def group_names(members: Sequence[Run]) -> dict[str, str]:
    """Group ids with what tells them apart, in words."""
    configs: dict[str, Mapping[str, Any]] = {run.group_id: run.config for run in members}
    keys = varying([settings(config) | _benchmark(config) for config in configs.values()]) or ["trainer.name"]
    short = dict(zip(keys, short_keys(keys), strict=True))
    bare = ("trainer.name", "trainer.divergence", "benchmark.name")
    return {
        group: ", ".join(
            written(config[key]) if key in bare else f"{short[key]}={written(config[key])}"
            for key in keys
            if key in config
        )
        for group, config in configs.items()
    }


def _benchmark(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key.startswith("benchmark.")}


def learning(grid: str | None, groups: tuple[str, ...], against: str) -> pd.DataFrame:
    """Mean loss over seeds by step, tokens or seconds: columns group, `against`, loss."""
    parts = []
    for run in finished(grid):
        if run.group_id in groups:
            parts.append(curves(run.run_id).assign(group=run.group_id))
    if not parts:
        return pd.DataFrame()
    everything = pd.concat(parts)
    by_step = everything.groupby(["group", "step"], as_index=False)[["tokens", "seconds", "loss"]].mean()
    return by_step[["group", against, "loss"]].dropna()


# ------------------------------------------------------------------------------------------------- one run


def scores_of(run_id: str) -> pd.DataFrame:
    """As `Store.scores` of one run."""
    return open_store().scores(run_id=run_id)


def error_of(run_id: str) -> str:
    """Why a run failed."""
    frame = open_store().runs(status="failed")
    found = frame[frame["run_id"] == run_id]["error"]
    return "it does not fail any more" if found.empty else str(found.iloc[0])


def curves(run_id: str) -> pd.DataFrame:
    """As `Store.curves`."""
    return _curves(store_url(), stamp(), run_id)


@st.cache_data(max_entries=256, show_spinner=False)
def _curves(url: str, at: Stamp, run_id: str) -> pd.DataFrame:
    return _store(url).curves(run_id)


def provenance(run_id: str) -> dict[str, Any]:
    """As `Store.provenance`; empty before the run is done."""
    return open_store().provenance(run_id) or {}


# --------------------------------------------------------------------------------------------------- texts


@dataclass(frozen=True)
class Replay:
    """One rollout: its prompt and its actions as they happened."""

    prompt: str
    frames: tuple[Frame, ...]


def replays(run_id: str) -> list[Replay]:
    """Every rollout of a run."""
    return _replays(store_url(), run_id)


@st.cache_resource(max_entries=4, show_spinner=False)
def _replays(url: str, run_id: str) -> list[Replay]:
    rows = _store(url).rollouts(run_id).to_dict("records")
    backspace = backspace_of(rows)
    return [Replay(row["prompt"], frames(row, backspace)) for row in rows]


def samples(run_ids: tuple[str, ...], order: str) -> list[Sample]:
    """Every prompt with what the runs wrote there."""
    return _samples(store_url(), run_ids, order)


@st.cache_resource(max_entries=8, show_spinner=False)
def _samples(url: str, run_ids: tuple[str, ...], order: str) -> list[Sample]:
    return side_by_side(_store(url), run_ids, order)


# -------------------------------------------------------------------------------------------------- words


def number(value: Any) -> str:
    """A number as a person reads it; a dash where there is none."""
    if value is None or value != value:
        return "–" if value is None else "nan"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def quoted(field: str) -> str:
    """A column's name as a chart's field: dots, colons and brackets mean something there."""
    return "".join(f"\\{symbol}" if symbol in ".:[]" else symbol for symbol in field)


def as_lines(facts: Mapping[str, Any], indent: str = "") -> str:
    """Nested facts as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", as_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
