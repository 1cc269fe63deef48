"""Which differences between groups the seeds support, and how many seeds a difference takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats
from scipy.special import gammaln

from harness.intervals import (
    ROUNDING,
    Array,
    Interval,
    bootstrap_interval,
    check_share,
    spearman,
    t_interval,
    t_intervals,
    t_quantile,
)
from harness.streams import generator

__all__ = [
    "Interval",
    "Separation",
    "bootstrap_interval",
    "detectable_effect",
    "rank_intervals",
    "seeds_needed",
    "separations",
    "smallest_p",
    "spearman",
    "t_interval",
    "t_intervals",
]

EXACT_UP_TO = 14
"""Seeds up to which every pattern of signs is tried; 2^13 patterns differ, as turning all signs changes nothing."""
RANDOM_FLIPS = 9_999
"""Patterns drawn beyond that, besides the observed one."""
CHUNK = 4_000_000
"""Statistics held in memory at a time (32 MB)."""
COARSE = 10
"""Below this many patterns within the level, their discreteness decides the power, and it is simulated."""
POWER_BUDGET = 100_000_000
"""Statistics that the simulated families of one power may cost; it buys between 50 and `TRIALS` of them."""
TRIALS = 2_000
"""Simulated comparisons behind a power; families are used again where fewer could be drawn."""


@dataclass(frozen=True)
class Separation:
    """One paired comparison out of a family of them."""

    difference: Interval
    """Mean of a - b over the shared seeds, with its own 95 % t interval; the family does not widen it."""
    p: float
    """Two-sided, adjusted for the whole family: joint sign flip with the maximum |t|.  1 where nothing can be said."""
    n: int
    """Shared seeds."""

    @property
    def effect(self) -> float | None:
        """Mean difference in sds of the paired differences, with Hedges' correction: unbiased where they are normal.

        None below 3 seeds and where there is no interval; infinite for a constant difference other than 0.
        """
        half = self.difference.half_width
        if half is None or self.n < 3:
            return None
        deviation = half * math.sqrt(self.n) / t_quantile(0.95, self.n - 1)
        if deviation == 0:
            return math.copysign(math.inf, self.difference.mean) if self.difference.mean else 0.0
        df = self.n - 1
        correction = math.sqrt(2 / df) * math.exp(gammaln(df / 2) - gammaln((df - 1) / 2))
        return self.difference.mean / deviation * correction


def separations(values: Sequence[Sequence[float]], pairs: Sequence[tuple[int, int]]) -> list[Separation]:
    """Compare groups by pairs over the same seeds; each p holds for all the pairs together.

    Args:
        values: `values[g][s]`, group g at seed s; every group has the same n seeds.
        pairs: (a, b), indices of groups: the family.  Its size is what p is adjusted for.

    Under the hypothesis that two groups are equal, their difference at a seed is as likely d as -d.  All pairs are
    flipped by the same signs, and each observed |t| is compared with the largest |t| of the family (Westfall & Young
    1993, single step): p is the share of patterns of signs whose largest |t| is at least as large.  All patterns are
    tried up to n = 14; beyond it 9,999 fixed random ones.  The hypothesis allows any noise that groups share or have
    alike; it fails where theirs is skewed and of unlike size (lognormal noise with sds 1 to 5 over 9 groups of equal
    mean: 17 to 29 % of such tables get a false rank).

    A group with an infinite or undefined value is never separated: its pairs have p = 1, a difference without an
    interval, and no part in the maximum.  Equal groups have p = 1; a constant difference other than 0 has t = infinity
    and as small a p as n seeds allow.  With no shared seed the difference is undefined.

    Raises:
        ValueError: groups of different length, or a pair that names no group.
    """
    table = _table(values)
    _check_pairs(pairs, len(table))
    differences = _differences(table, pairs)
    intervals = t_intervals(differences, 0.95)
    return [Separation(d, p, d.n) for d, p in zip(intervals, _flip_p(differences).tolist(), strict=True)]


def rank_intervals(
    values: Sequence[Sequence[float]], higher_is_better: bool, level: float = 0.05
) -> list[tuple[int, int]]:
    """(best, worst) rank that the seeds leave open for each of the G groups; the family is all pairs of groups.

    `[1 + number of groups significantly better, G - number significantly worse]`: with probability 1 - level or
    more, no interval in the table misses a true rank.  Values are as for `separations`, and so are their odd cases: a
    group with an infinite or undefined value has rank 1 to G.

    Raises:
        ValueError: groups of different length, or a level outside (0, 1).
    """
    check_share("level", level)
    table = _table(values)
    groups = len(table)
    pairs = list(itertools.combinations(range(groups), 2))
    differences = _differences(table, pairs)
    ahead, behind = np.zeros(groups, int), np.zeros(groups, int)  # how many groups are worse, and better
    for (a, b), difference, p in zip(pairs, differences, _flip_p(differences), strict=True):
        if p <= level:
            better, worse = (a, b) if (difference.sum() > 0) == higher_is_better else (b, a)
            ahead[better] += 1
            behind[worse] += 1
    return [(1 + int(b), groups - int(a)) for a, b in zip(ahead, behind, strict=True)]


def smallest_p(n: int) -> float:
    """The smallest p that flipping n seeds can give: 2 / 2^n, and 1 / 10,000 where the flips are random (n > 14)."""
    return min(1.0, 2.0 / 2**n) if n <= EXACT_UP_TO else 1 / (1 + RANDOM_FLIPS)


@lru_cache(maxsize=1024)
def detectable_effect(n: int, comparisons: int, power: float = 0.8, level: float = 0.05) -> float | None:
    """The smallest true difference that n seeds separate with this power, in sds of the paired differences.

    It is what one comparison needs in a family of `comparisons` of which the others are equal, independent of it and
    normal; where comparisons share a group, as against one baseline, the power is a little larger.  From about 9 seeds
    on, the largest |t| has Sidak's quantile and the power is the noncentral t's; below, where few patterns of signs lie
    within the level, the flip test itself is simulated (fixed seed, +-2 %).  None where no n flips reach the level.
    The sd of a pair's differences is sqrt(2) of a group's where their noise is independent.

    Raises:
        ValueError: no comparison, a level outside (0, 1), or a power outside (level, 1).
    """
    check_share("level", level)
    if comparisons < 1 or not level < power < 1:
        raise ValueError(
            f"comparisons={comparisons}, power={power}; use at least 1 comparison and a power in ({level}, 1), say 0.8"
        )
    if n < 2 or smallest_p(n) > level:
        return None
    coarse = n <= EXACT_UP_TO and level * 2 ** (n - 1) < COARSE
    reach = _simulated_power(n, comparisons, level) if coarse else _t_power(n, comparisons, level)
    high = 1.0
    while reach(high) < power:
        high *= 2
    return float(optimize.bisect(lambda effect: reach(effect) - power, 0.0, high, xtol=1e-4))


def seeds_needed(
    effect: float, comparisons: int, power: float = 0.8, level: float = 0.05, cap: int = 100
) -> int | None:
    """The smallest n at which a true difference of `effect` is separated with this power (see `detectable_effect`).

    Never below the n where 2 / 2^n <= level, however large the effect (6 at 5 %).  None where more than `cap` seeds are
    needed, and for an undefined effect or one of 0.  An effect observed over few seeds (`Separation.effect`) is a rough
    guess, and so is what follows from it.

    Raises:
        ValueError: as `detectable_effect`.
    """
    for n in range(1, cap + 1):
        detectable = detectable_effect(n, comparisons, power, level)
        if detectable is not None and detectable <= abs(effect):
            return n
    return None


def _check_pairs(pairs: Sequence[tuple[int, int]], groups: int) -> None:
    for pair in pairs:
        if not all(0 <= index < groups for index in pair):
            raise ValueError(f"pair {pair} names no group; indices run from 0 to {groups - 1}")


def _table(values: Sequence[Sequence[float]]) -> Array:
    """[groups, seeds], checked."""
    lengths = sorted({len(group) for group in values})
    if len(lengths) > 1:
        raise ValueError(f"groups of {lengths} seeds; pass every group's values at the same seeds, in one order")
    return np.asarray(values, float).reshape(len(values), lengths[0] if lengths else 0)


def _differences(table: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """[pairs, seeds]; exactly 0 where two values differ by rounding only."""
    a, b = np.array(pairs, int).reshape(-1, 2).T
    with np.errstate(over="ignore", invalid="ignore"):
        difference: Array = np.subtract(table[a], table[b])
        rounding = ROUNDING * np.maximum(np.abs(table[a]), np.abs(table[b]))
    difference[np.isfinite(difference) & (np.abs(difference) <= rounding)] = 0.0
    return difference


def _signs(n: int) -> Array:
    """[flips, n] of +-1, the observed pattern first; one of every two opposite patterns, which have the same |t|."""
    if n <= EXACT_UP_TO:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        return np.where(bits, -1.0, 1.0)
    random = generator("sign flips", n).choice([-1.0, 1.0], size=(RANDOM_FLIPS, n))
    return np.vstack([np.ones(n), random])


def _largest(unit: Array, signs: Array) -> Array:
    """[flips] the largest |sum| over the rows of unit [pairs, n] under each row of signs [flips, n]."""
    step = max(1, CHUNK // len(unit))
    return np.concatenate([np.abs(signs[i : i + step] @ unit.T).max(axis=1) for i in range(0, len(signs), step)])


def _unit(rows: Array) -> Array:
    """Each row of [pairs, n] divided by the root of its sum of squares; no row may be all zeros.

    The sum of squares does not change when signs do, and t^2 = (n - 1) u^2 / (n - u^2) grows with
    u = |sum(d)| / sqrt(sum(d^2)): so u takes the place of |t|, without a division by a spread of zero.
    """
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True)  # so that no square overflows
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float64)


def _flip_p(differences: Array) -> Array:
    """[pairs] p of each row of differences [pairs, n], adjusted for all rows."""
    count, n = differences.shape
    usable = np.isfinite(differences).all(axis=1) & (differences != 0).any(axis=1)
    p = np.ones(count)
    if n < 2 or not usable.any():
        return p
    unit, signs = _unit(differences[usable]), _signs(n)
    below = np.searchsorted(np.sort(_largest(unit, signs)), np.abs(unit.sum(axis=1)) - ROUNDING)
    p[usable] = (len(signs) - below) / len(signs)
    return p


def _t_power(n: int, comparisons: int, level: float) -> Callable[[float], float]:
    """Power by effect of a t test at Sidak's level, in the direction of the effect."""
    critical = float(stats.t.isf((1 - (1 - level) ** (1 / comparisons)) / 2, n - 1))
    return lambda effect: float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))


def _simulated_power(n: int, comparisons: int, level: float) -> Callable[[float], float]:
    """Power by effect of the flip test itself, over the same simulated families at every effect."""
    draw, signs = generator("power", n, comparisons), _signs(n)
    noise = draw.normal(size=(TRIALS, n))
    families = np.zeros((min(TRIALS, max(50, POWER_BUDGET // (len(signs) * comparisons))), len(signs)))
    for family in families if comparisons > 1 else ():
        family[:] = _largest(_unit(draw.normal(size=(comparisons - 1, n))), signs)
    others = np.resize(families, (TRIALS, len(signs)))

    def power(effect: float) -> float:
        own = np.abs(_unit(noise + effect) @ signs.T)
        as_large = np.maximum(own, others) >= own[:, :1] - ROUNDING
        return float((as_large.mean(axis=1) <= level).mean())

    return power
