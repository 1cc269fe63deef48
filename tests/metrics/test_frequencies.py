"""Zipf's exponent and the n-gram divergence by hand, and against numpy's and scipy's own computations."""

from __future__ import annotations

import math
from collections import Counter

import nltk
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from texts import Data, evaluation, reviews, stories

from harness.metrics.frequencies import NgramDivergence, Zipf, ngram_js, zipf_exponent
from harness.plugins.metric import Unscorable

corpora = st.lists(st.text("abc", min_size=4, max_size=12).map(" ".join), min_size=1, max_size=5)


def test_zipf_by_hand():
    """Frequencies 8, 4 and 2 at ranks 1, 2 and 4 lie on the line log f = log 8 - log r; rank 3 has 2.7 there.

    With ranks 1 and 2 alone, the slope is (log 4 - log 8) / (log 2 - log 1) = -1.
    """
    words = "a " * 8 + "b " * 4 + "c " * 2
    assert Zipf(ranks=2).measure(evaluation([words])) == pytest.approx({"zipf": 1, "zipf_reference": 1})
    assert Zipf(ranks=2).parameters(evaluation([words])) == {"ranks": 2, "texts": 1}


def test_zipf_of_equal_frequencies_is_0():
    assert zipf_exponent(["a b c", "c b a"], 5000) == pytest.approx(0, abs=1e-15)


def test_divergence_by_hand():
    """p = (1/2, 1/2) over a, b and q = (1, 0): m = (3/4, 1/4).

    JS = 1/2 [1/2 log(2/3) + 1/2 log 2] + 1/2 log(4/3) = 1/4 log(4/3) + 1/2 log(4/3) = .2158.
    """
    assert ngram_js(["a b"], ["a", "a"], 1) == pytest.approx(3 / 4 * math.log(4 / 3))
    assert ngram_js(["a b"], ["b a"], 1) == 0
    assert ngram_js(["a b"], ["c d"], 1) == math.log(2)
    values = NgramDivergence(units="characters").measure(evaluation(["abab"], ["abab"]))
    assert values == {f"ngram_js_{n}": 0 for n in (1, 2, 3, 4)}
    assert NgramDivergence(units="characters").parameters(evaluation(["a"])) == {"texts": 1, "units": "characters"}


@given(corpora, corpora, st.integers(1, 4))
def test_divergence_as_scipy_has_it(texts: list[str], references: list[str], n: int):
    """scipy's distance is the square root of the divergence in nats."""
    counts = [Counter(g for text in side for g in nltk.ngrams(text.split(), n)) for side in (texts, references)]
    grams = sorted(counts[0] | counts[1])
    p, q = (np.array([count[gram] for gram in grams], float) for count in counts)
    expected = scipy.spatial.distance.jensenshannon(p, q) ** 2
    assert ngram_js(texts, references, n) == pytest.approx(0 if math.isnan(expected) else expected, abs=1e-9)


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="need a text of at least 1 words; none of 1 texts is one"):
        NgramDivergence().measure(evaluation([""]))
    with pytest.raises(Unscorable, match="two distinct words, and 2 texts hold 1"):
        Zipf().measure(evaluation(["a", "a"]))
    values = NgramDivergence().measure(evaluation(["a b c d"], ["a b"]))
    assert "at least 3 words" in str(values["ngram_js_3"])
    assert values["ngram_js_2"] == pytest.approx(ngram_js(["a b c d"], ["a b"], 2))


def test_other_texts_agree_with_scipy(data: Data):
    """Stories and reviews: exponents near 1, and two halves of one corpus are closer than two corpora."""
    corpora = stories(data, 200), reviews(data, 60)
    for texts in corpora:
        frequencies = sorted(nltk.FreqDist(w for text in texts for w in text.split()).values(), reverse=True)[:5000]
        line = scipy.stats.linregress(np.log(np.arange(1, len(frequencies) + 1)), np.log(frequencies))
        assert zipf_exponent(texts, 5000) == pytest.approx(-line.slope, abs=1e-10)
        assert 0.8 < -line.slope < 1.6
        half = len(texts) // 2
        assert ngram_js(texts[:half], texts[half:], 1) < ngram_js(corpora[0], corpora[1], 1) / 2
