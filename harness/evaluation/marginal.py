"""The law of what a policy finally writes, from its chances in the states of the tree of texts.

A policy with `<backspace>` reaches a text by many ways, so a finished text's probability is not the product of the
policy's chances divided by 1 - pi(back).  With stay(c) the chance that the text c, once written, is never deleted:

    g(c) = pi(end|c) + sum_c' pi(c'|c) stay(c'),   kept(c) = pi(back|c) + g(c),   stay(c) = g(c) / kept(c),
    p(x) = pi(end|x) * product of pi(c'|c) over the steps to x / product of kept(c) over the states to x.

kept(c) is 1 minus the chance to leave c for a longer text and to come back, as a sum of what is not negative, so that
nothing cancels.  A text that fills the context is cut off: it stays and never ends.  No budget of actions enters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.plugins.metric import Unscorable
from harness.records.evaluation import FinishedLaw
from harness.records.law import Law, log_probability, steps

Prefix = tuple[int, ...]
SMALLEST = 1e-9  # of a kept that growth divides by
BATCH = 2000  # states that join a growing tree at once
TOLERANCE = 1e-3  # nats: width of the bounds of a sampled text's log-probability, in the mean, that is narrow enough


@dataclass(frozen=True)
class Writer:
    """A policy as a function on texts.

    Attributes:
        chances: M texts as token ids -> [M, V] chances of every action there; rows sum to 1.
        token: the token id of each character that the policy can write.
        end: id of the end.
        backspace: id of `<backspace>`, None without it.
        longest: tokens of the longest text in which the policy still acts; one more is cut off.
    """

    chances: Callable[[Sequence[Prefix]], np.ndarray]
    token: Mapping[str, int]
    end: int
    backspace: int | None
    longest: int

    def read(self, text: str) -> Prefix | None:
        """Token ids of a text; None where the policy cannot write it."""
        if len(text) > self.longest or any(symbol not in self.token for symbol in text):
            return None
        return tuple(self.token[symbol] for symbol in text)


@dataclass(frozen=True)
class Bounds:
    """kept(c) and stay(c) of the tree's states, [M] each."""

    kept: np.ndarray
    stay: np.ndarray


