"""How sure a number is: intervals around it, and which differences between groups the seeds support."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.streams import generator

Array = NDArray[np.float64]

EXACT_UP_TO = 14
"""Seeds up to which every pattern of signs is tried; 2^13 patterns differ, as turning all signs changes nothing."""
RANDOM_FLIPS = 9_999
"""Patterns drawn beyond that, besides the observed one."""
ROUNDING = 1e-12
"""A difference below this part of the values it comes from is rounding, not a difference."""
CHUNK = 4_000_000
"""Statistics held in memory at a time (32 MB)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided confidence interval over `n` values.

    `low` and `high` are None where no interval exists: one value has no spread, and neither has an infinite or
    undefined one.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's length, in the values' unit; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Separation:
    """One paired comparison out of a family of them."""

    difference: Interval
    """Mean of a - b over the shared seeds, with its own 95 % t interval; the family does not widen it."""
    p: float
    """Two-sided, adjusted for the whole family: joint sign flip with the maximum |t|.  1 where nothing can be said."""
    n: int
    """Shared seeds."""


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent values and its Student-t interval, `mean +- t(level, n - 1) * sd / sqrt(n)`.

    Over a handful of seeds this keeps its promised coverage; a bootstrap does not (49 % instead of 95 % at n = 2).

    Raises:
        ValueError: no values, or a level outside (0, 1).
    """
    if not values:
        raise ValueError("no values; a mean needs at least one")
    _check_share("level", level)
    return _t_intervals(np.asarray(values, float)[None], level)[0]


def t_intervals(rows: Sequence[Sequence[float]], level: float = 0.95) -> list[Interval]:
    """`t_interval` of every row; all rows have the same number of values, at least one."""
    return _t_intervals(np.asarray(rows, float).reshape(len(rows), -1), level)


def separations(values: Sequence[Sequence[float]], pairs: Sequence[tuple[int, int]]) -> list[Separation]:
    """Compare groups by pairs over the same seeds; each p holds for all the pairs together.

    Args:
        values: `values[g][s]`, group g at seed s; every group has the same n seeds.
        pairs: (a, b), indices of groups: the family.  Its size is what p is adjusted for.

    Under the hypothesis that two groups are equal, their difference at a seed is as likely d as -d.  All pairs are
    flipped by the same signs, and each observed |t| is compared with the largest |t| of the family (Westfall & Young
    1993, single step): the share of patterns of signs whose largest |t| is at least as large.  All patterns are tried
    up to n = 14; beyond it 9,999 fixed random ones.

    A group with an infinite or undefined value is never separated: its pairs have p = 1, a difference without an
    interval, and no part in the maximum.  Equal groups have p = 1; a constant difference other than 0 has t = infinity
    and as small a p as n seeds allow.  With no shared seed the difference is undefined.

    Raises:
        ValueError: groups of different length, or a pair that names no group.
    """
    table = _table(values)
    _check_pairs(pairs, len(table))
    differences = _differences(table, pairs)
    intervals = _t_intervals(differences, 0.95)
    return [Separation(d, p, d.n) for d, p in zip(intervals, _flip_p(differences).tolist(), strict=True)]


def rank_intervals(
    values: Sequence[Sequence[float]], higher_is_better: bool, level: float = 0.05
) -> list[tuple[int, int]]:
    """(best, worst) rank that the seeds leave open for each of the G groups; the family is all pairs of groups.

    `[1 + number of groups significantly better, G - number significantly worse]`: with probability 1 - level no
    interval in the table misses a true rank.  Values are as for `separations`, and so are their odd cases: a group
    with an infinite or undefined value has rank 1 to G.

    Raises:
        ValueError: groups of different length, or a level outside (0, 1).
    """
    _check_share("level", level)
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


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value} is not a probability; use a value in (0, 1), such as 0.95")


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
        difference: Array = table[a] - table[b]
        rounding = ROUNDING * np.maximum(np.abs(table[a]), np.abs(table[b]))
    return np.where(np.isfinite(difference) & (np.abs(difference) <= rounding), 0.0, difference)


def _t_intervals(rows: Array, level: float) -> list[Interval]:
    """The t interval of each row of [rows, n]; without values the mean is undefined."""
    n = rows.shape[1]
    if n == 0:
        return [Interval(math.nan, None, None, 0)] * len(rows)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are answers here, not accidents
        means = rows.mean(axis=1)
        deviations = rows.std(axis=1, ddof=1) if n > 1 else np.full(len(rows), math.nan)
    halves = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviations / math.sqrt(n)
    return [
        Interval(m, m - h, m + h, n) if math.isfinite(m) and math.isfinite(h) else Interval(m, None, None, n)
        for m, h in zip(means.tolist(), halves.tolist(), strict=True)
    ]


def _signs(n: int) -> Array:
    """[flips, n] of +-1, the observed pattern first; one of every two opposite patterns, which have the same |t|."""
    if n <= EXACT_UP_TO:
        bits = np.arange(2 ** max(n - 1, 0))[:, None] >> np.arange(n) & 1
        return 1.0 - 2.0 * bits
    random = generator("sign flips", n).integers(2, size=(RANDOM_FLIPS, n))
    return np.vstack([np.ones(n), 1.0 - 2.0 * random])


def _flip_p(differences: Array) -> Array:
    """[pairs] p of each row of differences [pairs, n], adjusted for all rows.

    The sum of squares does not change when signs do, and t^2 = (n - 1) u^2 / (n - u^2) grows with
    u = |sum(d)| / sqrt(sum(d^2)): so u takes the place of |t|, without a division by a spread of zero.
    """
    count, n = differences.shape
    usable = np.isfinite(differences).all(axis=1) & (differences != 0).any(axis=1)
    p = np.ones(count)
    if n < 2 or not usable.any():
        return p
    rows = differences[usable]
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)  # so that no square overflows
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    signs = _signs(n)
    step = max(1, CHUNK // len(unit))
    largest = np.concatenate([np.abs(signs[i : i + step] @ unit.T).max(axis=1) for i in range(0, len(signs), step)])
    observed = np.abs(unit.sum(axis=1)) * (1 - ROUNDING)
    below = np.searchsorted(np.sort(largest), observed, side="left")
    p[usable] = (len(signs) - below) / len(signs)
    return p
