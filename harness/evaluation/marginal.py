"""The marginal law of finished texts: p(text) summed over all action sequences, computed on a prefix tree.

A policy with `<backspace>` reaches a text by many action sequences, so a finished text's probability is not the product
of the policy's probabilities divided by 1 - pi(back).  With stay(c) the probability that the text c, once written, is
never deleted:

    g(c) = pi(end|c) + sum_c' pi(c'|c) stay(c'),   kept(c) = pi(back|c) + g(c),   stay(c) = g(c) / kept(c),
    p(x) = pi(end|x) * product of pi(c'|c) over the steps to x / product of kept(c) over the states to x.

kept(c) is 1 minus the probability of leaving c for a longer text and coming back, written as a sum of terms that are
not negative, so that nothing cancels.  A text that fills the context is cut off: it stays and never ends.  The budget
of actions does not enter.
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


@dataclass(frozen=True)
class Writer:
    """A policy as a function on texts.

    Attributes:
        chances: M texts as token ids -> [M, V] probabilities of every action there; they sum to 1 over V.
        token: the token id of each character that the policy can write.
        end: id of the end.
        backspace: id of `<backspace>`, None without it.
        longest: number of tokens of the longest text in which the policy still acts; a longer one is cut off.
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


SMALLEST = 1e-9  # the least kept(c) that growth divides by
BATCH = 2000  # states that are expanded at once


@dataclass(frozen=True)
class Bounds:
    """kept(c) and stay(c) of the tree's states, [M] each."""

    kept: np.ndarray
    stay: np.ndarray


