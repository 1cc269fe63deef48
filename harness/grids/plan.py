"""The plan of a grid: its cells by status in the store, and an estimate of the time that the others take."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.model import ARCHITECTURES, ModelConfig
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
class Plan:
    """The cells of a grid by status, and an estimate of the time that the unfinished ones take.

    Attributes:
        seconds: sum over unfinished cells of the median wall time of finished runs that differ only in seeds, or
            else agree in benchmark, model, trainer name, action space, budget, sampling and metrics; None when no
            unfinished cell has such a run.  Cells run one after the other; training of the base is not in it.
        unknown: unfinished cells without such a run, which `seconds` leaves out.
        controls: how many of the cells are controls.
    """

    cells: int
    done: int
    failed: int
    running: int
    pending: int
    seconds: float | None
    unknown: int
    controls: int = 0


def plan(cells: Sequence[RunConfig], runs: Sequence[Mapping[Any, Any]]) -> Plan:
    """The plan of a grid's cells, given `runs`, the rows that `Store.runs` gives."""
    status = {row["run_id"]: row["status"] for row in runs}
    same: dict[str, list[float]] = defaultdict(list)
    similar: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in runs:
        if row["status"] == "done":
            taken = (row["finished"] - row["started"]).total_seconds()
            same[row["group_id"]].append(taken)
            similar[_cost(row)].append(taken)
    count: Counter[str] = Counter()
    known: list[float] = []
    unknown = 0
    for cell in cells:
        here = status.get(cell.run_id, "pending")
        count[here] += 1
        if here != "done":
            finished = same.get(cell.group_id) or similar.get(_cost(cell.flat()))
            if finished:
                known.append(statistics.median(finished))
            else:
                unknown += 1
    return Plan(
        cells=len(cells),
        done=count["done"],
        failed=count["failed"],
        running=count["running"],
        pending=count["pending"],
        seconds=sum(known) if known or not unknown else None,
        unknown=unknown,
        controls=sum(cell.is_control for cell in cells),
    )


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