class Tree:
    """Texts in which the policy was asked what it does; what follows the others is only known to be possible.

    Attributes:
        index: text -> its place below; parents come before children.
        chances: [M, V] of every action.
        passes: [M] share of the texts in question that pass through or end in each state; 0 beside their ways.
    """

    def __init__(self, writer: Writer, texts: Sequence[Prefix], share: Sequence[float], budget: int) -> None:
        """Ask in every state on the way to `texts`, whose shares sum to at most 1.

        Raises:
            Unscorable: these are more than `budget` states, or as `add`.
        """
        passes: dict[Prefix, float] = {(): 0.0}
        for text, part in zip(texts, share, strict=True):
            for i in range(len(text) + 1):
                passes[text[:i]] = passes.get(text[:i], 0.0) + part
        if len(passes) > budget:
            raise Unscorable(
                f"the texts have {len(passes)} states, more than states={budget}; raise it, or lower texts"
            )
        self.writer = writer
        self.index: dict[Prefix, int] = {}
        self.passes = np.zeros(0)
        self._depth, self._parent, self._written = (np.zeros(0, np.int64) for _ in range(3))
        ways = sorted(passes, key=len)
        width = writer.chances([()]).shape[1]
        self.chances, self._child = np.zeros((0, width)), np.zeros((0, width), np.int64)  # child -1: not asked
        self.add(ways)
        self.passes = np.array([passes[way] for way in ways])

    def add(self, prefixes: Sequence[Prefix]) -> None:
        """Ask in more states, each behind its parent.

        Raises:
            Unscorable: a chance is NaN.
        """
        first = len(self.index)
        asked = self.writer.chances(prefixes)
        if np.isnan(asked).any():
            raise Unscorable("a probability in a state of the tree of texts is NaN; the training diverged")
        self.index |= {prefix: first + i for i, prefix in enumerate(prefixes)}
        self.chances = np.concatenate([self.chances, asked])
        self._child = np.concatenate([self._child, np.full((len(prefixes), self.chances.shape[1]), -1)])
        parent = np.array([self.index[prefix[:-1]] if prefix else 0 for prefix in prefixes])
        written = np.array([prefix[-1] if prefix else 0 for prefix in prefixes])
        depth = np.array([len(prefix) for prefix in prefixes])
        inner = depth > 0
        self._child[parent[inner], written[inner]] = first + np.flatnonzero(inner)
        self._parent, self._written = np.append(self._parent, parent), np.append(self._written, written)
        self._depth = np.append(self._depth, depth)
        self.passes = np.append(self.passes, np.zeros(len(prefixes)))

    @property
    def back(self) -> np.ndarray:
        """[M] chance of `<backspace>`."""
        at = self.writer.backspace
        return np.zeros(len(self.index)) if at is None else self.chances[:, at]

    @property
    def unknown(self) -> np.ndarray:
        """[M, V] the possible tokens after which the policy would still act, might delete, and was not asked."""
        if self.writer.backspace is None:
            return np.zeros(self.chances.shape, bool)
        open_ = (self._child < 0) & (self.chances > 0) & (self._depth < self.writer.longest)[:, None]
        open_[:, [self.writer.end, self.writer.backspace]] = False
        return open_

    def solve(self, unknown: float) -> Bounds:
        """kept and stay where `unknown` in [0, 1] stands for every stay that is not known; both rise with it."""
        back, end = self.back, self.chances[:, self.writer.end]
        follows = self.chances.copy()
        follows[:, [a for a in (self.writer.end, self.writer.backspace) if a is not None]] = 0.0
        stays = np.where(self.unknown, unknown, 1.0)  # also of texts that are cut off
        kept, stay = np.zeros(len(back)), np.zeros(len(back))
        for depth in range(int(self._depth.max()), -1, -1):
            at = np.flatnonzero(self._depth == depth)
            child = self._child[at]
            goes = end[at] + (follows[at] * np.where(child >= 0, stay[child], stays[at])).sum(1)
            kept[at] = back[at] + goes
            stay[at] = np.divide(goes, kept[at], out=np.zeros(len(at)), where=kept[at] > 0)
        return Bounds(kept, stay)

    def gains(self) -> np.ndarray:
        """[M, V] by how much the mean width of the bounds of log p depends on each unknown child, nats; -1 elsewhere.

        Slopes between the bounds, low to high: log kept(c) moves with g(c) by log(high / low) / (high - low), stay(c)
        by pi(back|c) / (high low).  So the mean width of log p is the sum over unknown children of D(c) pi(child|c),
        D(c) = passes(c) * the first + D(parent) pi(c|parent) * the second.
        """
        # a truncated policy may neither end nor delete: low is 0 and the slope infinite until more is known
        low, high = (np.maximum(self.solve(x).kept, SMALLEST) for x in (0.0, 1.0))
        slope = np.divide(np.log(high / low), high - low, out=1 / high, where=high > low)
        comes_back = self.back / (high * low)
        depends = self.passes * slope
        for depth in range(1, int(self._depth.max()) + 1):
            at = np.flatnonzero(self._depth == depth)
            over, written = self._parent[at], self._written[at]
            depends[at] += depends[over] * self.chances[over, written] * comes_back[at]
            depends[at] = np.minimum(depends[at], 1 / SMALLEST)
        return np.where(self.unknown, depends[:, None] * self.chances, -1.0)

    def grow(self, budget: int, tolerance: float = 0.0) -> None:
        """Ask in more states, those of the largest gains first.

        Ends when the bounds are at most `tolerance` (nats) wide, when all is known, or with `budget` states.
        """
        while (room := budget - len(self.index)) > 0:
            gain = self.gains()
            open_ = gain >= 0
            if gain[open_].sum() <= tolerance:
                return
            count = min(BATCH, room, int(open_.sum()))
            best = np.argpartition(-gain, count - 1, axis=None)[:count]
            texts = list(self.index)
            places, tokens = np.unravel_index(best, gain.shape)
            self.add([(*texts[place], int(token)) for place, token in zip(places, tokens, strict=True)])

    def log_probability(self, text: Prefix | None, kept: np.ndarray) -> float:
        """log p(x) of a text on whose way the policy was asked, in nats; -inf for None."""
        if text is None:
            return -math.inf
        at = [self.index[text[:i]] for i in range(len(text) + 1)]
        with np.errstate(divide="ignore"):
            return float((np.log(self.chances[at, (*text, self.writer.end)]) - np.log(kept[at])).sum())

    def leaks(self, law: Law, text: str, way: Prefix | None, stay: np.ndarray) -> bool:
        """Whether the policy may, beside the way to `text`, finish or fill the context with what the law excludes."""
        if way is None:
            return False
        token = {**self.writer.token, "": self.writer.end}
        for i, (_, chances) in enumerate(steps(law, text)):
            at = self.index[way[:i]]
            outside = self.chances[at] > 0
            allowed = [token.get(symbol) for symbol, chance in chances.items() if chance > 0]
            outside[[action for action in (*allowed, self.writer.backspace) if action is not None]] = False
            child = self._child[at]
            if (outside & ((child < 0) | (stay[child] > 0))).any():
                return True
        return False


