"""Simultaneous intervals against Student's and Sidak's arithmetic, against their verdicts and their promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from harness.stats.intervals import Interval, t_interval
from harness.stats.permutation import Separation, contrasts, separations
from harness.stats.ranks import differences
from harness.stats.simultaneous import LEVEL, leaves_out_zero, sidak, simultaneous_intervals

INF, NAN = math.inf, math.nan
ODD = (INF, -INF, NAN, 1e200, 1e-12)


def agree(found: list[Separation]) -> None:
    """Separated, exactly where the interval leaves 0 out; each holds its mean and contains the single one's."""
    for one, interval in zip(found, simultaneous_intervals(found), strict=True):
        assert (one.p <= LEVEL) == leaves_out_zero(interval), (one, interval)
        if interval.low is not None and interval.high is not None:
            assert interval.low <= interval.mean <= interval.high


def test_one_comparison_has_students_interval() -> None:
    """Seven differences of one sign: p = 2 / 2^7, and 0 is out of the t interval anyway."""
    values = [3.0, 4.0, 5.0, 4.5, 3.5, 4.2, 3.8]
    found = separations([values, [0.0] * 7], [(0, 1)])
    (interval,) = simultaneous_intervals(found)
    own = t_interval(values)
    assert (interval.low, interval.high) == pytest.approx((own.low, own.high))
    assert simultaneous_intervals([]) == []


def test_a_family_has_sidaks_level_and_half_the_error_where_some_are_open() -> None:
    """Both of two clear: 97.47 % each; one clear, one open: sqrt(.975) = 98.74 % each.  Half-widths by hand: t * sd /
    sqrt(8) with the sd of 1, ..., 8, 2.4495."""
    up = [float(i) for i in range(1, 9)]
    clear, other = [value + 50 for value in up], [value + 90 for value in up]
    both = simultaneous_intervals(contrasts([clear, other]))
    mixed = simultaneous_intervals(contrasts([clear, [1.0, -1.1] * 4]))
    for interval, level in ((both[0], math.sqrt(0.95)), (mixed[0], math.sqrt(0.975))):
        half = stats.t.ppf((1 + level) / 2, 7) * np.std(up, ddof=1) / math.sqrt(8)
        assert interval.half_width == pytest.approx(half)
    assert sidak(2) == pytest.approx(math.sqrt(0.95))
    assert sidak(1) == pytest.approx(0.95)


def test_the_end_beyond_zero_is_moved_to_zero() -> None:
    """Six differences of one sign are separated however uneven they are: (0, ...]; five never are: [0, ...]."""
    uneven = [0.1, 9.0, 0.2, 0.3, 0.1, 0.2]
    (apart,) = simultaneous_intervals(contrasts([uneven]))
    assert t_interval(uneven).low < 0 < apart.low < 1e-9  # type: ignore[operator]
    (mirrored,) = simultaneous_intervals(contrasts([[-value for value in uneven]]))
    assert (mirrored.low, mirrored.high) == (-apart.high, -apart.low)  # type: ignore[operator]
    even = [4.0, 4.1, 4.2, 4.1, 4.0]
    (tied,) = simultaneous_intervals(contrasts([even]))
    assert tied.low == 0 < t_interval(even).low  # type: ignore[operator]


def test_constant_equal_and_undefined_differences() -> None:
    """A constant has no width, but is held to 0 by two seeds; equal groups are at 0; inf and nan have no interval."""
    assert simultaneous_intervals(contrasts([[2.0] * 6])) == [Interval(2.0, 2.0, 2.0, 6)]
    assert simultaneous_intervals(contrasts([[2.0] * 2])) == [Interval(2.0, 0.0, 2.0, 2)]
    assert simultaneous_intervals(contrasts([[0.0] * 6])) == [Interval(0.0, 0.0, 0.0, 6)]
    assert simultaneous_intervals(contrasts([[1.0]])) == [Interval(1.0, None, None, 1)]
    for bad in (INF, NAN, 1e200):
        found = contrasts([[bad, *range(1, 6)], [1.0, *range(2, 7)]])
        assert [one.p for one in found] == [1.0, 2 / 64]
        assert simultaneous_intervals(found)[0].low is None


@pytest.mark.parametrize("seed", range(8))
def test_verdicts_and_intervals_agree(seed: int) -> None:
    """Tables of 2 to 6 groups and 0 to 16 seeds: continuous, of small integers (ties, constants), barely different,
    with values that are undefined or too large; against one group and all pairs."""
    draw = np.random.default_rng(seed)
    for trial in range(30):
        groups, n = int(draw.integers(2, 7)), int(draw.integers(0, 10)) if trial else 16
        shift = draw.choice([0.0, 0.5, 2.0, 40.0], size=(groups, 1))
        table = (draw.normal(size=(groups, n)) if trial % 2 else draw.integers(3, size=(groups, n)) * 0.1) + shift
        if n and trial % 5 == 0:
            table[draw.integers(groups), draw.integers(n)] = draw.choice(ODD)
        for pairs in ([(i, 0) for i in range(1, groups)], list(itertools.combinations(range(groups), 2))):
            agree(separations(table.tolist(), pairs))


def test_rows_with_other_seeds_agree_too() -> None:
    """A row of two seeds is 5 more at both, with an interval far from 0 by itself, and is not separated."""
    values = {0: dict.fromkeys(range(8), 0.0), 1: {i: 3 + i / 9 for i in range(8)}, 2: {0: 5.0, 1: 5.001}}
    found = differences(values, 0)
    assert [leaves_out_zero(one.interval) for one in found.values()] == [True, False]
    assert [one.separated for one in found.values()] == [True, False]
    assert leaves_out_zero(found[2].found.difference)
    assert found[2].interval.low == 0


def test_a_family_is_covered_together() -> None:
    """200 tables of five rows against one, normal noise, 8 seeds: 2 equal to it, 3 far from it; 95 % +- 3 sd."""
    draw, truth = np.random.default_rng(0), np.array([0.0, 0.0, 0.0, 20.0, -30.0, 40.0])
    hold = 0
    for _ in range(200):
        table = truth[:, None] + draw.normal(size=(6, 8)) + 3 * draw.normal(size=8)
        found = simultaneous_intervals(separations(table.tolist(), [(i, 0) for i in range(1, 6)]))
        hold += all(one.low <= true <= one.high for one, true in zip(found, truth[1:], strict=True))  # type: ignore[operator]
    assert hold / 200 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)
