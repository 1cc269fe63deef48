"""The plan of a grid: its cells by status in the store, and an estimate of the time that the others take."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.run import RunConfig

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


def _cost(flat: Mapping[Any, Any]) -> tuple[str, ...]:
    """The part of a flat configuration that decides the time; NaN stands for a key that a run does not have."""
    return tuple(
        f"{key}={value}"
        for key, value in sorted(flat.items())
        if (key.startswith(_COST) or key in _COST_KEYS) and value == value and value is not None
    )
