"""Main effects: the effect of one factor of a grid on a score, averaged over all the other factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.groups import settings, varying
from harness.stats.intervals import Interval, t_interval
from harness.storage.queries import Run


@dataclass(frozen=True)
class Effect:
    """One level of a factor: the difference of the score from its mean over the factor's levels.

    `effect` is over seeds, each seed's value being the mean over `settings` combinations of the other factors that
    exist at every level; the effects of a factor's levels sum to 0.
    """

    factor: str
    level: Any
    effect: Interval
    settings: int


def factors(runs: Sequence[Run]) -> list[str]:
    """The configuration keys in which finished runs differ."""
    return varying([settings(config) for config in _configs(runs)])


def main_effects(
    runs: Sequence[Run], values: Mapping[str, float | str], factor: str, among: Sequence[str] | None = None
) -> list[Effect]:
    """The main effect of each level of a factor, in the score's unit; empty where nothing is balanced.

    Args:
        runs: finished runs of one benchmark.
        values: numbers (or reasons why there is none) by run id.
        factor: a configuration key, one of `factors(runs)`.
        among: `factors(runs)`, where the caller has it already.

    A combination of the other factors counts only where it was run at every level, and a seed only where all these
    cells have a finite number: a level is never better for having been run under easier conditions.
    """
    others = [key for key in (factors(runs) if among is None else among) if key != factor]
    table: dict[tuple[Any, ...], dict[Any, dict[int, float]]] = {}
    for run in runs:
        value = values.get(run.run_id)
        if factor in run.config and isinstance(value, float) and math.isfinite(value):
            around = tuple(run.config.get(key) for key in others)
            table.setdefault(around, {}).setdefault(run.config[factor], {})[run.seeds.train] = value
    levels = list(dict.fromkeys(run.config[factor] for run in runs if factor in run.config))
    balanced = [cells for cells in table.values() if set(cells) == set(levels)]
    if len(levels) < 2 or not balanced:
        return []
    seeds = set.intersection(*(set(by_seed) for cells in balanced for by_seed in cells.values()))
    if not seeds:
        return []
    means = {
        level: [sum(cells[level][seed] for cells in balanced) / len(balanced) for seed in sorted(seeds)]
        for level in levels
    }
    centre = [sum(means[level][i] for level in levels) / len(levels) for i in range(len(seeds))]
    return [
        Effect(
            factor,
            level,
            t_interval([value - middle for value, middle in zip(means[level], centre, strict=True)]),
            len(balanced),
        )
        for level in levels
    ]


def _configs(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    return list({id(run.config): run.config for run in runs}.values())
