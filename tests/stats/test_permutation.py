"""Joint sign flips and tied ranks against worked cases, plain enumeration and scipy; power against the test itself."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from harness.stats.intervals import Interval, t_interval
from harness.stats.permutation import rank_intervals, separations, smallest_p
from harness.stats.power import detectable_effect, seeds_needed

NAN, INF = math.nan, math.inf


def enumerated(values: np.ndarray, pairs: list[tuple[int, int]]) -> list[float]:
    """The definition, flip by flip: |t| by its formula, all 2^n patterns of signs, the maximum over pairs."""

    def t(d: list[float]) -> float:
        mean = sum(d) / len(d)
        spread = sum((one - mean) ** 2 for one in d)
        return abs(mean) / math.sqrt(spread) if spread > 1e-20 else (INF if abs(mean) > 1e-10 else 0.0)

    differences = [[float(x - y) for x, y in zip(values[a], values[b], strict=True)] for a, b in pairs]
    maxima = []
    for signs in itertools.product([1, -1], repeat=values.shape[1]):
        maxima.append(max(t([s * one for s, one in zip(signs, d, strict=True)]) for d in differences))
    return [sum(largest >= t(d) * (1 - 1e-9) for largest in maxima) / len(maxima) for d in differences]


def test_three_seeds_by_hand() -> None:
    """Differences 1, 2, 3 of groups 0 and 1: of 8 patterns of signs only + + + and - - - reach |sum| = 6: p = 2 / 8.
    Their t interval is that of 1, 2, 3."""
    found = separations([[11.0, 12.0, 13.0], [10.0, 10.0, 10.0]], [(0, 1), (1, 0)])
    assert [one.p for one in found] == [0.25, 0.25]
    assert found[0].difference == t_interval([1.0, 2.0, 3.0])
    assert found[1].difference.mean == -2.0
    assert found[0].n == 3


def test_the_family_shares_its_signs_by_hand() -> None:
    """a = (1, 1, 2) and b = (1, -1, 1) over the roots of their squares: |sums| under + + +, - + +, + - + and + + -
    are 4, 2, 2, 0 over sqrt 6 = 1.63, .82, .82, 0 for a, and 1, 1, 3, 1 over sqrt 3 = .58, .58, 1.73, .58 for b.
    Largest: 1.63, .82, 1.73, .58.  So a has p = 2 / 4 (alone 1 / 4), and every pattern reaches b's .58: p = 1."""
    found = separations([[1.0, 1.0, 2.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]], [(0, 2), (1, 2)])
    assert [one.p for one in found] == [0.5, 1.0]


@pytest.mark.parametrize("seed", range(6))
def test_p_is_plain_enumeration(seed: int) -> None:
    """Random tables of 2 to 5 groups and 2 to 7 seeds, some of small integers, where ties and zero spreads abound."""
    generator = np.random.default_rng(seed)
    for _ in range(10):
        shape = generator.integers(2, [6, 8])
        values = generator.normal(size=shape) if seed % 2 else generator.integers(4, size=shape) * 0.1
        pairs = list(itertools.combinations(range(len(values)), 2))
        found = [one.p for one in separations(values.tolist(), pairs)]
        assert found == pytest.approx(enumerated(values, pairs), abs=1e-12)


@pytest.mark.parametrize("n", [6, 9])
def test_one_pair_is_scipys_permutation_test(n: int) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n)) * [[1.0], [2.0]]
    theirs = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.abs(np.mean(x - y, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=INF,
    )
    assert separations([a.tolist(), b.tolist()], [(0, 1)])[0].p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_seeds_are_flipped_at_random_and_alike() -> None:
    """At n = 16 the exact share of 65,536 patterns and 9,999 random ones agree within 4 sd of a share; twice the same
    question, twice the same answer; and the smallest p is 1 / 10,000, where no drawn pattern is the observed one."""
    generator = np.random.default_rng(3)
    d = generator.normal(size=16) + 0.5
    signs = np.array(list(itertools.product([1, -1], repeat=16)))
    exact = float((np.abs(signs @ d) >= abs(d.sum()) - 1e-9).mean())
    groups = [d.tolist(), [0.0] * 16]
    found = separations(groups, [(0, 1)])[0].p
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact / 9_999))
    assert found == separations(groups, [(0, 1)])[0].p
    assert separations([[1.0] * 40, [0.0] * 40], [(0, 1)])[0].p == smallest_p(40) == 1e-4


