"""The plan of a grid: its cells by status in the store, and an estimate of the time that the others take."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from harness.config.model import ARCHITECTURES, ModelConfig
from harness.config.names import row_names
from harness.config.run import RunConfig
from harness.system.model_files import spelled

# Two runs that agree in these keys take about the same time.
_COST = ("benchmark.", "model.", "sampling.", "metrics")
_COST_KEYS = (
    "trainer.name",
    "actions.backspace",
    "training.steps",
    "training.tokens",
    "training.seconds",
    "training.rows",
)


@dataclass(frozen=True)
class Counts:
    """Cells by status, and an estimate of the time that the unfinished ones take, in `seconds`; None: not known."""

    cells: int
    done: int
    failed: int
    running: int
    pending: int
    seconds: float | None


@dataclass(frozen=True)
class Plan(Counts):
    """The cells of a grid by status, and an estimate of the time that the unfinished ones take.

    Attributes:
        seconds: sum over unfinished cells of the median wall time of finished runs that differ only in seeds, or
            else agree in benchmark, model, trainer name, action space, budget, sampling and metrics; None when no
            unfinished cell has such a run.  Cells run one after the other; training of the base is not in it.
        unknown: unfinished cells without such a run, which `seconds` leaves out.
        controls: how many of the cells are controls.
        finished: runs in the store from which times are known.
    """

    unknown: int
    controls: int = 0
    finished: int = field(default=0, compare=False)

    @property
    def reason(self) -> str | None:
        """The reason why the time of some cells is not known, and what makes it known; None where all of it is."""
        if not self.unknown:
            return None
        why = "no run has finished in this store"
        if self.finished:
            why = f"none of the {self.finished} finished runs here has the benchmark, model, trainer, <backspace>, "
            why += "budget, sampling and metrics of these cells"
        return f"{why}; `harness run` with --limit 1 computes the first one"

    @property
    def time(self) -> str:
        """The estimate as text: `0:04:10`, `at least 0:04:10 (...)`, or `not known yet: ` and the reason."""
        return time_text(self.seconds, self.unknown, self.reason)


def time_text(seconds: float | None, unknown: int, reason: str | None) -> str:
    """An estimate that leaves `unknown` cells out, as text."""
    if seconds is None:
        return f"not known yet: {reason}"
    time = str(timedelta(seconds=round(seconds)))
    return f"at least {time} ({unknown} cells unlike any finished run)" if unknown else time


@dataclass(frozen=True)
class Row(Counts):
    """The cells of a plan that differ in their seeds alone.

    Attributes:
        name: what tells them from the other rows.
        seconds: the estimate for those that are not done; None where no finished run is like them.
    """

    name: str


class _Times:
    """The wall times of finished runs, in seconds."""

    def __init__(self, runs: Sequence[Mapping[Any, Any]]) -> None:
        self.count = 0
        self._same: dict[str, list[float]] = defaultdict(list)
        self._similar: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in runs:
            if row["status"] == "done":
                taken = (row["finished"] - row["started"]).total_seconds()
                self.count += 1
                self._same[row["group_id"]].append(taken)
                self._similar[_cost(row)].append(taken)

    def of(self, cell: RunConfig) -> float | None:
        """The median of the runs that differ only in seeds, or else cost about the same; None without any."""
        finished = self._same.get(cell.group_id) if self.count else None
        if not finished and self.count:
            finished = self._similar.get(_cost(cell.flat()))
        return statistics.median(finished) if finished else None


def plan(cells: Sequence[RunConfig], runs: Sequence[Mapping[Any, Any]]) -> Plan:
    """The plan of a grid's cells, given `runs`, the rows that `Store.runs` gives."""
    found = plan_rows(cells, runs)
    unknown = sum(row.cells - row.done for row in found if row.seconds is None)
    known = [row.seconds for row in found if row.seconds is not None and row.done < row.cells]
    return Plan(
        cells=len(cells),
        done=sum(row.done for row in found),
        failed=sum(row.failed for row in found),
        running=sum(row.running for row in found),
        pending=sum(row.pending for row in found),
        seconds=sum(known) if known or not unknown else None,
        unknown=unknown,
        controls=sum(cell.is_control for cell in cells),
        finished=sum(row["status"] == "done" for row in runs),
    )


