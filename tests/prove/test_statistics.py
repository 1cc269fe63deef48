"""Simulated leaderboards: nothing is separated that is equal, differences are found as promised, intervals cover."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import spearmanr

from harness.stats.intervals import Interval, bootstrap_interval, spearman, t_interval
from harness.stats.permutation import rank_intervals, separations
from harness.stats.power import detectable_effect

RANKS = "leaderboards simulated: ranks"
COVER = "intervals simulated: coverage"

GROUPS = 9
AGAINST_MLE = [(group, 0) for group in range(1, GROUPS)]
ALL_PAIRS = list(itertools.combinations(range(GROUPS), 2))
NOISE: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "skewed": lambda draw, shape: draw.lognormal(size=shape),
    "heavy": lambda draw, shape: draw.standard_t(3, size=shape),
    "uneven": lambda draw, shape: draw.normal(size=shape) * np.linspace(1, 5, shape[0])[:, None],
}


def leaderboards(count: int, n: int, noise: str, seed: int) -> Iterator[np.ndarray]:
    """Tables [groups, seeds] of equal truth: each value is its own noise plus a larger part that its seed brings."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield NOISE[noise](draw, (GROUPS, n)) + 3 * draw.normal(size=n)


def error(share: float, count: int) -> float:
    """Three standard deviations of a share of `count` simulations."""
    return 3 * math.sqrt(share * (1 - share) / count)


@pytest.mark.prove(RANKS, cases=1000, seconds=10)
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("n", [6, 8, 12])
def test_equal_groups_are_not_ranked(n: int, noise: str) -> None:
    """1,000 leaderboards of 9 equal groups: at most 5 % print any rank but 1-9."""
    untied = [(1, GROUPS)] * GROUPS
    false = np.mean([rank_intervals(t.tolist(), True) != untied for t in leaderboards(1000, n, noise, n)])
    assert false <= 0.05 + error(0.05, 1000)


@pytest.mark.prove(RANKS, cases=1000, seconds=10)
@pytest.mark.parametrize("n", [6, 8, 12])
def test_a_better_group_is_found_at_the_stated_effect(n: int) -> None:
    """One group better by the detectable effect of 8 comparisons (in sds of paired differences, sqrt 2 of a group's):
    at least 80 % find it better than MLE in that family, and at most 5 % find an equal group better or worse."""
    effect = detectable_effect(n, len(AGAINST_MLE))
    assert effect is not None
    found, false = [], []
    for table in leaderboards(1000, n, "normal", n):
        table[1] += effect * math.sqrt(2)
        better, *equal = separations(table.tolist(), AGAINST_MLE)
        found.append(better.p <= 0.05 and better.difference.mean > 0)
        false.append(any(one.p <= 0.05 for one in equal))
    assert np.mean(found) >= 0.8 - error(0.8, 1000)
    assert np.mean(false) <= 0.05 + error(0.05, 1000)


@pytest.mark.prove(RANKS, cases=1000, seconds=10)
@pytest.mark.parametrize(("n", "all_at_once"), [(6, 0.54), (8, 0.43), (12, 0.41)])
def test_a_better_group_is_found_among_all_pairs(n: int, all_at_once: float) -> None:
    """The same with the effect of 36 comparisons: at least 80 % of its pairs are separated.  To be printed as 1-1 it
    must win all 8 at once, which takes luck or a larger effect."""
    effect = detectable_effect(n, len(ALL_PAIRS))
    assert effect is not None
    won, first, false = [], [], []
    for table in leaderboards(1000, n, "normal", n):
        table[1] += effect * math.sqrt(2)
        ranks = rank_intervals(table.tolist(), True)
        won.append((GROUPS - ranks[1][1]) / (GROUPS - 1))
        first.append(ranks[1] == (1, 1))
        false.append(any(best > 2 or worst < GROUPS for best, worst in ranks[:1] + ranks[2:]))
    assert np.mean(won) >= 0.8 - error(0.8, 1000)
    assert np.mean(first) == pytest.approx(all_at_once, abs=error(0.5, 1000))
    assert np.mean(false) <= 0.05 + error(0.05, 1000)


@pytest.mark.prove(RANKS, cases=1000, seconds=10)
@pytest.mark.parametrize(("n", "power"), [(6, 0.12), (8, 0.81)])
def test_four_sds_apart_the_best_of_nine_is_first(n: int, power: float) -> None:
    """One group 4 of a group's sds above 8 equal ones is printed as 1-1 with power .12 at 6 seeds and .81 at 8, as two
    seeds more buy little of a t test, but four times as many patterns of signs (10,000 other leaderboards: +-.004)."""
    first = []
    for table in leaderboards(1000, n, "normal", 1):
        table[4] += 4
        first.append(rank_intervals(table.tolist(), True)[4] == (1, 1))
    assert np.mean(first) == pytest.approx(power, abs=error(power, 1000))


