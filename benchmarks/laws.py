"""Laws of the exact languages: automata over single characters, and texts drawn from them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np

from harness.errors import ConfigError
from harness.records import Law

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = ("()", "[]", "{}", "<>")


class Alphabetic(Law, Protocol):
    """A law that also names every character of its texts."""

    @property
    def alphabet(self) -> str:
        """Each character once."""


class MarkovState(NamedTuple):
    """State of a Markov text: its number of symbols, and the last two of them (fewer at its beginning)."""

    position: int
    context: str


@dataclass(frozen=True)
class SparseMarkov:
    """A second-order chain in which only `successors` of the `symbols` may follow any context.

    A context is the last two symbols; the beginnings "" and one symbol are contexts of their own.  Each context's
    successors are drawn without replacement and their probabilities from a flat Dirichlet, all from `seed`.  A text
    ends after exactly `length` symbols.  After a symbol that the law excludes, the chain goes on from the context
    it then has.
    """

    seed: int
    symbols: int
    successors: int
    length: int

    @property
    def alphabet(self) -> str:
        """The first `symbols` letters."""
        return LETTERS[: self.symbols]

    @cached_property
    def _rows(self) -> dict[str, dict[str, float]]:
        generator = np.random.default_rng([self.seed, 0])
        contexts = ["", *self.alphabet, *(a + b for a in self.alphabet for b in self.alphabet)]
        rows = {}
        for context in contexts:
            chosen = np.sort(generator.choice(self.symbols, self.successors, replace=False))
            chances = generator.dirichlet(np.ones(self.successors))
            rows[context] = {self.alphabet[i]: float(p) for i, p in zip(chosen, chances, strict=True)}
        return rows

    @property
    def start(self) -> MarkovState:
        """Nothing written yet."""
        return MarkovState(0, "")

    def next(self, state: Hashable) -> Mapping[str, float]:
        """The context's successors, or only the end (`""`) once the text has `length` symbols."""
        assert isinstance(state, MarkovState)
        return {"": 1.0} if state.position >= self.length else self._rows[state.context]

    def advance(self, state: Hashable, symbol: str) -> MarkovState | None:
        """The state after any symbol of the alphabet; None past `length` or for a character outside it."""
        assert isinstance(state, MarkovState)
        if state.position >= self.length or symbol not in self.alphabet or len(symbol) != 1:
            return None
        return MarkovState(state.position + 1, (state.context + symbol)[-2:])


class BracketState(NamedTuple):
    """State of a bracket text: the closing brackets it owes, outermost first, and the characters it may still have."""

    owed: str
    remaining: int


@dataclass(frozen=True)
class Brackets:
    """Balanced brackets of `kinds` kinds, nested at most `depth` deep, between 2 and `length` characters long.

    A text ends only when every bracket is closed.  For each depth and innermost open kind, `seed` draws the
    probability of closing (at depth 0: of ending) uniformly from [0.3, 0.6] and shares the rest among the opening
    kinds by a flat Dirichlet.  An opening that could no longer be closed within `length`, or that exceeds `depth`,
    has probability 0, and the others are divided by what is left: every state's law sums to 1.
    """

    seed: int
    kinds: int
    depth: int
    length: int

    @property
    def alphabet(self) -> str:
        """Opening and closing bracket of each kind."""
        return "".join(PAIRS[: self.kinds])

    @cached_property
    def _rows(self) -> dict[tuple[int, str], tuple[float, dict[str, float]]]:
        """(depth, owed now) -> the weight of closing or ending, and the weight of each opening bracket."""
        generator = np.random.default_rng([self.seed, 0])
        rows = {}
        for depth in range(self.depth + 1):
            for owed in ("",) if depth == 0 else tuple(pair[1] for pair in PAIRS[: self.kinds]):
                leave = float(generator.uniform(0.3, 0.6))
                shares = generator.dirichlet(np.ones(self.kinds))
                opening = {PAIRS[i][0]: (1 - leave) * float(share) for i, share in enumerate(shares)}
                rows[depth, owed] = (leave, opening)
        return rows

    @property
    def start(self) -> BracketState:
        """State of the empty text: nothing owed, `length` characters left."""
        return BracketState("", self.length)

    def next(self, state: Hashable) -> Mapping[str, float]:
        """The bracket owed, the openings that can still be closed, and the end (`""`) where nothing is owed."""
        assert isinstance(state, BracketState)
        depth = len(state.owed)
        leave, opening = self._rows[depth, state.owed[-1:]]
        weights = dict(opening) if depth < self.depth and state.remaining >= depth + 2 else {}
        if state.owed or state.remaining < self.length:
            weights[state.owed[-1:]] = leave
        total = sum(weights.values())
        return {symbol: weight / total for symbol, weight in weights.items()}

    def advance(self, state: Hashable, symbol: str) -> BracketState | None:
        """The state after `symbol`, or None when the law excludes it: no balanced text goes on from there."""
        assert isinstance(state, BracketState)
        if not symbol or symbol not in self.next(state):
            return None
        owed = state.owed[:-1] if symbol == state.owed[-1:] else state.owed + _CLOSING[symbol]
        return BracketState(owed, state.remaining - 1)


_CLOSING = {pair[0]: pair[1] for pair in PAIRS}


SINGULAR, PLURAL = ("a",), ("all", "two")
NOUNS = ("bass", "carp", "cod", "deer", "fish", "hake", "pike")  # one form for both numbers
VERBS = ("eat", "hit", "lug", "pet", "rob", "see", "tug", "woo")  # with a final s after a singular
TEMPLATES = (
    ("determiner", "noun", "verb"),
    ("determiner", "noun", "by", "other determiner", "other noun", "verb"),
    ("determiner", "noun", "verb", "other determiner", "other noun"),
)