def plan_rows(cells: Sequence[RunConfig], runs: Sequence[Mapping[Any, Any]]) -> list[Row]:
    """The plan's rows in the order in which their first cells run; arguments as of `plan`."""
    status = {row["run_id"]: row["status"] for row in runs}
    times = _Times(runs)
    members: dict[str, list[RunConfig]] = {}
    for cell in cells:
        members.setdefault(cell.group_id, []).append(cell)
    names = row_names(group[0] for group in members.values())
    found = []
    for group_id, group in members.items():
        count = Counter(status.get(cell.run_id, "pending") for cell in group)
        left = len(group) - count["done"]
        each = times.of(group[0]) if left else 0.0
        seconds = None if each is None else left * each
        shares = {key: count[key] for key in ("done", "failed", "running", "pending")}
        found.append(Row(name=names[group_id], cells=len(group), **shares, seconds=seconds))
    return found


def earlier_models(cells: Sequence[RunConfig], runs: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Sentences about finished runs that differ from unfinished cells in their model directory alone.

    The directory has another content by now, has another name, or (a store that an earlier version wrote) its content
    was not recorded.  Such runs are not taken for the cells; `runs` are rows as `Store.runs` gives them.
    """
    finished = Counter(row["group_id"] for row in runs if row["status"] == "done")
    done = {row["run_id"] for row in runs if row["status"] == "done"}
    models = [(row["model.name"], row.get("model.revision")) for row in runs if row["run_id"] in done]
    known = dict.fromkeys(
        (name, revision if isinstance(revision, str) else None)  # a column of a table has NaN for None
        for name, revision in models
        if name not in ARCHITECTURES
    )
    groups = {cell.group_id: cell for cell in cells if cell.model.revision is not None and cell.run_id not in done}
    found: dict[ModelConfig, Counter[tuple[str, str | None]]] = defaultdict(Counter)
    for cell in groups.values():
        for name, revision in known:
            own = cell.model
            if spelled(name) != own.name and revision != own.revision:
                continue
            other = own.model_copy(update={"name": name, "revision": revision})
            count = 0 if other == own else finished[cell.model_copy(update={"model": other}).group_id]
            if count:
                found[ModelConfig(name=own.name, revision=own.revision)][name, revision] += count
    return [_earlier(model, *other, n) for model, others in found.items() for other, n in others.items()]


def _earlier(model: ModelConfig, name: str, revision: str | None, count: int) -> str:
    """The sentence about finished runs of another content, of none on record, or of another name."""
    runs = f"{count} finished run{'s' if count > 1 else ''} that differ{'s' if count == 1 else ''} in nothing else"
    if revision is None:
        return (
            f"model.name={model.name}: its content is {model.revision}; {runs} did not record the content, which may "
            "have changed since: they stay rows of their own, and these cells are other runs"
        )
    if revision != model.revision:
        return (
            f"model.name={model.name}: its content is {model.revision}, and was {revision} in {runs}: another model, "
            "so these cells are other runs; restore the directory to go on with the earlier ones"
        )
    return (
        f"model.name={model.name}: the same content, {model.revision}, is called {name} in {runs}; give it that name "
        f"again, or write model.name={name} where it is still there, to go on with them"
    )


def _cost(flat: Mapping[Any, Any]) -> tuple[str, ...]:
    """The part of a flat configuration that decides the time; NaN stands for a key that a run does not have."""
    return tuple(
        f"{key}={value}"
        for key, value in sorted(flat.items())
        if (key.startswith(_COST) or key in _COST_KEYS)
        and key != "model.revision"
        and value == value
        and value is not None
    )