def covered(intervals: list[Interval], truth: float) -> float:
    """The share of intervals that hold the truth; every one must exist."""
    bounds = [(one.low, one.high) for one in intervals]
    assert all(low is not None and high is not None for low, high in bounds)
    return float(np.mean([low <= truth <= high for low, high in bounds if low is not None and high is not None]))


@pytest.mark.prove(COVER, cases=4000)
@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_intervals_over_seeds_cover(n: int, noise: str) -> None:
    draws = NOISE[noise](np.random.default_rng(n), (4000, n))
    assert 0.93 <= covered([t_interval(row.tolist()) for row in draws], 0.0) <= 0.97


def normal_pairs(draw: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """[2, n] normal pairs of this linear correlation."""
    x, y = draw.normal(size=(2, n))
    return np.array([x, rho * x + math.sqrt(1 - rho**2) * y])


PAIRS: dict[str, Callable[[np.random.Generator, int, float], np.ndarray]] = {
    "normal": normal_pairs,
    "heavy": lambda draw, n, rho: normal_pairs(draw, n, rho) / np.sqrt(draw.chisquare(3, size=n) / 3),
    "better is surer": lambda draw, n, rho: (
        (x := draw.random(n)) + np.array([np.zeros(n), 3 * (1 - rho) * (1 - x) * draw.normal(size=n)])
    ),
}


@pytest.mark.prove(COVER, cases=1500, seconds=10)
@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_intervals_of_rank_correlations_cover(rho: float, kind: str) -> None:
    """30 policies, 1,500 times; the truth is the correlation of 300,000 pairs (+-.002)."""
    draw = np.random.default_rng(2)
    truth = float(spearmanr(*PAIRS[kind](draw, 300_000, rho)).statistic)
    intervals = [spearman(*PAIRS[kind](draw, 30, rho).tolist()) for _ in range(1500)]
    assert 0.93 <= covered(intervals, truth) <= 0.97 + error(0.97, 1500)


TEXTS = 200
SMALL, LARGE = np.random.default_rng(3).dirichlet(np.full(20, 2.0), size=2)
ZIPF = 1 / np.arange(1, 2001) / (1 / np.arange(1, 2001)).sum()


def share(cells: np.ndarray) -> np.ndarray:
    """The histogram of 20 clusters."""
    return np.bincount(cells, minlength=20) / len(cells)


def mean(draw: np.random.Generator) -> Callable[[np.ndarray], float]:
    """A skewed score of each text."""
    values = draw.exponential(size=TEXTS)
    return lambda texts: float(values[texts].mean())


def ratio(draw: np.random.Generator) -> Callable[[np.ndarray], float]:
    """Pooled counts: 30 % of words, texts of about 20 words."""
    words = draw.poisson(20, size=TEXTS) + 1
    hits = draw.binomial(words, 0.3)
    return lambda texts: float(hits[texts].sum() / words[texts].sum())


def distinct(draw: np.random.Generator) -> Callable[[np.ndarray], float]:
    """Distinct words over words, 5 a text, of a Zipf vocabulary."""
    words = draw.choice(2000, p=ZIPF, size=(TEXTS, 5))
    return lambda texts: len(np.unique(words[texts])) / (5 * len(texts))


def divergence(draw: np.random.Generator) -> Callable[[np.ndarray], float]:
    """Jensen-Shannon between two histograms, as in MAUVE once the features are clustered."""
    ours, theirs = draw.choice(20, p=SMALL, size=TEXTS), draw.choice(20, p=LARGE, size=TEXTS)

    def value(texts: np.ndarray) -> float:
        p, q = share(ours[texts]), share(theirs[texts])
        return float(rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum()) / 2

    return value


@pytest.mark.prove(COVER, cases=500, seconds=10)
@pytest.mark.parametrize("score", [mean, ratio, distinct, divergence])
def test_intervals_over_texts_cover(score: Callable[[np.random.Generator], Callable[[np.ndarray], float]]) -> None:
    """200 texts, 500 times, against the mean over 5,000 other sets; one sd of simulation error is .01."""
    draw, everything = np.random.default_rng(4), np.arange(TEXTS)
    truth = float(np.mean([score(draw)(everything) for _ in range(5000)]))
    intervals = [bootstrap_interval(TEXTS, score(draw), draw, resamples=100) for _ in range(500)]
    assert 0.92 <= covered(intervals, truth) <= 0.98
