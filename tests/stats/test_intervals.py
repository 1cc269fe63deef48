"""Intervals against worked arithmetic, against scipy and against their own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.stats.intervals import Interval, bootstrap_interval, spearman, t_interval


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


def test_over_texts_a_mean_has_its_usual_standard_error() -> None:
    """Values 1 to 100: variance 841.67, standard error of the mean sqrt(841.67 / 100) = 2.9011, t(.975, 99) = 1.98422:
    half-width 5.7564, here from 4,000 random halves (1.1 % error of an sd)."""
    values = np.arange(1.0, 101.0)
    interval = bootstrap_interval(100, lambda texts: float(values[texts].mean()), np.random.default_rng(0), 4000)
    assert interval.mean == 50.5
    assert interval.n == 100
    assert interval.half_width == pytest.approx(5.7564, rel=0.05)
    assert interval.high == pytest.approx(50.5 + (interval.half_width or 0))


def test_over_an_odd_number_of_texts_the_smaller_half_is_scaled() -> None:
    """Values 0, 0, 3: single texts give 0, 0 or 3, variance 2 around 1; sqrt(1 / 2) of its root is 1, which is
    sd / sqrt(n) = sqrt(3) / sqrt(3).  t(.975, 2) = 4.302653."""
    values = np.array([0.0, 0.0, 3.0])
    interval = bootstrap_interval(3, lambda texts: float(values[texts].mean()), np.random.default_rng(0), 4000)
    assert interval.mean == 1.0
    assert interval.half_width == pytest.approx(4.302653, rel=0.05)


def test_no_text_is_drawn_twice_and_few_resamples_widen() -> None:
    """Texts that all differ keep a distinct rate of 1 in every half, and what never varies has no interval, not one
    of no width; a bootstrap with replacement says .63.  Two resamples leave one degree of freedom, t = 12.706: 6.4
    times the normal quantile."""
    generator = np.random.default_rng(0)
    alike = bootstrap_interval(50, lambda texts: len(set(texts)) / len(texts), generator)
    assert alike == Interval(1.0, None, None, 50)
    draws = iter([0.0, -1.0, 1.0])
    two = bootstrap_interval(50, lambda texts: next(draws), generator, resamples=2)
    assert two.half_width == pytest.approx(12.706205 * math.sqrt(2), abs=1e-4)


def test_over_texts_no_interval_is_invented() -> None:
    generator = np.random.default_rng(0)
    assert bootstrap_interval(1, lambda texts: 0.5, generator) == Interval(0.5, None, None, 1)
    whole = bootstrap_interval(9, lambda texts: 0.5 if len(texts) == 9 else math.nan, generator)
    assert whole == Interval(0.5, None, None, 9)
    assert bootstrap_interval(9, lambda texts: math.inf, generator) == Interval(math.inf, None, None, 9)
    with pytest.raises(ValueError, match="n_texts=0"):
        bootstrap_interval(0, lambda texts: 0.5, generator)


def test_rank_correlation_by_hand() -> None:
    """x in order, y = 2 1 4 3 5: squared rank differences 1 1 1 1 0, r = 1 - 6 * 4 / (5 * 24) = .8.  Without pair 1 to
    4, one swap and one gap are left (1 3 2 4: r = .8); without pair 5, two swaps (2 1 4 3: r = 1 - 6 * 4 / 60 = .6).
    On Fisher's scale .8 -> 1.09861 (4 times) and .6 -> .69315: squared deviations sum to .8 * .40546^2 = .131520,
    se = sqrt(.8 * .131520) = .324370; t(.975, 4) = 2.776445, 1.09861 +- .900596 -> tanh .198015 and 1.999208."""
    interval = spearman([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.8, 0.195467, 0.963971), abs=1e-5)


def test_rank_correlation_is_scipys_and_ties_share_a_rank() -> None:
    """One independent oracle for the value, and leaving pairs out of the data itself for the interval."""
    generator = np.random.default_rng(1)
    x, y = generator.integers(6, size=(2, 25)).astype(float)
    left_out = [stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(25)]
    error = math.sqrt(24 / 25 * sum((z - np.mean(np.arctanh(left_out))) ** 2 for z in np.arctanh(left_out)))
    interval = spearman(list(x), list(y))
    assert interval.mean == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert interval.low == pytest.approx(math.tanh(math.atanh(interval.mean) - stats.t.ppf(0.975, 24) * error))


@pytest.mark.parametrize(
    ("x", "y", "mean"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, math.inf], 1.0),  # perfect: no spread to judge by
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 4.0, 5.0], 0.9),  # perfect without one pair
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], 0.5),
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], math.nan),
        ([1.0, math.nan, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], math.nan),
        ([1.0], [1.0], math.nan),
    ],
)
def test_rank_correlations_without_an_interval(x: list[float], y: list[float], mean: float) -> None:
    interval = spearman(x, y)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert (interval.low, interval.high, interval.n) == (None, None, len(x))


def test_rank_correlation_wants_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 values"):
        spearman([1.0, 2.0], [1.0])
