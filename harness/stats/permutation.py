"""Permutation test of differences between groups: joint sign flips of the seeds with the largest |t|."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from harness.seeding import generator
from harness.stats.intervals import ROUNDING, Array, Interval, check_share, t_intervals, t_quantile

EXACT_UP_TO = 14
"""Seeds up to which every pattern of signs is tried; 2^13 patterns differ, as turning all signs changes nothing."""
RANDOM_FLIPS = 9_999
"""Patterns drawn beyond that, besides the observed one."""
CHUNK = 4_000_000
"""Statistics held in memory at a time (32 MB)."""


@dataclass(frozen=True)
class Separation:
    """One paired comparison out of a family of them."""

    difference: Interval
    """Mean of a - b over the shared seeds with its single 95 % t interval, which the family does not widen: it belongs
    beside no verdict, `simultaneous_intervals` does."""
    p: float
    """Two-sided, adjusted for the whole family: joint sign flip with the maximum |t|.  1 where no test is possible."""
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
    interval, and no part in the maximum; so have differences too large to square.  Equal groups have p = 1; a constant
    difference other than 0 has t = infinity and as small a p as n seeds allow.  With no shared seed the difference is
    undefined.

    Raises:
        ValueError: groups of different length, or a pair that names no group.
    """
    table = _table(values)
    _check_pairs(pairs, len(table))
    return _tested(_differences(table, pairs))


def contrasts(rows: Sequence[Sequence[float]]) -> list[Separation]:
    """Test rows of differences over the same seeds against 0, as `separations` does those of pairs of groups.

    Raises:
        ValueError: rows of different length.
    """
    return _tested(_table(rows))


def _tested(differences: Array) -> list[Separation]:
    intervals = t_intervals(differences, 0.95)
    return [Separation(d, p, d.n) for d, p in zip(intervals, _flip_p(differences).tolist(), strict=True)]


def rank_intervals(
    values: Sequence[Sequence[float]], higher_is_better: bool, level: float = 0.05
) -> list[tuple[int, int]]:
    """Interval (best, worst) of the rank of each of the G groups; the family is all pairs of groups.

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


def _check_pairs(pairs: Sequence[tuple[int, int]], groups: int) -> None:
    for pair in pairs:
        if not all(0 <= index < groups for index in pair):
            raise ValueError(f"pair {pair} names no group; indices run from 0 to {groups - 1}")


def _table(values: Sequence[Sequence[float]]) -> Array:
    """The values as an array [groups, seeds], checked to be of equal length."""
    lengths = sorted({len(group) for group in values})
    if len(lengths) > 1:
        raise ValueError(f"groups of {lengths} seeds; pass every group's values at the same seeds, in one order")
    return np.asarray(values, float).reshape(len(values), lengths[0] if lengths else 0)


def _differences(table: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Differences of the pairs, [pairs, seeds]; exactly 0 where two values differ by rounding only."""
    a, b = np.array(pairs, int).reshape(-1, 2).T
    with np.errstate(over="ignore", invalid="ignore"):
        difference: Array = np.subtract(table[a], table[b])
        rounding = ROUNDING * np.maximum(np.abs(table[a]), np.abs(table[b]))
    difference[np.isfinite(difference) & (np.abs(difference) <= rounding)] = 0.0
    return difference


def _signs(n: int) -> Array:
    """Sign patterns [flips, n] of +-1, the observed one first; of two opposite patterns, with equal |t|, one."""
    if n <= EXACT_UP_TO:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        return np.where(bits, -1.0, 1.0)
    random = generator("sign flips", n).choice([-1.0, 1.0], size=(RANDOM_FLIPS, n))
    return np.vstack([np.ones(n), random])


def _largest(unit: Array, signs: Array) -> Array:
    """Largest |sum| over the rows of unit [pairs, n] under each row of signs [flips, n]; shape [flips]."""
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
    """Adjusted p of each row of differences [pairs, n], for the family of all rows; shape [pairs]."""
    count, n = differences.shape
    with np.errstate(over="ignore", invalid="ignore"):  # without a spread there is no interval that could agree
        usable = np.isfinite(differences.std(axis=1)) & (differences != 0).any(axis=1) if n else np.zeros(count, bool)
    p = np.ones(count)
    if n < 2 or not usable.any():
        return p
    unit, signs = _unit(differences[usable]), _signs(n)
    below = np.searchsorted(np.sort(_largest(unit, signs)), np.abs(unit.sum(axis=1)) - ROUNDING)
    p[usable] = (len(signs) - below) / len(signs)
    return p
