"""Copied spans by hand, against a search of every span as text, and on a published human text that copies itself."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import Data, evaluation, reviews, stories

from harness.metrics.memorisation import Copies, Memorisation, copies
from harness.plugins.metric import Unscorable

corpora = st.lists(st.text("ab", max_size=14).map(" ".join), max_size=4)


def search(train: list[str], text: str) -> list[int]:
    """Every span of every length, looked for as words between spaces."""
    padded = [f" {' '.join(one.split())} " for one in train]
    words = text.split()
    return [
        max(
            length
            for length in range(len(words) - i + 1)
            if not length or any(f" {' '.join(words[i : i + length])} " in one for one in padded)
        )
        for i in range(len(words))
    ]


@given(corpora, corpora.map(lambda texts: [*texts, "a b c a b"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_span_is_found_and_no_other(train: list[str], texts: list[str], copied: bool):
    texts = texts + train if copied else texts
    found = [list(places) for places in Copies(train, "words").longest(texts)]
    assert found == [search(train, text) for text in texts]


@pytest.mark.parametrize("length", [1, 2, 1000])
def test_a_whole_text_that_repeats_nothing_is_found_whole(length: int):
    """All 2-grams are distinct, so the order of suffixes is known long before the length of the copy."""
    text = " ".join(map(str, range(length)))
    assert list(Copies([text], "words").longest([text])[0]) == list(range(length, 0, -1))


def test_by_hand():
    """The training text is a b c d e f g h i; a rollout holds b ... i (8 of them) then x: 9 words, 2 8-grams, 1 copied.

    The human text is x a b: no 8-gram, its longest span is a b.  Two rollouts: the other is empty, so the mean of the
    longest spans is (8 + 0) / 2 = 4.  No text holds a 16-gram.
    """
    case = evaluation(["b c d e f g h i x", ""], ["x a b", "c"], train=("a b c d e f g h i", "x y"))
    values = Memorisation().measure(case)
    assert values["copied_8"] == 1 / 2
    assert (values["longest_copy"], values["longest_copy_mean"]) == (8, 4)
    assert (values["longest_copy_reference"], values["longest_copy_mean_reference"]) == (2, 1.5)
    for missing, least in (("copied_16", 16), ("copied_8_reference", 8), ("copied_16_reference", 16)):
        assert f"at least {least} words" in str(values[missing])
    assert Memorisation().parameters(case) == {"texts": 2}


def test_a_span_does_not_cross_training_texts():
    assert list(Copies(["a b", "c d"], "words").longest(["a b c d"])[0]) == [2, 1, 2, 1]


def test_characters_are_a_choice_of_unit():
    """`abab` in the training text `xaba`: aba from the first place, ba, ab, b."""
    assert list(Copies(["xaba"], "characters").longest(["abab"])[0]) == [3, 2, 2, 1]
    case = evaluation(["abab"] * 2, train=("xaba",))
    assert Memorisation(units="characters").measure(case)["longest_copy"] == 3
    assert Memorisation(units="characters").parameters(case) == {"texts": 2, "units": "characters"}


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="no rollouts"):
        Memorisation().measure(evaluation([], train=("a",)))
    with pytest.raises(Unscorable, match="no training texts"):
        Memorisation().measure(evaluation(["a"], train=("", " ")))
    with pytest.raises(Unscorable, match="at least 8 words"):
        Memorisation().measure(evaluation([""], train=("a",)))


def test_copying_is_seen_beside_human_text(data: Data):
    """Stories and reviews: a set that is half copied from training has half of its n-grams there; other stories few."""
    for texts in (stories(data, 300), reviews(data, 300)):
        words = [" ".join(text.split()[:60]) for text in texts if len(text.split()) >= 60]
        train, human, written = tuple(texts[:100]), words[100:150], [*words[:25], *words[150:175]]
        values = Memorisation().measure(evaluation(written, human, train=train))
        assert values["copied_16"] == pytest.approx(1 / 2, abs=0.02)
        assert values["longest_copy"] == 60
        assert values["copied_16_reference"] < 0.02
        assert values["longest_copy_reference"] < 30


def test_the_training_split_is_made_ready_once(data: Data):
    """Half a million words take seconds, and the next metric or run of the same split nothing."""
    train = tuple(reviews(data, 700))
    assert sum(len(text.split()) for text in train) > 450_000
    began = time.process_time()
    first = copies(train, "words")
    taken = time.process_time() - began
    assert taken < 20
    assert copies(tuple(train), "words") is first
    assert sum(int(found[0]) for found in first.longest(train[:50])) == sum(len(text.split()) for text in train[:50])