def test_equal_groups_constant_differences_and_rounding() -> None:
    """Over 6 seeds: equal groups p = 1; a difference of .1 everywhere, its t infinite, 2 / 64; and .1 + .2 is .3."""
    steps = [0.1 * i for i in range(6)]
    values = [steps, steps, [0.1 + one for one in steps], [0.1 + 0.2] * 6, [0.3] * 6]
    found = separations(values, [(0, 1), (2, 0), (3, 4)])
    assert [one.p for one in found] == [1.0, 2 / 64, 1.0]
    assert found[0].difference == found[2].difference == Interval(0.0, 0.0, 0.0, 6)
    assert found[1].effect == INF or (found[1].effect or 0) > 1e6
    assert found[0].effect == 0.0


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_group_without_a_number_is_never_separated(bad: float) -> None:
    """Group 1 has one bad value: its pairs have p = 1 and no interval; the other pair's p is as if alone, 2 / 64."""
    values = [[float(i) for i in range(6)], [9.0, bad, *[9.0] * 4], [i - 1.0 for i in range(6)]]
    one, alone, other = separations(values, [(0, 1), (0, 2), (1, 2)])
    assert (one.p, alone.p, other.p) == (1.0, 2 / 64, 1.0)
    assert one.difference.low is None
    assert one.effect is None
    assert rank_intervals(values, higher_is_better=True) == [(1, 2), (1, 3), (2, 3)]
    assert separations([[bad] * 6, [bad] * 6], [(0, 1)])[0].p == 1.0


def test_no_seed_and_one_seed_separate_nothing() -> None:
    nothing = separations([[], []], [(0, 1)])[0]
    assert math.isnan(nothing.difference.mean)
    assert (nothing.difference.low, nothing.p, nothing.n) == (None, 1.0, 0)
    one = separations([[1.0], [0.0]], [(0, 1)])[0]
    assert (one.difference, one.p, one.n) == (Interval(1.0, None, None, 1), 1.0, 1)
    assert rank_intervals([[], []], True) == rank_intervals([[1.0], [0.0]], True) == [(1, 2), (1, 2)]
    assert rank_intervals([], True) == separations([], []) == []
    assert rank_intervals([[1.0, 2.0]], True) == [(1, 1)]


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups of \[1, 2\] seeds"):
        separations([[1.0], [1.0, 2.0]], [(0, 1)])
    with pytest.raises(ValueError, match=r"pair \(0, 2\) names no group"):
        separations([[1.0], [1.0]], [(0, 2)])
    with pytest.raises(ValueError, match="level=5 "):
        rank_intervals([[1.0]], True, level=5)


def test_ranks_by_hand() -> None:
    """Three groups a whole 1 apart, 6 seeds, equal noise: all pairs differ by constants, p = 2 / 64 each, and the order
    is supported; with 5 seeds 2 / 32 > .05 and it is not."""
    noise = [0.3, -0.2, 0.5, 0.0, 0.1, -0.4]
    values = [[level + one for one in noise] for level in (2.0, 3.0, 1.0)]
    assert rank_intervals(values, higher_is_better=True) == [(2, 2), (1, 1), (3, 3)]
    assert rank_intervals(values, higher_is_better=False) == [(2, 2), (3, 3), (1, 1)]
    assert rank_intervals([group[:5] for group in values], True) == [(1, 3)] * 3
    assert rank_intervals(values, True, level=0.03) == [(1, 3)] * 3
    assert rank_intervals(values, True, level=2 / 64) == [(2, 2), (1, 1), (3, 3)]