def enumerated(writer: Writer, law: Law, budget: int) -> FinishedLaw:
    """The finished law on every text of the language, with no error but rounding.

    Raises:
        Unscorable: the language, or with `<backspace>` the tree of all texts, has more than `budget` states; or the
            policy finishes no text.
    """
    if writer.backspace is not None:
        width = writer.chances([()]).shape[1] - 2
        states = sum(width**depth for depth in range(writer.longest + 1))
        if states > budget:
            raise Unscorable(
                f"with <backspace> a policy of {width} tokens acts in {states:.3g} texts of up to {writer.longest}, "
                f"more than states={budget}; take a smaller language and context, raise states, or use @sampled"
            )
    texts = [text for text, state in _beginnings(law, budget) if law.next(state).get("", 0.0) > 0]
    chances = np.exp([log_probability(law, text) for text in texts])
    return _finished(writer, law, texts, chances.tolist(), budget, 0.0)


def sampled(writer: Writer, law: Law, texts: Sequence[str], budget: int) -> FinishedLaw:
    """The finished law on a sample of the language's texts; with `<backspace>` as bounds.

    The bounds tighten as the tree grows, until `TOLERANCE` or `budget` states.

    Raises:
        Unscorable: there are no texts, they alone have more than `budget` states, or the policy finishes no text.
    """
    if not texts:
        raise Unscorable("the test split holds no expert text to look at")
    return _finished(writer, law, texts, [1 / len(texts)] * len(texts), budget, TOLERANCE)


def _finished(
    writer: Writer, law: Law, texts: Sequence[str], share: Sequence[float], budget: int, tolerance: float
) -> FinishedLaw:
    ways = [writer.read(text) for text in texts]
    known = [(way, part) for way, part in zip(ways, share, strict=True) if way is not None]
    tree = Tree(writer, [way for way, _ in known], [part for _, part in known], budget)
    tree.grow(budget, tolerance)
    least, most = tree.solve(0.0), tree.solve(1.0)
    if not most.kept.all():
        raise Unscorable("the policy deletes for ever what it writes in some state, so that it finishes no text")
    return FinishedLaw(
        share=np.array(share),
        log_law=np.array([log_probability(law, text) for text in texts]),
        low=np.array([tree.log_probability(way, most.kept) for way in ways]),
        high=np.array([tree.log_probability(way, least.kept) for way in ways]),
        leaks=any(tree.leaks(law, text, way, most.stay) for text, way in zip(texts, ways, strict=True)),
        states=len(tree.index),
    )


def _beginnings(law: Law, budget: int) -> Iterator[tuple[str, Hashable]]:
    """Every beginning of a text of the language, with its state; at most `budget`."""
    todo: list[tuple[str, Hashable]] = [("", law.start)]
    count = 0
    while todo:
        text, state = todo.pop()
        count += 1
        if count > budget:
            raise Unscorable(
                f"the language has more than states={budget} beginnings of texts; take a smaller one (a shorter "
                "benchmark.length), raise states, or use @sampled"
            )
        yield text, state
        for symbol, chance in law.next(state).items():
            after = law.advance(state, symbol) if symbol and chance > 0 else None
            if after is not None:
                todo.append((text + symbol, after))
