"""Repetition within single texts: repeated n-grams text by text, and texts that end in a loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.metrics.units import SPLIT, Units, UnitsOption, named, ngrams
from harness.plugins.metric import Measure, Unscorable, against, measured
from harness.records.evaluation import Evaluation

ORDERS = (2, 3, 4)


def seq_rep_n(texts: Sequence[str], n: int, units: Units = "words") -> float:
    """Mean over texts of 1 - (distinct n-grams) / (n-grams), in [0, 1); texts without an n-gram are left out.

    Raises:
        Unscorable: no text holds an n-gram.
    """
    found = [grams for text in texts if (grams := ngrams(SPLIT[units](text), n))]
    if not found:
        raise Unscorable(f"seq_rep_{n} needs a text of at least {n} {units}, and none of {len(texts)} texts has them")
    return math.fsum(1 - len(set(grams)) / len(grams) for grams in found) / len(found)


def ends_in_loop(units: Sequence[str], times: int) -> bool:
    """True if the sequence ends in `times` copies of one span, of any length, without a gap.

    >>> ends_in_loop("xababab", 3), ends_in_loop("xabab", 3), ends_in_loop("aaab", 3)
    (True, False, False)
    """
    # z[p]: number of units for which the reversed sequence agrees with itself shifted by p (Z-function, linear time).
    # The last times * p units have period p exactly when the agreement is at least (times - 1) * p.
    reverse = list(reversed(units))
    n = len(reverse)
    z = [0] * n
    left = right = 0
    for p in range(1, n):
        if p < right:
            z[p] = min(right - p, z[p - left])
        while p + z[p] < n and reverse[z[p]] == reverse[p + z[p]]:
            z[p] += 1
        if p + z[p] > right:
            left, right = p, p + z[p]
        if z[p] >= (times - 1) * p:
            return True
    return False


def loop_rate(texts: Sequence[str], times: int, units: Units = "words") -> float:
    """Share of all texts that end in a loop, in [0, 1].

    Raises:
        Unscorable: no text is long enough to hold one.
    """
    split = [SPLIT[units](text) for text in texts]
    if not any(len(found) >= times for found in split):
        raise Unscorable(f"a loop takes at least {times} {units}, and none of {len(texts)} texts has them")
    return sum(ends_in_loop(found, times) for found in split) / len(split)


@dataclass(frozen=True)
class SequenceRepetition:
    """seq-rep-n: the mean over texts of 1 - |distinct n-grams of the text| / |n-grams of the text|, n = 2, 3, 4.

    Beside it the human continuations' own value: human text repeats a little, so neither more nor less is better.
    It grows with the length of a text.  Unlike `rep_n`, which pools all n-grams, each text counts alike; a text too
    short for an n-gram has no value and is left out.  Welleck et al. count subword tokens, these are whitespace words.
    Source: Welleck et al., arXiv 1908.04319.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        name: measure
        for n in ORDERS
        for name, measure in (
            (f"seq_rep_{n}", Measure("fraction", "reference", f"mean share of a rollout's {n}-grams that repeat")),
            (f"seq_rep_{n}_reference", Measure("fraction", "reference", "the same of the human continuations")),
        )
    }

    definition: Annotated[Literal["per-text"], Field(description="per-text: the mean of the texts' own shares")] = (
        "per-text"
    )
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Units other than words, and a set of references' size."""
        return named(self.units) | against(evaluation)

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1); `Unscorable` if no text is long enough."""
        parts = {}
        for n in ORDERS:
            parts[f"seq_rep_{n}"] = partial(seq_rep_n, evaluation.texts, n, self.units)
            parts[f"seq_rep_{n}_reference"] = partial(seq_rep_n, evaluation.references, n, self.units)
        return measured(parts)


@dataclass(frozen=True)
class RepetitionLoops:
    """Share of texts that end in a loop: their last units are one span, of any length, three or more times in a row.

    A text loops if for some p >= 1 its last `times` * p units have period p.  The units before do not count, nor does a
    loop that the text has left.  `no, no, no` at the end is a loop of span 1, in human texts, too: compare with the
    human continuations' share.  An empty text is a text that does not loop.
    After the repetition measure of Holtzman et al., arXiv 1904.09751.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "repetition_loop_rate": Measure("fraction", "reference", "share of rollouts that end in a loop"),
        "repetition_loop_rate_reference": Measure(
            "fraction", "reference", "share of human continuations that end in a loop"
        ),
    }

    definition: Annotated[Literal["suffix"], Field(description="suffix: only the end of a text counts")] = "suffix"
    times: Annotated[int, Field(ge=2, le=100, description="copies of the span at the end that make a loop")] = 3
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of copies, units other than words, and a set of references' size."""
        return {"times": self.times, **named(self.units), **against(evaluation)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1]; `Unscorable` if no text is long enough to hold a loop."""
        return measured(
            {
                "repetition_loop_rate": partial(loop_rate, evaluation.texts, self.times, self.units),
                "repetition_loop_rate_reference": partial(loop_rate, evaluation.references, self.times, self.units),
            }
        )
