"""Lengths by hand, their distributions against scipy, and every mean length published for `webtext-generations`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from texts import Data, evaluation, webtext

from harness.metrics.length import QUANTILES, Length
from harness.plugins.metric import Unscorable


def test_by_hand():
    """Rollouts of 3, 0 and 0 words against human texts of 2, 2 and 2: means 1 and 2, gap 1.

    Sorted 0, 0, 3 against 2, 2, 2: (2 + 2 + 1) / 3 apart.  One of the three was cut off.
    """
    case = evaluation(["a\tb\nc", "", " "], ["a b"] * 3)
    cut_off = dataclasses.replace(case.rollouts[0], stop="budget")
    values = Length().measure(dataclasses.replace(case, rollouts=(cut_off, *case.rollouts[1:])))
    assert values == pytest.approx(
        {"length": 1, "length_reference": 2, "length_gap": 1, "length_distance": 5 / 3, "unfinished": 1 / 3}
    )


def test_the_distribution_is_kept_as_quantiles():
    """Lengths 0, 1, ..., 10: the quantile q is 10 q.  All human texts have one word."""
    curves = Length().profiles(evaluation([" ".join("a" * n) for n in range(11)], ["a"] * 11))
    assert [point.x for point in curves["length_quantiles"]] == list(QUANTILES)
    assert [point.value for point in curves["length_quantiles"]] == pytest.approx([10 * q for q in QUANTILES])
    assert {(point.value, point.n) for point in curves["length_quantiles_reference"]} == {(1, 11)}


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="no texts to count words in"):
        Length().measure(evaluation([]))
    with pytest.raises(Unscorable, match="no texts to count words in"):
        Length().profiles(evaluation([]))


def test_other_texts_agree_with_scipy(data: Data):
    written, human = webtext(data, "nucleus", 300)
    counts = [[len(text.split()) for text in side] for side in (written, human)]
    values = Length().measure(evaluation(written, human))
    assert values["length_distance"] == pytest.approx(scipy.stats.wasserstein_distance(*counts))
    assert values["length_gap"] == pytest.approx(abs(np.mean(counts[0]) - np.mean(counts[1])))
