"""`Law`, a language whose distribution is known exactly, and the probability of a text under it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Protocol


class Law(Protocol):
    """A language whose distribution is known exactly, as an automaton over single characters.

    The empty string stands for the end of a text.
    """

    @property
    def alphabet(self) -> str:
        """Every character that a text may hold."""

    @property
    def start(self) -> Hashable:
        """The state before the first character."""

    def next(self, state: Hashable) -> Mapping[str, float]:
        """Symbols that may follow, with probabilities that sum to 1; key `""` is the end."""

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        """The state after `symbol`, or None when no text of the language can go on from there."""


def steps(law: Law, text: str) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Each character of a text, then its end (`""`), with the law before it; the law is empty outside the language."""
    state: Hashable | None = law.start
    for symbol in (*text, ""):
        yield symbol, {} if state is None else law.next(state)
        state = law.advance(state, symbol) if symbol and state is not None else None


def log_probability(law: Law, text: str) -> float:
    """Exact log-probability of a whole text, its end included, in nats; -inf outside the language."""
    total = 0.0
    for symbol, chances in steps(law, text):
        chance = chances.get(symbol, 0.0)
        if chance <= 0:
            return -math.inf
        total += math.log(chance)
    return total