def test_a_tie_leaves_a_range() -> None:
    """Groups 0 and 1 differ by noise, group 2 is 100 below both: ranks 1-2, 1-2 and 3."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(3, 8)) - [[0.0], [0.0], [100.0]]
    assert rank_intervals(values.tolist(), higher_is_better=True) == [(1, 2), (1, 2), (3, 3)]


def test_a_standardised_effect_by_hand() -> None:
    """Differences 1 to 5: mean 3, sd sqrt(2.5); Hedges' factor at 4 degrees of freedom is sqrt(2 / 4) * Gamma(2) /
    Gamma(3 / 2) = .707107 / .886227 = .797885: 3 / 1.581139 * .797885 = 1.513880.  Two seeds give none."""
    found = separations([[1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5], [(0, 1)])[0]
    assert found.effect == pytest.approx(1.513880, abs=1e-5)
    assert separations([[1.0, 2.0], [0.0, 0.0]], [(0, 1)])[0].effect is None


def test_the_smallest_p() -> None:
    assert [smallest_p(n) for n in (0, 1, 2, 5, 6, 14)] == [1.0, 1.0, 0.5, 0.0625, 0.03125, 2 / 2**14]
    assert smallest_p(15) == smallest_p(100) == 1e-4


def test_six_seeds_of_one_comparison_by_hand() -> None:
    """At n = 6 only p = 2 / 64 is below .05: all six differences need one sign, Phi(effect)^6 = .8 (the other sign adds
    next to nothing), effect = Phi^-1(.8^(1/6)) = 1.7938; simulated from 2,000 families, whose power has sd .009."""
    by_hand = stats.norm.ppf(0.8 ** (1 / 6))
    assert detectable_effect(6, 1) == pytest.approx(by_hand, abs=0.06)
    assert detectable_effect(5, 1) is None
    assert detectable_effect(0, 1) is None


def test_many_seeds_of_one_comparison_are_the_t_tests_power() -> None:
    """Cohen's table: a paired t test at 5 % detects d = .5 with power .8 from n = 34 on (33.4)."""
    assert (detectable_effect(34, 1) or 0) < 0.5 < (detectable_effect(33, 1) or 0)
    assert seeds_needed(0.5, 1) == seeds_needed(-0.5, 1) == 34


def test_a_family_of_many_seeds_is_what_its_flips_give() -> None:
    """Flips of simulated families of 36 and 8 comparisons, others equal and independent, gave power .8 at 1.80 and 1.45
    (n = 10, 2,000 families each, +-2 %), and single comparisons at 1.00."""
    assert [detectable_effect(10, comparisons) for comparisons in (36, 8, 1)] == pytest.approx(
        [1.80, 1.45, 1.00], rel=0.03
    )


def test_seeds_needed_is_where_the_detectable_effect_falls_below() -> None:
    for comparisons in (1, 8, 36):
        effects = [detectable_effect(n, comparisons) or INF for n in range(1, 31)]
        assert effects == sorted(effects, reverse=True)
        assert seeds_needed(effects[11], comparisons) == 12
        assert seeds_needed(effects[11] - 0.001, comparisons) == 13
    assert [seeds_needed(INF, comparisons) for comparisons in (1, 36)] == [6, 6]
    assert seeds_needed(INF, 1, level=0.2) == 4
    assert [seeds_needed(effect, 8) for effect in (0.0, NAN, 0.1)] == [None, None, None]
    assert seeds_needed(0.5, 1, cap=33) is None


def test_wrong_power_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="comparisons=0"):
        detectable_effect(8, 0)
    with pytest.raises(ValueError, match=r"power=0\.01"):
        detectable_effect(8, 1, power=0.01)


def test_a_leaderboard_takes_milliseconds() -> None:
    """36 pairs at 8 seeds take 2 ms and 4,950 pairs 50 ms; twenty times that is allowed on a busy machine."""
    generator = np.random.default_rng(0)
    for groups, limit in ((9, 0.05), (100, 1.0)):
        values = generator.normal(size=(groups, 8)).tolist()
        rank_intervals(values, True)
        start = time.perf_counter()
        rank_intervals(values, True)
        assert time.perf_counter() - start < limit
