"""The laws of the exact languages: they sum to one, texts that follow them, mistakes that really are mistakes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.laws import NOUNS, VERBS, Brackets, Sentences, SparseMarkov, WrongSymbol, draw, state_after
from harness.errors import ConfigError
from harness.records import Law
from harness.records.law import log_probability

MARKOV = SparseMarkov(seed=3, symbols=4, successors=2, length=5)
BRACKETS = Brackets(seed=3, kinds=2, depth=2, length=8)
SENTENCES = Sentences(seed=3, templates=3, nouns=2, verbs=2, length=24)


def every_text(law: Law) -> Iterator[tuple[str, float]]:
    """All texts of a law with their probabilities, multiplied along the branches of its tree."""
    branches: list[tuple[str, Hashable, float]] = [("", law.start, 1.0)]
    while branches:
        text, state, chance = branches.pop()
        for symbol, p in law.next(state).items():
            if symbol == "":
                yield text, chance * p
            else:
                after = law.advance(state, symbol)
                assert after is not None, f"{symbol!r} is possible after {text!r} and leads nowhere"
                branches.append((text + symbol, after, chance * p))


@pytest.mark.parametrize("law", [MARKOV, BRACKETS, SENTENCES, Brackets(0, 1, 1, 7), SparseMarkov(0, 3, 3, 2)], ids=str)
def test_all_texts_together_have_probability_one(law: Law) -> None:
    """Enumeration: 2^5 = 32 Markov texts (2 choices, 5 times); for every law the probabilities sum to 1."""
    texts = dict(every_text(law))
    assert sum(texts.values()) == pytest.approx(1, abs=1e-12)
    for text, chance in texts.items():
        assert math.exp(log_probability(law, text)) == pytest.approx(chance, rel=1e-12)
    if law is MARKOV:
        assert len(texts) == 32
        assert {len(text) for text in texts} == {5}


def test_brackets_enumerate_exactly_the_balanced_words() -> None:
    """Independent oracle: of all words over `()` up to 8 characters, a counter that never falls below 0, never
    exceeds 3 and ends at 0 picks the language.  Dyck words with 1, 2, 3, 4 pairs: 1, 2, 5, 14; of the 14 one is
    deeper than 3: 1 + 2 + 5 + 13 = 21."""

    def balanced(word: str) -> bool:
        heights = np.cumsum([1 if symbol == "(" else -1 for symbol in word])
        return bool(min(heights) >= 0 and max(heights) <= 3 and heights[-1] == 0)

    words = ["".join("()"[bit] for bit in bits) for n in range(1, 9) for bits in np.ndindex(*([2] * n))]
    law = Brackets(seed=0, kinds=1, depth=3, length=8)
    texts = [text for text, _ in every_text(law)]
    assert len(texts) == len(set(texts)) == 21
    assert set(texts) == set(filter(balanced, words))


def test_bracket_kinds_must_match() -> None:
    assert log_probability(BRACKETS, "([])") > -math.inf
    for wrong in ("([)]", "(", ")", "(]", "", "((()))", "()()()()()", "x"):
        assert log_probability(BRACKETS, wrong) == -math.inf, wrong


def test_bracket_states_near_the_length_limit() -> None:
    """8 characters at most.  After `()()()` two are left: the end, or an opening that is then closed at once.
    After `()()(` three are left and one bracket is owed: a second opening can still be closed; after
    `()()([` exactly the two owed closings fit."""
    after = {text: set(BRACKETS.next(state_after(BRACKETS, text))) for text in ("()()()", "()()(", "()()([", "")}
    assert after == {"()()()": {"", "(", "["}, "()()(": {")", "(", "["}, "()()([": {"]"}, "": {"(", "["}}


def test_markov_goes_on_after_a_symbol_it_excludes() -> None:
    """After an excluded symbol the context is the pair that now stands there, and length 5 still ends the text."""
    state = state_after(MARKOV, "ab")
    excluded = next(symbol for symbol in MARKOV.alphabet if symbol not in MARKOV.next(state))
    after = MARKOV.advance(state, excluded)
    assert after is not None
    assert after.position == 3
    assert MARKOV.next(after) == MARKOV.next(state_after(MARKOV, "cb" + excluded))
    full = state_after(MARKOV, "aaaaa")
    assert MARKOV.next(full) == {"": 1.0}
    assert MARKOV.advance(full, "a") is None
    assert MARKOV.advance(MARKOV.start, "z") is None


def test_markov_is_second_order() -> None:
    """8 symbols: each of the 64 ordered pairs has its own row, so the 8 pairs that end alike follow 8 laws; what
    stands before the pair changes nothing."""
    law = SparseMarkov(seed=0, symbols=8, successors=3, length=24)
    rows = {tuple(law.next(state_after(law, first + "a")).items()) for first in law.alphabet}
    assert len(rows) == 8
    assert law.next(state_after(law, "cab")) == law.next(state_after(law, "ab"))


@pytest.mark.parametrize("law", [MARKOV, BRACKETS, SENTENCES], ids=str)
def test_drawn_texts_follow_the_law(law: Law) -> None:
    """Pearson's statistic over the texts expected at least 10 times in 20,000: its mean under the law is about the
    number of cells, its sd sqrt(2 cells); 5 sd is a generous limit that a wrong law exceeds by far."""
    n = 20_000
    counts = Counter(draw(law, np.random.default_rng(0), n))
    expected = {text: n * chance for text, chance in every_text(law)}
    assert set(counts) <= set(expected)
    cells = {text: mean for text, mean in expected.items() if mean >= 10}
    assert len(cells) > 15
    statistic = sum((counts[text] - mean) ** 2 / mean for text, mean in cells.items())
    assert statistic < len(cells) + 5 * math.sqrt(2 * len(cells))


@given(seed=st.integers(0, 1000), kinds=st.integers(1, 4), depth=st.integers(1, 5), length=st.integers(2, 30))
def test_every_bracket_state_on_the_way_sums_to_one(seed: int, kinds: int, depth: int, length: int) -> None:
    law = Brackets(seed, kinds, depth, length)
    for text in draw(law, np.random.default_rng(seed), 3):
        assert 2 <= len(text) <= length
        for i in range(len(text) + 1):
            assert sum(law.next(state_after(law, text[:i])).values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("law", [MARKOV, BRACKETS], ids=str)
def test_mistakes_are_every_symbol_that_the_law_excludes_equally_often(law: SparseMarkov | Brackets) -> None:
    """Three states of 4 symbols; each excluded symbol's share of 3,000 mistakes is 1/(number excluded) +- 0.05."""
    wrong = WrongSymbol(law)
    generator = np.random.default_rng(1)
    for text in ("", draw(law, generator, 1)[0][:1], draw(law, generator, 1)[0][:2]):
        allowed = law.next(state_after(law, text))
        excluded = [symbol for symbol in law.alphabet if symbol not in allowed]
        counts = Counter(wrong(text, generator) for _ in range(3000))
        assert set(counts) == set(excluded)
        for symbol in excluded:
            assert counts[symbol] / 3000 == pytest.approx(1 / len(excluded), abs=0.05)


