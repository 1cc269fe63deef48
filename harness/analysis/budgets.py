"""Scores against what training had taken by then: at an equal budget, along the way, and which are worth their price.

The numbers are those that runs were given while they trained, on the validation split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.costs import TOLERANCE
from harness.analysis.groups import mean
from harness.errors import ConfigError, did_you_mean
from harness.stats.intervals import Interval, t_interval
from harness.storage.queries import Interims, InterimValue, Run, Values

UNITS = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}
"""What a budget may be in, and the field of an interim score that has it."""


@dataclass(frozen=True)
class Budget:
    """An amount of `steps`, `tokens` or `seconds`."""

    unit: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`tokens=200000`.

        Raises:
            ConfigError: another form, an unknown unit, or an amount that is no positive number.
        """
        form = re.fullmatch(r"\s*(\w+)\s*=\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?)\s*", text)
        if form is None or not float(form[2]):
            raise ConfigError(f"--at {text}: not a budget; write tokens=200000, seconds=60 or steps=500")
        if form[1] not in UNITS:
            raise ConfigError(f"--at {text}: unknown unit {form[1]!r}; {did_you_mean(form[1], UNITS)}")
        return cls(form[1], float(form[2]))

    def __str__(self) -> str:
        return f"{self.unit}={self.amount:g}" if self.amount % 1 else f"{self.unit}={self.amount:.0f}"


def values_at(interims: Interims, runs: Sequence[Run], budget: Budget) -> tuple[Values, str]:
    """Each run's last scores within the budget, or why it has none, and where these scores stand in words.

    Within it is what a run with that budget would have come to, whose last step may exceed it, as it does in training.
    Nor has a run any that ended more than `TOLERANCE` below the budget.  That a schedule of the learning rate runs over
    each run's own budget is told.  A control trains nothing and has none.
    """
    field = UNITS[budget.unit]
    by_data: dict[str | None, set[str]] = {}
    for run in runs:
        by_data.setdefault(run.data_hash, set()).update(n for n, found in interims.items() if run.run_id in found)
    values: Values = {}
    stand: list[float] = []
    for run in runs:
        if run.config.get("control") is not None:
            continue
        for name in by_data[run.data_hash]:
            mine = interims[name].get(run.run_id, ())
            within = [one for one in mine if not one.beyond(budget.unit, budget.amount)]
            found: float | str
            ended = max(getattr(mine[-1], field), getattr(run, budget.unit) or 0) if mine else 0
            if within and ended < (1 - TOLERANCE) * budget.amount:
                found = f"it ended at {ended:.6g} {budget.unit}, more than {TOLERANCE:.0%} below that budget"
            elif within:
                found = within[-1].value
                stand.append(getattr(within[-1], field))
            elif mine:
                found = f"its first score while training stands at {getattr(mine[0], field):.6g} {budget.unit}"
            else:
                found = f"it was not scored while it trained: set evaluation.at_{budget.unit}"
            values.setdefault(name, {})[run.run_id] = found
    reach = f"they stand at {min(stand):.6g} to {max(stand):.6g} {budget.unit}" if stand else "there are none"
    return (
        values,
        f"at {budget}: each run's last scores on the validation split within that budget; {reach}{_fell(runs)}",
    )


def _fell(runs: Sequence[Run]) -> str:
    """What a reader must know where learning rates fell on the way."""
    trained = [run.config.get("training.schedule") for run in runs if run.config.get("control") is None]
    fell = sorted({str(schedule) for schedule in trained} - {"constant", "None"})
    if not fell:
        return ""
    return (
        f"; learning rates fell ({', '.join(fell)}) over each run's own budget, so a run with this budget would have "
        "come elsewhere: set training.schedule=constant"
    )


@dataclass(frozen=True)
class Place:
    """A row's mean score at one point of its training, over its runs, and what they had taken by then on average."""

    steps: float
    tokens: float
    seconds: float
    score: Interval


def way(run_ids: Sequence[str], scored: Mapping[str, Sequence[InterimValue]]) -> list[Place]:
    """A row's places along its training, as far as all its runs that were scored have come."""
    found = [scored.get(run_id, ()) for run_id in run_ids]
    lines = [line for line in found if line]
    places = []
    for at in zip(*lines, strict=False):
        numbers = [one.value for one in at if isinstance(one.value, float)]
        steps, tokens, seconds = (mean([float(getattr(one, field)) for one in at]) for field in UNITS.values())
        if numbers:
            places.append(Place(steps, tokens, seconds, t_interval(numbers)))
    return places


def front(costs: Sequence[float], scores: Sequence[float], *, higher: bool) -> list[bool]:
    """Which of these are on the Pareto front: nothing has a better score for less; equal pairs stand there together.

    >>> front([1, 2, 3], [0.5, 0.4, 0.9], higher=True)
    [True, False, True]
    """
    sign = 1.0 if higher else -1.0
    on = [False] * len(costs)
    best: tuple[float, float] | None = None
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -sign * scores[i])):
        point = (sign * scores[i], costs[i])
        on[i] = best is None or point[0] > best[0] or point == best
        best = point if on[i] else best
    return on
