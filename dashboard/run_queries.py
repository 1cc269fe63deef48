"""Cached queries about runs and texts: read-only, and repeated only when the store has changed."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pandas as pd
import streamlit as st

from harness.analysis.groups import control, grouped_rows, tables, titles
from harness.analysis.replay import Frame, frames
from harness.analysis.samples import Sample, side_by_side
from harness.report.leaderboard_table import row_labels
from harness.storage.queries import Run, read_grids, read_runs, read_timings
from harness.storage.rollout_files import Row, backspace_of
from harness.storage.store import Store
from harness.storage.url import DEFAULT_STORE
from harness.system.printable import printable

EVERYTHING = "all runs"
SECONDS_BETWEEN_LOOKS = 2  # age of a cached answer where a change of the store cannot be detected
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
    """A value that changes with every write: size and time of the database's files, or the time at a server."""
    store = open_store()
    if not store.is_file:
        return (int(time.time() / SECONDS_BETWEEN_LOOKS),)
    files = [store.path, store.path.with_name(store.path.name + "-wal")]
    found = [file.stat() for file in files if file.exists()]
    return tuple(number for one in found for number in (one.st_mtime_ns, one.st_size))


def chosen_grid() -> str | None:
    """The grid that the page is about; None for all runs."""
    chosen: str | None = st.session_state.get("chosen_grid")
    return chosen


def grid_label() -> str:
    """The grid's name as the URL has it."""
    return printable(chosen_grid() or EVERYTHING)


