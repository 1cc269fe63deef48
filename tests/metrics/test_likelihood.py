"""Perplexity and bits per byte against powers of two worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness.metrics.likelihood import Perplexity
from harness.plugins.metric import Unscorable
from harness.records.evaluation import Evaluation, Likelihood

LN2 = math.log(2)
SCORED = Likelihood(
    nll=24 * LN2, masked_nll=12 * LN2, tokens=12, words=4, bytes=48, documents=3, window=64, stride=32,
    tokenizer="0123abcd",
)  # fmt: skip


def evaluation(likelihood: Likelihood | None) -> Evaluation:
    return Evaluation((), (), None, 0, likelihood=likelihood)


def test_by_hand():
    """24 bits over 12 tokens, 4 words and 48 bytes: 2 bits a token, 6 a word, 1/2 a byte; masked, half of each."""
    assert Perplexity().measure(evaluation(SCORED)) == pytest.approx(
        {
            "perplexity": 2,
            "perplexity_raw": 4,
            "perplexity_word": 8,
            "perplexity_word_raw": 64,
            "bits_per_byte": 1 / 4,
            "bits_per_byte_raw": 1 / 2,
            "nll": LN2,
            "nll_raw": 2 * LN2,
        }
    )


def test_the_protocol_is_in_the_name_and_the_documents_are_counted():
    assert Perplexity().parameters(evaluation(SCORED)) == {
        "window": 64,
        "stride": 32,
        "tokenizer": "0123abcd",
    }
    assert Perplexity().count(evaluation(SCORED)) == 3
    assert Perplexity().count(evaluation(None)) == 0


def test_a_word_of_a_thousand_nats_overflows_to_infinity():
    """exp(1000) exceeds the largest float (about exp(709.8)); per token it is exp(1)."""
    long = dataclasses.replace(SCORED, nll=1000.0, masked_nll=1000.0, tokens=1000, words=1, bytes=1000)
    values = Perplexity().measure(evaluation(long))
    assert values["perplexity_word"] == math.inf
    assert values["perplexity"] == pytest.approx(math.e)


@pytest.mark.parametrize(
    ("likelihood", "reason"),
    [
        (None, "holds no likelihood"),
        (dataclasses.replace(SCORED, tokens=0), "hold 0 tokens, 4 words"),
        (dataclasses.replace(SCORED, words=0), "12 tokens, 0 words"),
        (dataclasses.replace(SCORED, bytes=0), "and 0 bytes"),
        (dataclasses.replace(SCORED, nll=math.nan), "not finite"),
        (dataclasses.replace(SCORED, masked_nll=math.inf), "not finite"),
    ],
)
def test_refuses_with_the_reason(likelihood: Likelihood | None, reason: str):
    with pytest.raises(Unscorable, match=reason):
        Perplexity().measure(evaluation(likelihood))
