"""Main effects: the effect of one factor of a grid on a score, averaged over all the other factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.groups import grouped, settings, varying
from harness.stats.intervals import ROUNDING, Interval
from harness.stats.permutation import Separation, contrasts
from harness.stats.simultaneous import simultaneous_intervals
from harness.storage.queries import Run


@dataclass(frozen=True)
class Effect:
    """One level of a factor: the difference of the score from its mean over the factor's levels.

    `effect` is over seeds, each seed's value being the mean over `settings` combinations of the other factors that
    exist at every level; the effects of a factor's levels sum to 0.  Its interval is the simultaneous one of all
    `family` effects that were asked for together, and leaves 0 out exactly where `p` <= .05: the sign flip that ranks
    rows, too, adjusted for the same effects.  `single` has the effect with its single 95 % interval.
    """

    factor: str
    level: Any
    effect: Interval
    settings: int
    p: float
    family: int
    single: Interval


def factors(runs: Sequence[Run]) -> list[str]:
    """The configuration keys in which finished runs differ."""
    return varying([settings(config) for config in _configs(runs)])


def main_effects(runs: Sequence[Run], values: Mapping[str, float | str], *asked: str) -> list[Effect]:
    """The main effects of all levels of factors, in the score's unit, as one family; nothing of unbalanced factors.

    Args:
        runs: finished runs of one benchmark.
        values: numbers (or reasons why there is none) by run id.
        asked: configuration keys, among `factors(runs)`; none takes all of these.

    A combination of the other factors counts only where it was run at every level, and a seed only where all these
    cells have a finite number: a level is never better for having been run under easier conditions.  Where factors have
    different seeds, those of the same seeds are tested together, and p is multiplied by the number of such parts.
    """
    among = factors(runs)
    found = [one for factor in asked or among for one in _deviations(runs, values, factor, among)]
    parts = grouped(range(len(found)), lambda i: found[i].seeds)
    tested: dict[int, Separation] = {}
    for part in parts:
        alike = contrasts([found[i].over_seeds for i in part])
        tested |= {i: replace(one, p=min(1.0, one.p * len(parts))) for i, one in zip(part, alike, strict=True)}
    each = [tested[i] for i in range(len(found))]
    return [
        Effect(one.factor, one.level, interval, one.settings, test.p, len(found), test.difference)
        for one, test, interval in zip(found, each, simultaneous_intervals(each), strict=True)
    ]


@dataclass(frozen=True)
class _Deviation:
    """A level's deviation from the mean over its factor's levels at each of `seeds`."""

    factor: str
    level: Any
    seeds: tuple[int, ...]
    over_seeds: tuple[float, ...]
    settings: int


def _deviations(
    runs: Sequence[Run], values: Mapping[str, float | str], factor: str, among: Sequence[str]
) -> list[_Deviation]:
    others = [key for key in among if key != factor]
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
    kept = tuple(sorted(seeds))
    return [
        _Deviation(
            factor,
            level,
            kept,
            tuple(_unrounded(value - middle, middle) for value, middle in zip(means[level], centre, strict=True)),
            len(balanced),
        )
        for level in levels
    ]


def _unrounded(deviation: float, middle: float) -> float:
    """0 in place of a deviation that is rounding alone."""
    return 0.0 if abs(deviation) <= ROUNDING * abs(middle) else deviation


def _configs(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    return list({id(run.config): run.config for run in runs}.values())