@dataclass(frozen=True)
class Sentences:
    """Sentences such as `a deer by all carp eats`, in which the verb agrees with a determiner far behind it.

    Nouns have one form for both numbers, so only the first determiner says whether the verb ends in s: at least five
    characters back, and in the second template behind another determiner that may say the opposite.  `seed` draws
    which `nouns` and `verbs` there are, and the probabilities of the first `templates` templates and of the words for
    each place from flat Dirichlets.  Sentences of more than `length` characters are left out and the others divided
    by what is left.  A state is the text so far; after a character that no sentence has there, none goes on.
    """

    seed: int
    templates: int
    nouns: int
    verbs: int
    length: int

    @property
    def alphabet(self) -> str:
        """Every character of every sentence, in order."""
        return "".join(sorted({symbol for row in self._rows.values() for symbol in row if symbol}))

    @cached_property
    def _rows(self) -> dict[str, dict[str, float]]:
        """Beginning of a sentence -> the probability that a sentence begins so and goes on with each character."""
        rows: dict[str, dict[str, float]] = {}
        for sentence, chance in self._sentences().items():
            for i, symbol in enumerate((*sentence, "")):
                row = rows.setdefault(sentence[:i], {})
                row[symbol] = row.get(symbol, 0.0) + chance
        return rows

    def _sentences(self) -> dict[str, float]:
        generator = np.random.default_rng([self.seed, 0])

        def words(known: tuple[str, ...], count: int) -> dict[str, float]:
            chosen = np.sort(generator.choice(len(known), count, replace=False))
            chances = generator.dirichlet(np.ones(count))
            return {known[i]: float(p) for i, p in zip(chosen, chances, strict=True)}

        determiners, nouns = SINGULAR + PLURAL, words(NOUNS, self.nouns)
        fillers = {
            "determiner": words(determiners, len(determiners)),
            "noun": nouns,
            "verb": words(VERBS, self.verbs),
            "by": {"by": 1.0},
            "other determiner": words(determiners, len(determiners)),
            "other noun": dict(zip(nouns, generator.dirichlet(np.ones(self.nouns)).tolist(), strict=True)),
        }
        sentences = {}
        for template, chance in zip(TEMPLATES, generator.dirichlet(np.ones(self.templates)).tolist(), strict=False):
            for chosen in product(*(fillers[place].items() for place in template)):
                singular = chosen[0][0] in SINGULAR
                forms = [
                    word + "s" * (place == "verb" and singular)
                    for place, (word, _) in zip(template, chosen, strict=True)
                ]
                sentences[" ".join(forms)] = chance * math.prod(p for _, p in chosen)
        kept = {sentence: chance for sentence, chance in sentences.items() if len(sentence) <= self.length}
        if not kept:
            shortest = min(map(len, sentences))
            raise ConfigError(f"benchmark.length={self.length}: no sentence is so short; use at least {shortest}")
        return kept

    @property
    def start(self) -> str:
        """Nothing written yet."""
        return ""

    def next(self, state: Hashable) -> Mapping[str, float]:
        """The characters that some sentence has after this text, and the end (`""`) where one is complete."""
        assert isinstance(state, str)
        row = self._rows[state]
        total = math.fsum(row.values())
        return {symbol: chance / total for symbol, chance in row.items()}

    def advance(self, state: Hashable, symbol: str) -> str | None:
        """The text with `symbol`, or None when no sentence begins so."""
        assert isinstance(state, str)
        return state + symbol if symbol and symbol in self._rows[state] else None


def state_after(law: Law, text: str) -> Hashable | None:
    """The law's state after `text`, or None when no text of the language goes on from there."""
    state: Hashable | None = law.start
    for symbol in text:
        if state is None:
            return None
        state = law.advance(state, symbol)
    return state


def draw(law: Law, generator: np.random.Generator, count: int) -> tuple[str, ...]:
    """`count` independent texts of the law, end symbol not written."""
    # Each state is computed once: symbols, running sums of their probabilities, and the state that each leads to.
    known: dict[Hashable, tuple[list[str], list[float], list[Hashable | None]]] = {}

    def table(state: Hashable) -> tuple[list[str], list[float], list[Hashable | None]]:
        if state not in known:
            law_here = law.next(state)
            symbols = list(law_here)
            sums = np.cumsum(list(law_here.values())).tolist()
            sums[-1] = 1.0  # rounding must not leave a gap that a draw could fall into
            known[state] = (symbols, sums, [law.advance(state, symbol) if symbol else None for symbol in symbols])
        return known[state]

    texts = []
    for _ in range(count):
        written: list[str] = []
        state: Hashable | None = law.start
        while state is not None:
            symbols, sums, after = known.get(state) or table(state)
            i = bisect_right(sums, generator.random())
            written.append(symbols[i])
            state = after[i]
        texts.append("".join(written))
    return tuple(texts)


@dataclass(frozen=True)
class WrongSymbol:
    """Ground-truth noise of a language: a uniformly drawn symbol that the law excludes after the text so far.

    Where the law excludes none (`successors` equal to `symbols`) it is the least likely symbol.  After a text that
    has left the language, or is complete, every symbol is wrong.
    """

    law: Alphabetic

    def __call__(self, text: str, generator: np.random.Generator) -> str:
        """One wrong character after `text`."""
        state = state_after(self.law, text)
        allowed = {} if state is None else self.law.next(state)
        wrong = [symbol for symbol in self.law.alphabet if allowed.get(symbol, 0.0) == 0.0]
        if not wrong:
            return min(self.law.alphabet, key=lambda symbol: allowed[symbol])
        return wrong[int(generator.integers(len(wrong)))]