def grids() -> list[str]:
    """Names of the grids in the store, the newest first."""
    return _grids(store_url(), stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _grids(url: str, at: Stamp) -> list[str]:
    return read_grids(_store(url))


def archived(grid: str) -> str:
    """A sentence about the grid of that printable name if it is archived; else empty."""
    store = open_store()
    for name in store.archived_grids():
        if printable(name) == grid:
            return f"Grid {grid} is archived; `harness restore {shlex.quote(name)}` brings it back."
    return ""


# -------------------------------------------------------------------------------------------------- the runs


def runs(grid: str | None) -> list[Run]:
    """Every run of the grid, in its order."""
    return _runs(store_url(), stamp(), grid)


@st.cache_resource(max_entries=6, show_spinner=False)
def _runs(url: str, at: Stamp, grid: str | None) -> list[Run]:
    return read_runs(_store(url), grid)


def finished(grid: str | None) -> list[Run]:
    """The runs that are done."""
    return [run for run in runs(grid) if run.status == "done"]


def counts(grid: str | None) -> dict[str, int]:
    """Number of cells, in all and of each status; a cell whose process has ended is pending."""
    return open_store().counts(grid)


@dataclass(frozen=True)
class Group:
    """Runs that differ in seeds only: a row of the leaderboard.

    Attributes:
        group_id: as the store has it.
        label: a few words, unique within its benchmark.
        benchmark: the title of its benchmark, unique among those of the grid.
        runs: by seed, in words.
        is_control: whether it is a control row.
    """

    group_id: str
    label: str
    benchmark: str
    runs: Mapping[str, Run]
    is_control: bool

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that its runs share, seeds left out."""
        return next(iter(self.runs.values())).config

    @property
    def run_ids(self) -> list[str]:
        """The ids of its runs."""
        return [run.run_id for run in self.runs.values()]


def groups(grid: str | None, *, unfinished: bool = False) -> list[Group]:
    """Groups of finished runs in the grid's order, control rows last in each benchmark; or of all runs."""
    return _groups(store_url(), stamp(), grid, unfinished)


@st.cache_resource(max_entries=6, show_spinner=False)
def _groups(url: str, at: Stamp, grid: str | None, unfinished: bool) -> list[Group]:
    everything = _runs(url, at, grid)
    members = tables(_with_data(everything) if unfinished else [run for run in everything if run.status == "done"])
    found: list[Group] = []
    for whole, part in zip(titles(members), members, strict=True):
        title, others = printable(whole), {group.benchmark for group in found}
        title = title if title not in others else f"{title} ({part[0].run_id})"
        _, alike = grouped_rows(part, None)
        taken: set[str] = set()
        for label, group in zip(row_labels(alike), alike, strict=True):
            first = group.runs[0]
            name = printable(label) if printable(label) not in taken else f"{printable(label)} ({first.group_id})"
            taken.add(name)
            of_control = control(first.config) is not None
            found.append(Group(first.group_id, name, title, by_seed(group.runs), of_control))
    return found


def _with_data(members: Sequence[Run]) -> list[Run]:
    """Unfinished runs with the data hash of the finished ones of their group; their own is known only at the end."""
    known = {run.group_id: run.data_hash for run in members if run.data_hash is not None}
    only = set(known.values())
    default = only.pop() if len(only) == 1 else None
    return [
        run if run.data_hash is not None else replace(run, data_hash=known.get(run.group_id, default))
        for run in members
    ]


def short_titles(found: Sequence[Group]) -> dict[str, str]:
    """Benchmark titles by their names alone, or by the whole title where two have the same name."""
    whole = list(dict.fromkeys(group.benchmark for group in found))
    names = [title.partition(" (")[0] for title in whole]
    return {name if names.count(name) == 1 else title: title for name, title in zip(names, whole, strict=True)}


def by_seed(members: Sequence[Run]) -> dict[str, Run]:
    """Runs of one group by their training seed, or by all three seeds where that one is not unique."""
    alone = len({run.seeds.train for run in members}) == len(members)
    return {str(run.seeds.train) if alone else "/".join(map(str, run.seeds)): run for run in members}


def run_names(grid: str | None) -> dict[str, str]:
    """Display name of each run, by run id."""
    found = groups(grid, unfinished=True)
    several = len({group.benchmark for group in found}) > 1
    return {
        run.run_id: (f"{group.benchmark.partition(' (')[0]}: " if several else "") + f"{group.label}, seed {seed}"
        for group in found
        for seed, run in group.runs.items()
    }


def run_frame(grid: str | None) -> pd.DataFrame:
    """One row per run, for a download."""
    facts = ("run_id", "group_id", "status", "steps", "tokens", "seconds")
    return pd.DataFrame(
        {name: getattr(run, name) for name in facts}
        | {f"seeds.{name}": seed for name, seed in run.seeds._asdict().items()}
        | dict(run.config)
        for run in runs(grid)
    )


# ---------------------------------------------------------------------------------------------- while it runs


@dataclass(frozen=True)
class Working:
    """A cell at work: its name, the share of its training that is done, seconds since its start, and seconds left.

    `left` comes from finished runs of the same benchmark and trainer, None where there are none.
    """

    name: str
    share: float
    step: int | None
    spent: float
    left: float | None


def working(grid: str | None) -> list[Working]:
    """The cells at work."""
    members = {run.run_id: run for run in runs(grid)}
    running = {run_id: run for run_id, run in members.items() if run.status == "running"}
    if not running:
        return []
    took: dict[tuple[Any, Any], list[float]] = {}
    started: dict[str, float] = {}
    now = datetime.now(UTC).timestamp()
    for one in read_timings(open_store(), grid, ("done", "running")):
        run = members.get(one.run_id)
        if run is None or one.started is None:
            continue
        if one.finished is None:
            started[run.run_id] = now - _moment(one.started)
        else:
            took.setdefault(_kind(run), []).append(_moment(one.finished) - _moment(one.started))
    names = run_names(grid)
    found = []
    for run_id, run in running.items():
        spent, alike = started.get(run_id, 0.0), took.get(_kind(run))
        left = None if alike is None else max(0.0, median(alike) - spent)
        found.append(Working(names[run_id], _share(run), run.steps, spent, left))
    return found


def failures(grid: str | None) -> list[tuple[str, str, str]]:
    """The first failed runs: id, name, and the end of the reason."""
    names = run_names(grid)
    return [
        (one.run_id, names.get(one.run_id, one.run_id), (one.error or "no reason given").strip().splitlines()[-1])
        for one in read_timings(open_store(), grid, ("failed",))[:FAILURES]
    ]


def failed_grids() -> list[str]:
    """The grids that have failed cells."""
    return [grid for grid in grids() if counts(grid)["failed"]]


def error_of(run_id: str) -> str:
    """Reason why a run failed."""
    found = [one.error for one in read_timings(open_store(), None, ("failed",)) if one.run_id == run_id]
    return (found[0] if found else None) or "no reason given"


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _kind(run: Run) -> tuple[Any, Any]:
    return run.config.get("benchmark.name"), run.config.get("trainer.name")


def _share(run: Run) -> float:
    """Share of its budget that a run has used, in [0, 1]."""
    used = {"training.steps": run.steps, "training.tokens": run.tokens, "training.seconds": run.seconds}
    shares = [(spent or 0) / run.config[key] for key, spent in used.items() if run.config.get(key)]
    return min(1.0, max(shares, default=0.0))


# ------------------------------------------------------------------------------------------------- one run


def scores_of(run_id: str) -> pd.DataFrame:
    """Scores of one run, as `Store.scores`."""
    return open_store().scores(run_id=run_id)


def attempts_at(run_id: str) -> list[Mapping[Any, Any]]:
    """Every attempt at a run, as `Store.attempts`."""
    return list(open_store().attempts(run_id).to_dict("records"))


def curves(run_id: str) -> pd.DataFrame:
    """Curves of one run, as `Store.curves`."""
    return _curves(store_url(), stamp(), run_id)


@st.cache_data(max_entries=8, show_spinner=False)
def _curves(url: str, at: Stamp, run_id: str) -> pd.DataFrame:
    return _store(url).curves(run_id)


def provenance(run_id: str) -> dict[str, Any]:
    """Provenance of one run, as `Store.provenance`; empty before the run is done."""
    return open_store().provenance(run_id) or {}


# --------------------------------------------------------------------------------------------------- texts


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of a run, and the action id of `<backspace>` (None: there is none, or an older file lacks it)."""

    rows: tuple[Row, ...]
    backspace: int | None

    def frames(self, number: int) -> tuple[Frame, ...]:
        """The actions of one rollout."""
        return frames(self.rows[number], self.backspace)

    def deletions(self, number: int) -> int:
        """Number of tokens that one rollout deleted."""
        return 0 if self.backspace is None else self.rows[number]["actions"].count(self.backspace)

    def by_position(self) -> pd.DataFrame:
        """The run's own actions by their number in the rollout: columns position, actions, deletes."""
        table: dict[int, list[int]] = {}
        for row in self.rows:
            for position, (action, given) in enumerate(zip(row["actions"], row["injected"], strict=True), start=1):
                if not given:
                    count = table.setdefault(position, [0, 0])
                    count[0] += 1
                    count[1] += action == self.backspace
        return pd.DataFrame(
            [(position, *table[position]) for position in sorted(table)], columns=["position", "actions", "deletes"]
        )


def rollouts(run_id: str) -> Rollouts:
    """Every rollout of a run.

    Raises:
        StoreError: their file is missing or damaged.
    """
    return _rollouts(store_url(), stamp(), run_id)


@st.cache_resource(max_entries=4, show_spinner=False)
def _rollouts(url: str, at: Stamp, run_id: str) -> Rollouts:
    found = _store(url).rollouts(run_id)
    return Rollouts(tuple(found.to_dict("records")), backspace_of(found))


def samples(run_ids: tuple[str, ...], order: str) -> list[Sample]:
    """Every prompt with the texts of the runs."""
    return _samples(store_url(), stamp(), run_ids, order)


@st.cache_resource(max_entries=6, show_spinner=False)
def _samples(url: str, at: Stamp, run_ids: tuple[str, ...], order: str) -> list[Sample]:
    return side_by_side(_store(url), run_ids, order)


# -------------------------------------------------------------------------------------------------- words


def as_lines(facts: Mapping[str, Any], indent: str = "") -> str:
    """Nested facts as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", as_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {'–' if value is None else value}")
    return "\n".join(lines)
