"""BLEU of each rollout against all human texts and against all other rollouts, equal to NLTK's, in linear time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from harness.metrics.units import SPLIT, Ngram, ngrams
from harness.plugins.metric import Measure, Unscorable, against, measured
from harness.records.evaluation import Evaluation

Tokenizer: TypeAlias = Literal["nltk", "whitespace", "characters"]
Tokens: TypeAlias = Sequence[str]
Matches: TypeAlias = tuple[list[int], list[int]]
"""For each text, the number of its n-grams that are matched (clipped), and the number of its n-grams."""

ORDERS = (2, 3, 4, 5)
EPSILON = 0.1  # matches that NLTK's method1 counts if nothing matches


@cache
def _nltk() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer  # importing nltk takes longer than most scores

    tokenize: Callable[[str], list[str]] = NLTKWordTokenizer().tokenize
    return tokenize


@lru_cache(maxsize=2**12)
def _words(text: str) -> Tokens:
    return tuple(_nltk()(text))  # some 0.3 ms a sentence, and both metrics ask for the same texts


TOKENIZE: Mapping[Tokenizer, Callable[[str], Tokens]] = {
    "nltk": _words,
    "whitespace": SPLIT["words"],
    "characters": SPLIT["characters"],
}


def bleu(texts: Sequence[Tokens], references: Sequence[Tokens]) -> dict[int, float]:
    """Mean over texts of sentence BLEU-n against all references, for n = 2, ..., 5; in [0, 1].

    Raises:
        Unscorable: there are no texts, or no references.
    """
    if not texts or not references:
        raise Unscorable(f"BLEU compares texts with references: got {len(texts)} and {len(references)}, wants both")
    lengths = Counter(map(len, references))
    return _bleu(
        [len(text) for text in texts],
        _closest([len(text) for text in texts], lengths, own=0),
        [_matches(texts, references, n) for n in range(1, ORDERS[-1] + 1)],
    )


def self_bleu(texts: Sequence[Tokens]) -> dict[int, float]:
    """Mean over texts of sentence BLEU-n against all other texts, for n = 2, ..., 5; in [0, 1].

    Raises:
        Unscorable: there are fewer than two texts.
    """
    if len(texts) < 2:
        raise Unscorable(f"Self-BLEU compares each text with all others: got {len(texts)}, wants at least 2")
    lengths = Counter(map(len, texts))
    return _bleu(
        [len(text) for text in texts],
        _closest([len(text) for text in texts], lengths, own=1),
        [_self_matches(texts, n) for n in range(1, ORDERS[-1] + 1)],
    )


def _matches(texts: Sequence[Tokens], references: Sequence[Tokens], n: int) -> Matches:
    """Clipped matches: an n-gram counts at most as often as in the one reference that has it most often."""
    most: dict[Ngram, int] = {}
    for reference in references:
        for gram, count in Counter(ngrams(reference, n)).items():
            most[gram] = max(count, most.get(gram, 0))
    counts = [Counter(ngrams(text, n)) for text in texts]
    matched = [sum(min(count, most.get(gram, 0)) for gram, count in own.items()) for own in counts]
    return matched, [own.total() for own in counts]


def _self_matches(texts: Sequence[Tokens], n: int) -> Matches:
    """Clipped matches with all other texts as references.

    For each n-gram the two largest counts in one text are kept, and the text of the largest: without that text, the
    second is the largest.
    """
    counts = [Counter(ngrams(text, n)) for text in texts]
    top: dict[Ngram, tuple[int, int, int]] = {}  # largest, its owner, second largest
    for i, own in enumerate(counts):
        for gram, count in own.items():
            first, owner, second = top.get(gram, (0, i, 0))
            top[gram] = (count, i, first) if count > first else (first, owner, max(count, second))
    matched = []
    for i, own in enumerate(counts):
        total = 0
        for gram, count in own.items():
            first, owner, second = top[gram]
            total += min(count, second if owner == i else first)
        matched.append(total)
    return matched, [own.total() for own in counts]


def _closest(texts: Sequence[int], references: Counter[int], own: int) -> list[int]:
    """Reference length closest to each text's, the shorter one of two; `own` references are the text itself."""
    known = sorted(references)
    closest = {}
    for length in set(texts):
        at = bisect_left(known, length)
        near = [n for n in known[max(0, at - 1) : at + 2] if n != length or references[n] > own]
        closest[length] = min(near, key=lambda n: (abs(n - length), n))
    return [closest[length] for length in texts]


def _bleu(texts: Sequence[int], closest: Sequence[int], matches: Sequence[Matches]) -> dict[int, float]:
    """Means of BLEU-2, ..., BLEU-5 from the lengths of texts and of their closest references."""
    found: dict[int, list[float]] = {n: [] for n in ORDERS}
    for i, (length, reference) in enumerate(zip(texts, closest, strict=True)):
        if not length or not matches[0][0][i]:  # no word in common
            for n in ORDERS:
                found[n].append(0.0)
            continue
        penalty = 1.0 if length > reference else math.exp(1 - reference / length)
        # a text too short for an n-gram has EPSILON of 1 matched, as in NLTK
        logs = [math.log((matched[i] or EPSILON) / max(1, total[i])) for matched, total in matches]
        for n in ORDERS:
            found[n].append(penalty * math.exp(math.fsum(log / n for log in logs[:n])))
    return {n: math.fsum(values) / len(values) for n, values in found.items()}


