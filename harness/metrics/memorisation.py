"""Share of the rollouts that is copied from the training split, beside the human continuations' share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.metrics.units import SPLIT, Units, UnitsOption, named
from harness.plugins.metric import Measure, Unscorable, against, measured
from harness.records.evaluation import Evaluation

ORDERS = (8, 16)
ABSENT = -1  # a unit or an n-gram that stands in no training text, and each place beyond the end


class Copies:
    """Index of the training texts (a suffix array) for the longest copied span at every place of a text, exactly.

    The training texts are one stream of units, each text closed by a mark of its own so that no span crosses texts.
    Level k numbers the distinct 2^k-grams of the stream in lexicographic order (prefix doubling: Karp, Miller &
    Rosenberg, STOC 1972; Manber & Myers, SODA 1990).  From the level on where all are distinct, a number is a place.
    With N units and a longest repetition of L, building takes O(N log N log L) time and 12 bytes per unit and level.
    """

    def __init__(self, texts: Sequence[str], units: Units) -> None:
        self._split = SPLIT[units]
        self._ids: dict[str, int] = {}
        split = [[self._ids.setdefault(unit, len(self._ids)) for unit in self._split(text)] for text in texts]
        stream = [number for i, found in enumerate(split) for number in (*found, len(self._ids) + i)]
        self._levels = [np.array(stream, np.int32)]
        self._keys: list[np.ndarray] = []  # [k]: distinct pairs of level-k numbers, sorted; their ranks are level k + 1
        distinct = 0
        while distinct < len(stream):
            pairs = _pairs(self._levels[-1], _shifted(self._levels[-1], 1 << len(self._keys)), len(stream))
            keys, ranks = np.unique(pairs, return_inverse=True)
            self._keys.append(keys)
            self._levels.append(ranks.astype(np.int32))
            distinct = len(keys)
        self._suffixes = np.argsort(self._levels[-1])

    def longest(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Length of the longest match in one training text that starts at each unit, for each text, [its units]."""
        split = [self._split(text) for text in texts]
        stream = [number for units in split for number in (*(self._ids.get(unit, ABSENT) for unit in units), ABSENT)]
        found = self._search(np.array(stream, np.int32))
        ends = np.cumsum([len(units) + 1 for units in split], dtype=np.int64)
        return [found[end - 1 - len(units) : end - 1] for units, end in zip(split, ends, strict=True)]

    def _lookup(self, stream: np.ndarray) -> list[np.ndarray]:
        """Numbers of the stream's 2^k-grams, for every level k that has a known one."""
        found = [stream]
        size, last = len(self._suffixes), self._levels[-1]
        while (found[-1] >= 0).any():
            k = len(found) - 1
            now, after = found[-1], _shifted(found[-1], 1 << k)
            if k < len(self._keys):
                pairs = _pairs(now, after, size)
                at = np.minimum(np.searchsorted(self._keys[k], pairs), len(self._keys[k]) - 1)
                known = self._keys[k][at] == pairs
            else:  # each number is one place of the training stream: compare what follows there
                at = now
                place = np.minimum(self._suffixes[now] + (1 << k), size - 1)
                known = last[place] == after
            found.append(np.where(known & (now >= 0) & (after >= 0), at, ABSENT).astype(np.int32))
        return found[:-1]

    def _search(self, stream: np.ndarray) -> np.ndarray:
        """Length of the longest common prefix with any suffix of the training stream, by binary search among them."""
        levels = self._lookup(stream)
        longest = np.zeros(len(stream), np.int64)
        places = np.flatnonzero(stream >= 0)  # an unknown unit begins no copy
        low, high = np.zeros(len(places), np.int64), np.full(len(places), len(self._suffixes))
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(self._suffixes) - 1)
            suffix = self._suffixes[middle]
            common = np.zeros(len(places), np.int64)
            # neither index runs over the end: what agrees holds neither an absent unit nor a mark
            for k in reversed(range(len(levels))):
                level = self._levels[min(k, len(self._levels) - 1)]
                common += (levels[k][places + common] == level[suffix + common]).astype(np.int64) << k
            longest[places] = np.maximum(longest[places], common)
            after = self._levels[0][suffix + common] < stream[places + common]
            open_ = low < high
            low, high = np.where(open_ & after, middle + 1, low), np.where(open_ & ~after, middle, high)
        return longest


