"""Repetition text by text and loops at the end, by hand, by regular expression, and beside NLTK's n-grams."""

from __future__ import annotations

import re

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import Data, evaluation, reviews, stories

from harness.metrics.repeats import RepetitionLoops, SequenceRepetition, ends_in_loop, seq_rep_n
from harness.plugins.metric import Unscorable


def test_seq_rep_by_hand():
    """`a b a b a`: bigrams ab ba ab ba repeat 2 of 4, trigrams aba bab aba 1 of 3; `a b`: 0 of 1 bigrams.

    Mean over the texts that hold bigrams: (1/2 + 0) / 2 = 1/4 (pooled it would be 2/5); trigrams: 1/3, one text.
    No 4-gram repeats.  The human text repeats nothing and is too short for a 4-gram.
    """
    values = SequenceRepetition().measure(evaluation(["a b a b a", "a b", ""], ["a b c"] * 3))
    assert (values["seq_rep_2"], values["seq_rep_3"], values["seq_rep_4"]) == pytest.approx((1 / 4, 1 / 3, 0))
    assert (values["seq_rep_2_reference"], values["seq_rep_3_reference"]) == (0, 0)
    assert "at least 4 words" in str(values["seq_rep_4_reference"])


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("the the the", True),
        ("the the", False),
        ("x a b a b a b", True),
        ("x a b a b a", False),  # two copies and a half
        ("b a b a b a b", True),  # the last six words are ab three times, too
        ("a a a b", False),  # it left the loop
        ("a b c a b c a b c", True),
        ("a b c a b c a b d", False),
        ("", False),
    ],
)
def test_loops_by_hand(text: str, loops: bool):
    assert ends_in_loop(text.split(), 3) is loops


@given(st.text("ab", max_size=30), st.integers(2, 5))
def test_loops_as_a_regular_expression_sees_them(text: str, times: int):
    assert ends_in_loop(text, times) == (re.search(rf"(.+)\1{{{times - 1}}}\Z", text) is not None)


def test_loop_rate_by_hand():
    """One of four rollouts loops, an empty one does not; one of four human texts does."""
    case = evaluation(["no no no", "a b", "a", ""], ["x", "a b", "c", "yes yes yes"])
    values = RepetitionLoops().measure(case)
    assert values == {"repetition_loop_rate": 1 / 4, "repetition_loop_rate_reference": 1 / 4}
    assert RepetitionLoops().parameters(case) == {"times": 3}
    # of characters only two copies of ` no` stand at the end, and the space between is no unit of words
    assert RepetitionLoops(units="characters").measure(case)["repetition_loop_rate"] == 0
    assert RepetitionLoops(units="characters", times=2).measure(case)["repetition_loop_rate"] == 1 / 4


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="seq_rep_2 needs a text of at least 2 words, and none of 2"):
        SequenceRepetition().measure(evaluation(["a", ""]))
    with pytest.raises(Unscorable, match="a loop takes at least 3 words"):
        RepetitionLoops().measure(evaluation(["a a", ""]))


def test_other_texts_agree_with_nltk_and_hold_no_loops(data: Data):
    """Stories and reviews as written; the same with their last sentence three more times all end in loops."""
    for texts in (stories(data, 100), reviews(data, 50)):
        for n in (2, 3, 4):
            shares = [(len(set(g)), len(g)) for g in (list(nltk.ngrams(text.split(), n)) for text in texts) if g]
            expected = sum(1 - distinct / total for distinct, total in shares) / len(shares)
            assert seq_rep_n(texts, n) == pytest.approx(expected, abs=1e-12)
        looped = [f"{text} {' '.join(text.split()[-7:])} {' '.join(text.split()[-7:])}" for text in texts]
        values = RepetitionLoops().measure(evaluation(looped, texts))
        assert (values["repetition_loop_rate"], values["repetition_loop_rate_reference"]) == (1, 0)