_TokenizerOption = Annotated[
    Tokenizer,
    Field(description="nltk: NLTK's word tokenizer, the text as one sentence; whitespace; characters: each of them"),
]


def _measures(name: str, against: str) -> dict[str, Measure]:
    return {
        key: measure
        for n in ORDERS
        for key, measure in (
            (f"{name}_{n}", Measure("fraction", "reference", f"mean BLEU-{n} of each rollout against {against}")),
            (
                f"{name}_{n}_reference",
                Measure("fraction", "reference", f"mean BLEU-{n} of each human text against all other human texts"),
            ),
        )
    }


def _scores(
    name: str,
    tokenizer: Tokenizer,
    evaluation: Evaluation,
    own: Callable[[list[Tokens], list[Tokens]], dict[int, float]],
) -> dict[str, float | Unscorable]:
    """`own` of (rollouts, human texts), and the human texts' own Self-BLEU; either side may lack a value."""
    tokenize = TOKENIZE[tokenizer]
    written, human = ([tokenize(text) for text in side] for side in (evaluation.texts, evaluation.references))

    def scores(texts: Sequence[Tokens], compute: Callable[[], dict[int, float]]) -> dict[int, float]:
        if texts and not any(texts):  # NLTK's 0 of an empty text means something beside other texts only
            raise Unscorable(f"all of {len(texts)} texts are empty: there is no word to compare")
        return compute()

    sides = {
        "": cache(lambda: scores(written, lambda: own(written, human))),
        "_reference": cache(lambda: scores(human, lambda: self_bleu(human))),
    }

    def part(side: str, n: int) -> Callable[[], float]:
        return lambda: sides[side]()[n]

    return measured({f"{name}_{n}{side}": part(side, n) for side in sides for n in ORDERS})


@dataclass(frozen=True)
class SelfBleu:
    """Self-BLEU-n: the mean over rollouts of sentence BLEU-n with all other rollouts as references, n = 2 to 5.

    BLEU-n = b exp(1/n sum_{k=1..n} log p_k), b = min(1, exp(1 - r / c)): c is the text's length, r the closest length
    of a reference (of two the shorter), p_k the share of the text's k-grams that references hold, each counted at most
    as often as in the one reference that holds it most often.  Where no k-gram matches, .1 is counted (NLTK's
    method1); a text without a common word, or without a word, scores 0.  Computed exactly; equal to NLTK's.

    High values mean that the texts resemble each other.  Noise scores lowest, so less is not better: compare with the
    human continuations' value.  It rises with the number of texts, which is part of the name; empty texts lower it.
    NLTK's sentence splitter needs downloaded data, so a text is tokenized as one sentence: only its last full stop is a
    token of its own.
    Source: Zhu et al., Texygen, arXiv 1802.01886; NLTK's sentence_bleu.
    """

    measures: ClassVar[Mapping[str, Measure]] = _measures("self_bleu", "all other rollouts")

    definition: Annotated[Literal["exact"], Field(description="exact: every text, every other text a reference")] = (
        "exact"
    )
    tokenizer: _TokenizerOption = "nltk"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of texts, the number of references that are not paired with them, and the tokenizer."""
        return {"texts": len(evaluation.texts), "tokenizer": self.tokenizer, **against(evaluation)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1]; `Unscorable` with fewer than two texts, or if all are empty."""
        return _scores("self_bleu", self.tokenizer, evaluation, lambda written, human: self_bleu(written))


@dataclass(frozen=True)
class Bleu:
    """BLEU-n of the rollouts against all human continuations: the mean over rollouts of sentence BLEU-n, n = 2 to 5.

    Every human text of the evaluation is a reference of every rollout, so this asks whether the rollouts' n-grams are
    human, not whether they answer their prompts.  The formula is `self_bleu`'s.  One perfect sentence written again and
    again scores 1: read it with `self_bleu`.  A human text against all other human texts is the value to compare with.
    It rises with the number of references, which is part of the name.
    Source: Papineni et al., ACL 2002; for sets of texts, Zhu et al., Texygen, arXiv 1802.01886; NLTK's sentence_bleu.
    """

    measures: ClassVar[Mapping[str, Measure]] = _measures("bleu", "all human continuations")

    definition: Annotated[Literal["exact"], Field(description="exact: every text, every human text a reference")] = (
        "exact"
    )
    tokenizer: _TokenizerOption = "nltk"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of references (as `texts` if they are paired), and the tokenizer."""
        return (against(evaluation) or {"texts": len(evaluation.references)}) | {"tokenizer": self.tokenizer}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Fractions in [0, 1]; `Unscorable` without rollouts or references, or if all are empty."""
        return _scores("bleu", self.tokenizer, evaluation, bleu)