class PrefixTree:
    """Prefix tree with the policy's action probabilities at every expanded state; for all others, 0 <= stay <= 1.

    Attributes:
        index: text -> its index below; parents come before children.
        chances: [M, V] probability of every action.
        passes: [M] share of the texts in question that pass through or end in each state; 0 off their paths.
    """

    def __init__(self, writer: Writer, texts: Sequence[Prefix], share: Sequence[float], max_states: int) -> None:
        """Expand every state on the paths to `texts`, whose shares sum to at most 1.

        Raises:
            Unscorable: these are more than `max_states` states, or as `add`.
        """
        passes: dict[Prefix, float] = {(): 0.0}
        for text, part in zip(texts, share, strict=True):
            for i in range(len(text) + 1):
                passes[text[:i]] = passes.get(text[:i], 0.0) + part
        if len(passes) > max_states:
            raise Unscorable(
                f"the texts have {len(passes)} states, more than states={max_states}; raise it, or lower texts"
            )
        self.writer = writer
        self.index: dict[Prefix, int] = {}
        self.passes = np.zeros(0)
        self._depth, self._parent, self._written = (np.zeros(0, np.int64) for _ in range(3))
        paths = sorted(passes, key=len)
        width = writer.chances([()]).shape[1]
        self.chances, self._child = np.zeros((0, width)), np.zeros((0, width), np.int64)  # child -1: not expanded
        self.add(paths)
        self.passes = np.array([passes[path] for path in paths])

    def add(self, prefixes: Sequence[Prefix]) -> None:
        """Expand more states, each after its parent.

        Raises:
            Unscorable: a probability is NaN.
        """
        first = len(self.index)
        chances_there = self.writer.chances(prefixes)
        if np.isnan(chances_there).any():
            raise Unscorable("a probability in a state of the tree of texts is NaN; the training diverged")
        self.index |= {prefix: first + i for i, prefix in enumerate(prefixes)}
        self.chances = np.concatenate([self.chances, chances_there])
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
        """[M] probability of `<backspace>`."""
        at = self.writer.backspace
        return np.zeros(len(self.index)) if at is None else self.chances[:, at]

    @property
    def unknown(self) -> np.ndarray:
        """[M, V] True for possible tokens to a state that is not expanded, where the policy acts and may delete."""
        if self.writer.backspace is None:
            return np.zeros(self.chances.shape, bool)
        open_ = (self._child < 0) & (self.chances > 0) & (self._depth < self.writer.longest)[:, None]
        open_[:, [self.writer.end, self.writer.backspace]] = False
        return open_

    def solve(self, unknown: float) -> Bounds:
        """kept and stay with `unknown` in [0, 1] in place of every stay that is not known; both rise with it."""
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
        """[M, V] share of each unknown child in the mean width of the bounds of log p, nats; -1 for other actions.

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

    def grow(self, max_states: int, tolerance: float = 0.0) -> None:
        """Expand more states, those of the largest gains first.

        Ends when the bounds are at most `tolerance` (nats) wide, when all is known, or with `max_states` states.
        """
        while (left := max_states - len(self.index)) > 0:
            gain = self.gains()
            open_ = gain >= 0
            if gain[open_].sum() <= tolerance:
                return
            count = min(BATCH, left, int(open_.sum()))
            best = np.argpartition(-gain, count - 1, axis=None)[:count]
            texts = list(self.index)
            places, tokens = np.unravel_index(best, gain.shape)
            self.add([(*texts[place], int(token)) for place, token in zip(places, tokens, strict=True)])

    def log_probability(self, text: Prefix | None, kept: np.ndarray) -> float:
        """log p(x) of a text with an expanded path, in nats; -inf for None."""
        if text is None:
            return -math.inf
        at = [self.index[text[:i]] for i in range(len(text) + 1)]
        with np.errstate(divide="ignore"):
            return float((np.log(self.chances[at, (*text, self.writer.end)]) - np.log(kept[at])).sum())

    def leaks(self, law: Law, text: str, path: Prefix | None, stay: np.ndarray) -> bool:
        """True if the policy can leave the path to `text` and finish, or fill the context, outside the law."""
        if path is None:
            return False
        token = {**self.writer.token, "": self.writer.end}
        for i, (_, chances) in enumerate(steps(law, text)):
            at = self.index[path[:i]]
            outside = self.chances[at] > 0
            allowed = [token.get(symbol) for symbol, chance in chances.items() if chance > 0]
            outside[[action for action in (*allowed, self.writer.backspace) if action is not None]] = False
            child = self._child[at]
            if (outside & ((child < 0) | (stay[child] > 0))).any():
                return True
        return False


def enumerated(writer: Writer, law: Law, max_states: int) -> FinishedLaw:
    """The law of finished texts on every text of the language, with no error but rounding.

    Raises:
        Unscorable: the language, or with `<backspace>` the tree of all texts, has more than `max_states` states; or the
            policy finishes no text.
    """
    if writer.backspace is not None:
        width = writer.chances([()]).shape[1] - 2
        states = sum(width**depth for depth in range(writer.longest + 1))
        if states > max_states:
            raise Unscorable(
                f"with <backspace> a policy of {width} tokens acts in {states:.3g} texts of up to {writer.longest}, "
                f"more than states={max_states}; take a smaller language and context, raise states, or use @sampled"
            )
    texts = [text for text, state in _beginnings(law, max_states) if law.next(state).get("", 0.0) > 0]
    chances = np.exp([log_probability(law, text) for text in texts])
    return _finished(writer, law, texts, chances.tolist(), max_states, 0.0)


TOLERANCE = 1e-3  # nats: the mean width of the bounds of a sampled text's log-probability at which growth ends


def sampled(writer: Writer, law: Law, texts: Sequence[str], max_states: int) -> FinishedLaw:
    """The law of finished texts on a sample of the language's texts; with `<backspace>` as bounds.

    The bounds tighten as the tree grows, until `TOLERANCE` or `max_states` states.

    Raises:
        Unscorable: there are no texts, they alone have more than `max_states` states, or the policy finishes no text.
    """
    if not texts:
        raise Unscorable("the test split holds no expert text to look at")
    return _finished(writer, law, texts, [1 / len(texts)] * len(texts), max_states, TOLERANCE)


def _finished(
    writer: Writer, law: Law, texts: Sequence[str], share: Sequence[float], max_states: int, tolerance: float
) -> FinishedLaw:
    paths = [writer.read(text) for text in texts]
    known = [(path, part) for path, part in zip(paths, share, strict=True) if path is not None]
    tree = PrefixTree(writer, [path for path, _ in known], [part for _, part in known], max_states)
    tree.grow(max_states, tolerance)
    least, most = tree.solve(0.0), tree.solve(1.0)
    if not most.kept.all():
        raise Unscorable("the policy deletes for ever what it writes in some state, so that it finishes no text")
    return FinishedLaw(
        share=np.array(share),
        log_law=np.array([log_probability(law, text) for text in texts]),
        low=np.array([tree.log_probability(path, most.kept) for path in paths]),
        high=np.array([tree.log_probability(path, least.kept) for path in paths]),
        leaks=any(tree.leaks(law, text, path, most.stay) for text, path in zip(texts, paths, strict=True)),
        states=len(tree.index),
    )


def _beginnings(law: Law, max_states: int) -> Iterator[tuple[str, Hashable]]:
    """Beginnings of the texts of the language, each with its state.

    Raises:
        Unscorable: there are more than `max_states`.
    """
    todo: list[tuple[str, Hashable]] = [("", law.start)]
    count = 0
    while todo:
        text, state = todo.pop()
        count += 1
        if count > max_states:
            raise Unscorable(
                f"the language has more than states={max_states} beginnings of texts; take a smaller one (a shorter "
                "benchmark.length), raise states, or use @sampled"
            )
        yield text, state
        for symbol, chance in law.next(state).items():
            after = law.advance(state, symbol) if symbol and chance > 0 else None
            if after is not None:
                todo.append((text + symbol, after))
