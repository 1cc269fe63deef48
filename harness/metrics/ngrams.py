"""Repetition and variety of the texts: n-grams of words or characters, counted within texts and over all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from harness.metrics.units import SPLIT, Ngram, Units, UnitsOption, named, ngrams
from harness.plugins.metric import Measure, Unscorable, against, measured
from harness.records.evaluation import Evaluation

Counting: TypeAlias = Literal["exact", "simctg"]
REPEATED = (2, 3, 4)  # the orders that rep-n is reported for and that diversity multiplies
DISTINCT = (1, 2, 3, 4)


def rep_n(texts: Sequence[str], n: int, definition: Counting = "exact", units: Units = "words") -> float:
    """Share of n-grams that repeat an earlier one of the same text, pooled over texts; in [0, 1).

    `exact` is 1 - (sum of distinct n-grams per text) / (sum of n-grams per text).  `simctg` is what the code of
    contrastive search (Su et al., arXiv 2202.06417) computes and its papers report: each text's last n-gram is left
    out, and the share is rounded to two decimals of a percent.

    Raises:
        Unscorable: no text is long enough to hold an n-gram.
    """
    total = distinct = 0
    for text in texts:
        found = ngrams(SPLIT[units](text), n)
        if definition == "simctg":
            found = found[:-1]
        total += len(found)
        distinct += len(set(found))
    if not total:
        least = n + 1 if definition == "simctg" else n
        raise Unscorable(
            f"rep_{n} needs a text of at least {least} {units}, and none of {len(texts)} texts is that long"
        )
    share = 1 - distinct / total
    return round(100 * share, 2) / 100 if definition == "simctg" else share


def diversity(texts: Sequence[str], definition: Counting = "exact", units: Units = "words") -> float:
    """The product of 1 - rep_n over n = 2, 3, 4 (Su et al., arXiv 2202.06417), a fraction in [0, 1].

    Raises:
        Unscorable: no text holds a 4-gram.
    """
    return math.prod(1 - rep_n(texts, n, definition, units) for n in REPEATED)


def distinct_n(texts: Sequence[str], n: int, units: Units = "words") -> float:
    """Distinct n-grams of all texts together over their number (Li et al., arXiv 1510.03055), in (0, 1].

    It falls as the corpus grows, so only corpora of one size compare.

    Raises:
        Unscorable: no text is long enough to hold an n-gram.
    """
    counts = Counter(gram for text in texts for gram in ngrams(SPLIT[units](text), n))
    if not counts:
        raise Unscorable(f"distinct_{n} needs a text of at least {n} {units}, and none of {len(texts)} texts has them")
    return len(counts) / counts.total()


def ngram_entropy(texts: Sequence[str], n: int, units: Units = "words") -> float:
    """Mean over texts of the entropy of each text's own n-gram frequencies, in nats (plug-in estimate).

    A text without an n-gram enters as 0, the value of a text with one n-gram: leaving it out would hide it.

    Raises:
        Unscorable: no text is long enough to hold an n-gram.
    """
    counts = [Counter(ngrams(SPLIT[units](text), n)) for text in texts]
    if not any(counts):
        raise Unscorable(
            f"n-gram entropy needs a text of at least n={n} {units}, and none of {len(texts)} texts has them"
        )
    return math.fsum(_entropy(count) for count in counts) / len(counts)


def ngram_entropy_corpus(texts: Sequence[str], n: int, units: Units = "words") -> float:
    """Entropy of the n-gram frequencies of all texts together, in nats (plug-in estimate, grows with the corpus).

    Raises:
        Unscorable: no text is long enough to hold an n-gram.
    """
    counts = Counter(gram for text in texts for gram in ngrams(SPLIT[units](text), n))
    if not counts:
        raise Unscorable(
            f"n-gram entropy needs a text of at least n={n} {units}, and none of {len(texts)} texts has them"
        )
    return _entropy(counts)


def _entropy(counts: Counter[Ngram]) -> float:
    """Entropy of counts, nats.  `fsum` makes the value independent of the order in which the n-grams were met."""
    total = counts.total()
    return math.fsum(-count / total * math.log(count / total) for count in counts.values())


def _require(texts: Sequence[str]) -> None:
    if not texts:
        raise Unscorable("there are no texts to count words in; sample at least one")


_Counting = Annotated[
    Counting,
    Field(description="exact: pooled, unrounded; simctg: as published with contrastive search, its quirks included"),
]


@dataclass(frozen=True)
class Repetition:
    """Share of 2-, 3- and 4-grams that repeat within their text, pooled over texts.

    Human text repeats a little, so neither more nor less is better: compare with the references.
    Source: rep-n of Su et al., arXiv 2202.06417.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"rep_{n}": Measure("fraction", "reference", f"share of {n}-grams that repeat an earlier one of the same text")
        for n in REPEATED
    }

    definition: _Counting = "exact"
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Units other than words: texts of any number compare, since repetition is counted within each."""
        return named(self.units)

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1); `Unscorable` if no text is long enough."""
        _require(evaluation.texts)
        return measured(
            {f"rep_{n}": partial(rep_n, evaluation.texts, n, self.definition, self.units) for n in REPEATED}
        )


