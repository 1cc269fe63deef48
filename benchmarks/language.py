"""Languages whose law is known exactly, so that a policy's error can be computed instead of estimated.

Each law is a probabilistic finite automaton over single characters.  `draw` samples texts from any of them and
`log_probability` gives a text's exact log-probability.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import Field

from harness.errors import ConfigError
from harness.records import Example, Law, Splits

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = ("()", "[]", "{}", "<>")


class Alphabetic(Law, Protocol):
    """A law that also names every character of its texts."""

    @property
    def alphabet(self) -> str:
        """Each character once."""


class MarkovState(NamedTuple):
    """Where a Markov text is: how many symbols it has, and the last two of them (fewer at its beginning)."""

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
    """Where a bracket text is: the closing brackets it owes, outermost first, and the characters it may still have."""

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
        """Nothing owed, `length` characters left."""
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


def state_after(law: Law, text: str) -> Hashable | None:
    """The law's state after `text`, or None when no text of the language goes on from there."""
    state: Hashable | None = law.start
    for symbol in text:
        if state is None:
            return None
        state = law.advance(state, symbol)
    return state


def log_probability(law: Law, text: str) -> float:
    """Exact log-probability of the whole text, its end included, in nats; -inf outside the language."""
    state: Hashable | None = law.start
    total = 0.0
    for symbol in (*text, ""):
        chance = 0.0 if state is None else law.next(state).get(symbol, 0.0)
        if chance == 0.0:
            return -math.inf
        total += math.log(chance)
        if symbol:
            state = law.advance(state, symbol)
    return total


def draw(law: Law, generator: np.random.Generator, count: int) -> tuple[str, ...]:
    """`count` independent texts of the law, end symbol not written."""
    # Each state is asked once: symbols, running sums of their probabilities, and the state that each leads to.
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
            symbols, sums, after = table(state)
            i = bisect_right(sums, generator.random())
            written.append(symbols[i])
            state = after[i]
        texts.append("".join(written))
    return tuple(texts)


@dataclass(frozen=True)
class WrongSymbol:
    """The language's ground-truth noise: a uniformly drawn symbol that the law excludes after the text so far.

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


@dataclass(frozen=True)
class FreshTexts:
    """More texts of a law, independent of every split."""

    law: Law

    def __call__(self, count: int, generator: np.random.Generator) -> tuple[Example, ...]:
        """`count` texts."""
        return tuple(Example(text) for text in draw(self.law, generator, count))


@dataclass(frozen=True)
class Language:
    """Texts of a language whose law is known: a sparse second-order Markov chain, or bounded brackets.

    Train, validation and test are independent samples of the law, so a short text may occur in two of them by
    chance, as often as the law says.  Every test text is also an expert's answer to the empty prompt.  Texts are
    meant for a character tokenizer: one character, one action.

    Raises:
        ConfigError: an option of the other law is set, or more successors are asked for than there are symbols.
    """

    metrics: ClassVar[tuple[str, ...]] = ("exact_kl", "out_of_support", "actions", "perplexity")
    selection: ClassVar[tuple[str, str]] = ("ngram_js@pooled[units=characters]", "ngram_js_3")

    law: Annotated[Literal["markov", "brackets"], Field(description="which family of languages")] = "markov"
    seed: Annotated[int, Field(ge=0, description="draws the law's probabilities")] = 0
    data_seed: Annotated[int, Field(ge=0, description="draws the texts, given the law")] = 0
    length: Annotated[int, Field(ge=2, le=4096, description="characters per text; for brackets the most")] = 24
    symbols: Annotated[int | None, Field(ge=2, le=26, description="markov only: alphabet size; 8")] = None
    successors: Annotated[
        int | None, Field(ge=1, le=26, description="markov only: symbols that may follow a context; 3")
    ] = None
    kinds: Annotated[int | None, Field(ge=1, le=4, description="brackets only: kinds of brackets; 3")] = None
    depth: Annotated[int | None, Field(ge=1, le=64, description="brackets only: deepest nesting; 4")] = None
    train: Annotated[int, Field(ge=1, description="training texts")] = 20_000
    validation: Annotated[int, Field(ge=1, description="validation texts")] = 500
    test: Annotated[int, Field(ge=1, description="test texts, and as many empty prompts")] = 1_000

    def __post_init__(self) -> None:
        for law, defaults in _OWN_OPTIONS.items():
            for name, default in defaults.items():
                given = getattr(self, name)
                if law == self.law and given is None:
                    object.__setattr__(self, name, default)
                elif law != self.law and given is not None:
                    raise ConfigError(
                        f"benchmark.{name}={given} belongs to law={law}, but the law is {self.law}; "
                        f"remove {name} or set law={law}"
                    )
        if self.symbols is not None and self.successors is not None and self.successors > self.symbols:
            raise ConfigError(
                f"benchmark.successors={self.successors} of symbols={self.symbols} cannot follow a context; "
                f"use at most {self.symbols} successors"
            )

    @property
    def automaton(self) -> SparseMarkov | Brackets:
        """The law itself."""
        if self.law == "brackets":
            assert self.kinds is not None
            assert self.depth is not None
            return Brackets(self.seed, self.kinds, self.depth, self.length)
        assert self.symbols is not None
        assert self.successors is not None
        return SparseMarkov(self.seed, self.symbols, self.successors, self.length)

    def splits(self) -> Splits:
        """Three independent samples of the law, with the law and its ground-truth noise."""
        law = self.automaton

        def sample(part: int, count: int) -> tuple[Example, ...]:
            generator = np.random.default_rng([self.seed, part, self.data_seed])
            return tuple(Example(text) for text in draw(law, generator, count))

        test = sample(3, self.test)
        return Splits(
            train=sample(1, self.train),
            validation=sample(2, self.validation),
            test=test,
            prompts=test,
            law=law,
            mistake=WrongSymbol(law),
            fresh=FreshTexts(law),
        )


_OWN_OPTIONS = {"markov": {"symbols": 8, "successors": 3}, "brackets": {"kinds": 3, "depth": 4}}
