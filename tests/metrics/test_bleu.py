"""BLEU and Self-BLEU against NLTK on random sets, real texts of three kinds, and the tables published with Texygen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from texts import Data, evaluation, reviews, stories, webtext

from harness.metrics.bleu import ORDERS, TOKENIZE, Bleu, SelfBleu, bleu, self_bleu
from harness.plugins.metric import Unscorable

SMOOTH = SmoothingFunction(epsilon=0.1).method1
# few words, so that texts share n-grams; empty texts, texts of one word and equal texts come up often
sets = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(tuple), min_size=1, max_size=7)


def nltk_bleu(text: Sequence[str], references: Sequence[Sequence[str]], n: int) -> float:
    value = sentence_bleu(references, text, weights=(1 / n,) * n, smoothing_function=SMOOTH)
    assert isinstance(value, float | int)
    return float(value)


def nltk_self_bleu(texts: Sequence[Sequence[str]], n: int) -> float:
    values = [nltk_bleu(text, [*texts[:i], *texts[i + 1 :]], n) for i, text in enumerate(texts)]
    return math.fsum(values) / len(values)


@given(sets)
@settings(max_examples=200, deadline=None)
def test_self_bleu_is_nltk_s(texts: list[tuple[str, ...]]):
    if len(texts) < 2:
        with pytest.raises(Unscorable, match="got 1, wants at least 2"):
            self_bleu(texts)
        return
    assert self_bleu(texts) == pytest.approx({n: nltk_self_bleu(texts, n) for n in ORDERS}, abs=1e-12, rel=0)


@given(sets, sets)
@settings(max_examples=200, deadline=None)
def test_bleu_is_nltk_s(texts: list[tuple[str, ...]], references: list[tuple[str, ...]]):
    expected = {n: math.fsum(nltk_bleu(text, references, n) for text in texts) / len(texts) for n in ORDERS}
    assert bleu(texts, references) == pytest.approx(expected, abs=1e-12, rel=0)


def test_by_hand():
    """Texts `a a b` and `a b`, each the other's only reference.

    `a a b`: its words a a b match a once and b (2 of 3), its bigrams aa ab match ab (1 of 2), its one trigram nothing,
    .1 of 1; it is longer than its reference, no penalty.  BLEU-2 = sqrt(2/3 * 1/2).
    `a b`: 2 of 2 words, 1 of 1 bigrams; 2 words where the reference has 3, penalty exp(1 - 3/2).  BLEU-2 = exp(-1/2).
    It has no trigram, which counts as .1 of 1, as do the 4- and 5-grams of both.
    """
    penalty = math.exp(-1 / 2)
    first, second = 2 / 3 * 1 / 2, 1.0
    expected = {n: (first * 0.1 ** (n - 2)) ** (1 / n) for n in ORDERS}
    other = {n: penalty * (second * 0.1 ** (n - 2)) ** (1 / n) for n in ORDERS}
    values = SelfBleu().measure(evaluation(["a a b", "a b"]))
    for n in ORDERS:
        assert values[f"self_bleu_{n}"] == pytest.approx((expected[n] + other[n]) / 2)
        assert values[f"self_bleu_{n}_reference"] == values[f"self_bleu_{n}"]  # the same texts
    against = Bleu().measure(evaluation(["a a b"], ["a b"]))
    assert against["bleu_2"] == pytest.approx(math.sqrt(first))
    assert isinstance(against["bleu_2_reference"], Unscorable)  # one human text has no others


def test_the_closest_of_two_lengths_is_the_shorter():
    """3 words between references of 2 and 4: r = 2, no penalty; with the longer one it would be exp(1 - 4/3)."""
    assert bleu([list("abc")], [list("ab"), list("abcd")])[2] == 1


def test_words_are_nltk_s_and_the_name_says_so():
    """`It's.` is It, 's and the full stop; without a sentence splitter only the last full stop is split off."""
    assert list(TOKENIZE["nltk"]("A b. It's.")) == ["A", "b.", "It", "'s", "."]
    assert SelfBleu().parameters(evaluation(["a"] * 3)) == {"texts": 3, "tokenizer": "nltk"}
    characters = Bleu(tokenizer="characters").measure(evaluation(["ab"], ["ab", "ab"]))
    assert (characters["bleu_2"], characters["bleu_2_reference"]) == (1, 1)


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="got 0, wants at least 2"):
        SelfBleu().measure(evaluation([]))
    with pytest.raises(Unscorable, match="got 0 and 0, wants both"):
        Bleu().measure(evaluation([]))


@pytest.mark.parametrize("kind", ["stories", "reviews", "webtext"])
def test_other_texts_agree_with_nltk(kind: str, data: Data):
    """Thirty stories, film reviews and GPT-2 continuations, none of which has a published table."""
    texts = {"stories": stories, "reviews": reviews, "webtext": lambda d, n: webtext(d, "topk", n)[0]}[kind](data, 30)
    tokens = [TOKENIZE["nltk"](text)[:60] for text in texts]
    assert self_bleu(tokens) == pytest.approx({n: nltk_self_bleu(tokens, n) for n in ORDERS}, abs=1e-12, rel=0)
    expected = {n: math.fsum(nltk_bleu(text, tokens[15:], n) for text in tokens[:15]) / 15 for n in ORDERS}
    assert bleu(tokens[:15], tokens[15:]) == pytest.approx(expected, abs=1e-12, rel=0)


# BLEU-2..5 against test_coco and Self-BLEU-2..5, README of geek-ai/Texygen at commit 3104e22
PUBLISHED = {
    "maligan": ((0.673, 0.432, 0.257, 0.159), (0.918, 0.781, 0.606, 0.437)),
    "textgan": ((0.593, 0.463, 0.277, 0.207), (0.942, 0.931, 0.804, 0.746)),
    "mle": ((0.731, 0.497, 0.305, 0.189), (0.916, 0.769, 0.583, 0.408)),
}


@cache
def captions(path: Path) -> list[Sequence[str]]:
    return [TOKENIZE["nltk"](line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_tables(model: str, data: Data):
    """All 9,984 sentences, four orders in less than a minute."""
    folder = data("texygen-coco")
    began = time.process_time()
    texts = captions(folder / f"{model}.txt")
    scores = self_bleu(texts)
    assert time.process_time() - began < 60
    assert len(texts) == 9984
    table, own = PUBLISHED[model]
    assert list(scores.values()) == pytest.approx(own, abs=0.0015)
    assert list(bleu(texts, captions(folder / "test_coco.txt")).values()) == pytest.approx(table, abs=0.0015)