@dataclass(frozen=True)
class Diversity:
    """Product of 1 - rep_n over n = 2, 3, 4, and its distance from the human continuations' value.

    More diversity is not better: noise is the most diverse text of all.  Rank by `diversity_gap`.
    Source: Su et al., arXiv 2202.06417.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "diversity": Measure("fraction", "reference", "product of 1 - rep_n over n = 2, 3, 4"),
        "diversity_gap": Measure("fraction", "lower", "absolute difference from the human continuations' diversity"),
    }

    definition: _Counting = "exact"
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Units other than words, and the number of references that are not the texts' own."""
        return named(self.units) | against(evaluation)

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1]; `Unscorable` if no rollout, or for the gap no reference, holds a 4-gram."""
        _require(evaluation.texts)
        value = diversity(evaluation.texts, self.definition, self.units)
        try:
            human = diversity(evaluation.references, self.definition, self.units)
        except Unscorable as error:
            why = Unscorable(f"the human continuations have no diversity to compare with: {error}")
            return {"diversity": value, "diversity_gap": why}
        return {"diversity": value, "diversity_gap": abs(value - human)}


@dataclass(frozen=True)
class Distinct:
    """Distinct n-grams over all n-grams of the corpus, n = 1 to 4.

    The value falls with the size of the corpus, so the number of texts is part of its name.
    Source: Li et al., arXiv 1510.03055.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"distinct_{n}": Measure("fraction", "reference", f"distinct {n}-grams over all {n}-grams of the corpus")
        for n in DISTINCT
    }

    definition: Annotated[Literal["corpus"], Field(description="corpus: all texts counted together")] = "corpus"
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of texts."""
        return {"texts": len(evaluation.texts), **named(self.units)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in (0, 1]; `Unscorable` if no text is long enough."""
        _require(evaluation.texts)
        return measured({f"distinct_{n}": partial(distinct_n, evaluation.texts, n, self.units) for n in DISTINCT})


@dataclass(frozen=True)
class NgramEntropy:
    """Entropy of n-gram frequencies, within each text and over the whole corpus.

    Both grow with the amount of text: compare texts of one length, corpora of one size.  The number of texts is part
    of the name.  Shannon's plug-in estimate with natural logarithms.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "ngram_entropy": Measure("nats", "reference", "mean over texts of the entropy of each text's n-grams"),
        "ngram_entropy_corpus": Measure("nats", "reference", "entropy of the n-grams of all texts together"),
    }

    definition: Annotated[Literal["plug-in"], Field(description="plug-in: relative frequencies, uncorrected")] = (
        "plug-in"
    )
    n: Annotated[int, Field(ge=1, le=16, description="words (or characters) in an n-gram")] = 1
    units: UnitsOption = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The order n and the number of texts."""
        return {"n": self.n, "texts": len(evaluation.texts), **named(self.units)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Nats, at least 0; `Unscorable` if no text is long enough."""
        _require(evaluation.texts)
        return {
            "ngram_entropy": ngram_entropy(evaluation.texts, self.n, self.units),
            "ngram_entropy_corpus": ngram_entropy_corpus(evaluation.texts, self.n, self.units),
        }