def _shifted(level: np.ndarray, by: int) -> np.ndarray:
    """The level shifted by `by` places to the left; ABSENT beyond the end."""
    return np.concatenate([level[by:], np.full(min(by, len(level)), ABSENT, level.dtype)])


def _pairs(now: np.ndarray, after: np.ndarray, size: int) -> np.ndarray:
    """One number per pair, in the order of pairs; ABSENT as `after` comes first.  Numbers are below `size`."""
    pairs: np.ndarray = now.astype(np.int64) * (size + 1) + after + 1
    return pairs


@lru_cache(maxsize=2)
def copies(train: tuple[str, ...], units: Units) -> Copies:
    """The index of training texts, built once for all metrics and runs of a process that share them."""
    return Copies(train, units)


def copied_share(longest: Sequence[np.ndarray], n: int, units: Units = "words") -> float:
    """Share of n-grams, pooled over texts, that stand in a training text; in [0, 1].

    Raises:
        Unscorable: no text holds an n-gram.
    """
    total = sum(max(0, len(found) - n + 1) for found in longest)
    if not total:
        raise Unscorable(f"copied_{n} needs a text of at least {n} {units}, and none of {len(longest)} texts has them")
    return sum(int((found >= n).sum()) for found in longest) / total


def longest_copies(longest: Sequence[np.ndarray], units: Units = "words") -> list[int]:
    """The longest copied span of each text; 0 for an empty one.

    Raises:
        Unscorable: all texts are empty.
    """
    if not any(len(found) for found in longest):
        raise Unscorable(f"a copied span takes {units}, and all of {len(longest)} texts are empty")
    return [int(found.max(initial=0)) for found in longest]


@dataclass(frozen=True)
class Memorisation:
    """Share of n-grams (n = 8, 16) that stand word by word in the training split, and the longest span that does.

    Each number is given for the human continuations too: boilerplate and quotations stand in both, and only what is
    above the human value is the policy's copying.  MAUVE and perplexity on a small corpus can be won by copying, and
    these numbers show it.  A span lies within one training text.  `longest_copy` is the maximum over texts, which
    grows with their number (part of the name), `longest_copy_mean` the mean over texts of each one's longest.  Any
    difference, be it case or a comma, ends a span: copying that is paraphrased is not seen.
    After the n-gram overlap of McCoy et al., arXiv 2111.09509.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"{name}{side}": Measure(unit, "reference", f"{summary}{whose}")
        for name, unit, summary in (
            *((f"copied_{n}", "fraction", f"share of {n}-grams that stand in a training text") for n in ORDERS),
            ("longest_copy", "units", "longest span of any text that stands in a training text"),
            ("longest_copy_mean", "units", "mean over texts of the longest span that stands in a training text"),
        )
        for side, whose in (("", ", of the rollouts"), ("_reference", ", of the human continuations"))
    }

    definition: Annotated[Literal["verbatim"], Field(description="verbatim: equal units in a row, nothing mapped")] = (
        "verbatim"
    )
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of texts, units other than words, and a set of references' size."""
        return {"texts": len(evaluation.texts), **named(self.units), **against(evaluation)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1] and spans in units; `Unscorable` without training texts or with texts too short."""
        if not evaluation.texts:
            raise Unscorable("there are no rollouts that could be copied; sample at least one")
        if not any(map(SPLIT[self.units], evaluation.train)):
            raise Unscorable("the evaluation holds no training texts to copy from; score it with its benchmark")
        index = copies(evaluation.train, self.units)
        both = index.longest([*evaluation.texts, *evaluation.references])
        written = len(evaluation.texts)
        parts: dict[str, Callable[[], float]] = {}
        for side, found in (("", both[:written]), ("_reference", both[written:])):
            parts |= self._side(side, found)
        return measured(parts)

    def _side(self, side: str, longest: Sequence[np.ndarray]) -> dict[str, Callable[[], float]]:
        def share(n: int) -> Callable[[], float]:
            return lambda: copied_share(longest, n, self.units)

        return {f"copied_{n}{side}": share(n) for n in ORDERS} | {
            f"longest_copy{side}": lambda: float(max(longest_copies(longest, self.units))),
            f"longest_copy_mean{side}": lambda: math.fsum(longest_copies(longest, self.units)) / len(longest),
        }
