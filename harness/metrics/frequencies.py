"""Frequencies of n-grams over all texts: Zipf's exponent, and the divergence from the human frequencies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.metrics.units import SPLIT, Ngram, Units, UnitsOption, named, ngrams
from harness.plugins.metric import Measure, Unscorable, against, measured
from harness.records.evaluation import Evaluation

ORDERS = (1, 2, 3, 4)


def frequencies(texts: Sequence[str], n: int, units: Units = "words") -> Counter[Ngram]:
    """Count of each n-gram in all texts together.

    Raises:
        Unscorable: no text holds an n-gram.
    """
    counts = Counter(gram for text in texts for gram in ngrams(SPLIT[units](text), n))
    if not counts:
        raise Unscorable(f"{n}-gram frequencies need a text of at least {n} {units}; none of {len(texts)} texts is one")
    return counts


def zipf_exponent(texts: Sequence[str], ranks: int, units: Units = "words") -> float:
    """s of the least-squares line log(frequency) = c - s log(rank) over ranks 1, ..., min(ranks, distinct units).

    Raises:
        Unscorable: the texts hold fewer than two distinct units, and one point has no slope.
    """
    counts = sorted(frequencies(texts, 1, units).values(), reverse=True)[:ranks]
    if len(counts) < 2:
        raise Unscorable(f"Zipf's exponent needs two distinct {units}, and {len(texts)} texts hold {len(counts)}")
    log_rank, log_frequency = np.log(np.arange(1, len(counts) + 1)), np.log(counts)
    log_rank -= log_rank.mean()
    return float(-(log_rank @ log_frequency) / (log_rank @ log_rank))


def ngram_js(texts: Sequence[str], references: Sequence[str], n: int, units: Units = "words") -> float:
    """Jensen-Shannon divergence in nats between the n-gram frequencies of both sides, in [0, ln 2].

    JS = 1/2 sum_g [p log(2 p / (p + q)) + q log(2 q / (p + q))], p and q the relative frequencies of n-gram g.

    Raises:
        Unscorable: one of the sides holds no n-gram.
    """
    p, q = (frequencies(side, n, units) for side in (texts, references))
    n_p, n_q = p.total(), q.total()

    def part(own: float, other: float) -> float:
        return own * math.log(2 * own / (own + other)) if own else 0.0

    # fsum makes the value independent of the order in which the n-grams were met
    total = math.fsum(part(p[g] / n_p, q[g] / n_q) + part(q[g] / n_q, p[g] / n_p) for g in p.keys() | q.keys())
    return min(max(total / 2, 0.0), math.log(2))  # rounding may step over either end


@dataclass(frozen=True)
class Zipf:
    """Zipf's exponent s: least squares of log frequency on log rank over the `ranks` most frequent units.

    All points have equal weight, so the many rare words decide; with fewer than `ranks` distinct units all ranks are
    used.  Human text in words lies near 1; the value changes with the amount of text, hence the number of texts in the
    name.  Compare with the human continuations' value.
    Source: Holtzman et al., arXiv 1904.09751, whose code fits the first 5,000 ranks.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "zipf": Measure("exponent", "reference", "slope of log frequency against log rank, negated"),
        "zipf_reference": Measure("exponent", "reference", "the same of the human continuations"),
    }

    definition: Annotated[
        Literal["least-squares"], Field(description="least-squares: a line through (log rank, log frequency)")
    ] = "least-squares"
    ranks: Annotated[int, Field(ge=2, description="most frequent units that the line is fitted to")] = 5000
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The largest rank, the number of texts, units other than words, and a set of references' size."""
        return {"ranks": self.ranks, "texts": len(evaluation.texts), **named(self.units), **against(evaluation)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Exponents, at least 0; `Unscorable` if a side has fewer than two distinct units."""
        return measured(
            {
                "zipf": partial(zipf_exponent, evaluation.texts, self.ranks, self.units),
                "zipf_reference": partial(zipf_exponent, evaluation.references, self.ranks, self.units),
            }
        )


@dataclass(frozen=True)
class NgramDivergence:
    """Jensen-Shannon divergence in nats between the n-gram frequencies of rollouts and human continuations, n = 1 to 4.

    JS = 1/2 KL(p || m) + 1/2 KL(q || m) with m = (p + q) / 2; p and q are the relative frequencies over all texts of a
    side together.  0 if they are equal, ln 2 = .693 if no n-gram is shared.  A distance between sets that needs no
    model and works on languages of single characters.  The estimate is biased upwards: two samples of one distribution
    are above 0, the more so the fewer texts and the larger n; only sets of one size compare, hence the number of texts
    in the name.  It is blind to what n-grams do not show: order across them, repetition within a text, plagiarism.
    Source: Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991).
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"ngram_js_{n}": Measure("nats", "lower", f"Jensen-Shannon divergence between both sides' {n}-gram frequencies")
        for n in ORDERS
    }

    definition: Annotated[Literal["pooled"], Field(description="pooled: all texts of a side counted together")] = (
        "pooled"
    )
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of texts, units other than words, and a set of references' size."""
        return {"texts": len(evaluation.texts), **named(self.units), **against(evaluation)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Nats in [0, ln 2]; `Unscorable` if a side holds no n-gram."""
        texts, references = evaluation.texts, evaluation.references
        return measured({f"ngram_js_{n}": partial(ngram_js, texts, references, n, self.units) for n in ORDERS})
