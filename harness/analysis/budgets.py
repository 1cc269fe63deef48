"""Interim scores against the cost of training: at an equal budget, as a curve, and the Pareto front.

Interim scores are taken while a run trains, on the validation split.
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
"""Units of a budget, with the field of an interim score that holds each."""


@dataclass(frozen=True)
class EqualBudget:
    """An amount of `steps`, `tokens` or `seconds` at which runs are compared."""

    unit: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> EqualBudget:
        """Read `UNIT=AMOUNT`, such as `tokens=200000`.

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


def values_at(interims: Interims, runs: Sequence[Run], budget: EqualBudget) -> tuple[Values, str]:
    """Each run's last scores within the budget, or the reason why it has none; and a note on where these were taken.

    A score counts as within the budget up to the step that exceeds it, as in training with that budget.  A run that
    ended more than `TOLERANCE` below the budget has none, nor has a control, which trains nothing.  The note also
    names schedules by which the learning rate falls over each run's own budget.
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
    """Note on learning rates that fell during training; empty where they were constant."""
    trained = [run.config.get("training.schedule") for run in runs if run.config.get("control") is None]
    fell = sorted({str(schedule) for schedule in trained} - {"constant", "None"})
    if not fell:
        return ""
    return (
        f"; learning rates fell ({', '.join(fell)}) over each run's own budget, so a run with this budget would have "
        "come elsewhere: set training.schedule=constant"
    )


@dataclass(frozen=True)
class CurvePoint:
    """A row's mean score over its runs at one point of training, with the mean cost up to that point."""

    steps: float
    tokens: float
    seconds: float
    score: Interval


def score_curve(run_ids: Sequence[str], scored: Mapping[str, Sequence[InterimValue]]) -> list[CurvePoint]:
    """A row's mean scores along its training, up to the last point that all its scored runs have reached."""
    found = [scored.get(run_id, ()) for run_id in run_ids]
    lines = [line for line in found if line]
    points = []
    for at in zip(*lines, strict=False):
        numbers = [one.value for one in at if isinstance(one.value, float)]
        steps, tokens, seconds = (mean([float(getattr(one, field)) for one in at]) for field in UNITS.values())
        if numbers:
            points.append(CurvePoint(steps, tokens, seconds, t_interval(numbers)))
    return points


def pareto_front(costs: Sequence[float], scores: Sequence[float], *, higher: bool) -> list[bool]:
    """True for each pair on the Pareto front: no other has a better score for less; equal pairs are on it together.

    >>> pareto_front([1, 2, 3], [0.5, 0.4, 0.9], higher=True)
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
