"""Student's t interval against worked arithmetic and against its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats import Interval, t_interval


def test_three_values_by_hand() -> None:
    """[1, 2, 3]: mean 2, sd 1, t(.975, 2 degrees) = 4.302653, half-width 4.302653 * 1 / sqrt(3) = 2.484138."""
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.n == 3
    assert interval.half_width == pytest.approx(4.302653 * 1 / math.sqrt(3), abs=1e-6)
    assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert interval.high == pytest.approx(2 + 2.484138, abs=1e-6)


def test_two_values_at_another_level_by_hand() -> None:
    """[0, 2]: mean 1, sd sqrt(2); with one degree of freedom t is Cauchy: its .75 quantile is tan(pi / 4) = 1, so the
    50 % half-width is 1 * sqrt(2) / sqrt(2) = 1."""
    interval = t_interval([0.0, 2.0], level=0.5)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1.0, 0.0, 2.0))


def test_no_interval_is_invented() -> None:
    assert t_interval([0.7]) == Interval(0.7, None, None, 1)
    assert t_interval([0.7]).half_width is None
    assert t_interval([1.0, math.inf]) == Interval(math.inf, None, None, 2)
    assert math.isnan(t_interval([1.0, math.nan]).mean)
    assert t_interval([1e308, -1e308, 1e308]).low is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert t_interval([0.5, 0.5]) == Interval(0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize(("values", "level", "message"), [([], 0.95, "at least one"), ([1.0], 95, "level=95")])
def test_wrong_questions_are_refused(values: list[float], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t_interval(values, level)


def test_coverage_at_three_seeds_is_what_it_promises() -> None:
    """4,000 draws of 3 normal values: 95 % of the intervals hold the mean, give or take 4 * sqrt(.95 * .05 / 4000)."""
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    intervals = [t_interval(list(row)) for row in draws]
    covered = np.mean([i.low is not None and i.high is not None and i.low < 0 < i.high for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.014)