def test_mistakes_where_the_law_excludes_nothing_or_everything() -> None:
    """All 3 symbols possible: the least likely one.  A complete or a broken text: any symbol is wrong."""
    generator = np.random.default_rng(0)
    dense = SparseMarkov(seed=0, symbols=3, successors=3, length=4)
    row = dense.next(dense.start)
    assert WrongSymbol(dense)("", generator) == min(row, key=lambda symbol: row[symbol])
    assert {WrongSymbol(dense)("aaaa", generator) for _ in range(100)} == set("abc")
    assert {WrongSymbol(BRACKETS)("(]", generator) for _ in range(100)} == set("()[]")


def test_sentences_are_exactly_those_that_agree() -> None:
    """Independent oracle: one regular expression, of which each determiner's number picks the verb's form.

    2 nouns and 2 verbs, 3 determiners: 3 * 2 * 2 = 12 short sentences, and 12 * 6 of each longer pattern: 156.
    """
    texts = [text for text, _ in every_text(SENTENCES)]
    assert len(texts) == len(set(texts)) == 156
    noun, verb = "(?:{})".format("|".join(NOUNS)), "(?:{})".format("|".join(VERBS))
    phrase = f"(?:a|all|two) {noun}"
    grammar = f"(?:a {noun}(?: by {phrase})? {verb}s|(?:all|two) {noun}(?: by {phrase})? {verb})"
    pattern = re.compile(f"{grammar}|(?:a {noun} {verb}s|(?:all|two) {noun} {verb}) {phrase}")
    assert all(pattern.fullmatch(text) for text in texts)
    assert max(map(len, texts)) <= 24


def test_a_verb_agrees_across_a_phrase_of_the_other_number() -> None:
    """The last eleven characters before the verb's end are alike; only the first determiner tells the number."""
    noun, other = sorted({text.split()[1] for text, _ in every_text(SENTENCES)})
    verb = next(text for text, _ in every_text(SENTENCES) if text.startswith(f"all {noun} by ")).split()[-1]
    after = {first: f"{first} {noun} by two {other} {verb}" for first in ("a", "all")}
    assert set(SENTENCES.next(after["a"])) == {"s"}
    assert set(SENTENCES.next(after["all"])) == {""}
    assert log_probability(SENTENCES, after["a"] + "s") > -math.inf
    assert log_probability(SENTENCES, after["a"]) == log_probability(SENTENCES, after["all"] + "s") == -math.inf


def test_words_are_drawn_independently_of_their_neighbours() -> None:
    """P(noun | first determiner a) is P(noun | first determiner two): the chances multiply."""
    chances: Counter[tuple[str, str]] = Counter()
    for text, chance in every_text(SENTENCES):
        chances[text.split()[0], text.split()[1]] += chance  # type: ignore[assignment]
    nouns = {noun for _, noun in chances}
    for noun in nouns:
        shares = [chances[first, noun] / sum(chances[first, n] for n in nouns) for first in ("a", "all", "two")]
        assert shares == pytest.approx([shares[0]] * 3, rel=1e-9)


def test_long_sentences_are_left_out() -> None:
    """At 11 characters only short plural sentences stay, together of probability 1; at 5 none is left."""
    short = dict(every_text(replace(SENTENCES, length=11)))
    assert 0 < len(short) < 12
    assert max(map(len, short)) <= 11
    assert sum(short.values()) == pytest.approx(1, abs=1e-12)
    with pytest.raises(ConfigError, match=r"benchmark\.length=5: no sentence is so short; use at least \d+"):
        replace(SENTENCES, length=5).next("")
