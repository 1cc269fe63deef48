"""Lengths of the texts in words, beside the human continuations': to be read with every score of whole texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.plugins.metric import Measure, ProfileMeasure, Unscorable, against
from harness.records.evaluation import Evaluation
from harness.records.score import Point

QUANTILES = tuple(step / 10 for step in range(11))


def word_counts(texts: Sequence[str]) -> np.ndarray:
    """Whitespace words of each text, [n], in rising order; an empty text has 0.

    Raises:
        Unscorable: there is no text.
    """
    if not texts:
        raise Unscorable("there are no texts to count words in; sample at least one")
    return np.sort([len(text.split()) for text in texts])


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of sorted counts (Wasserstein-1); sides of unequal size are compared by quantile."""
    shares = np.unique(np.concatenate([np.arange(1, len(side) + 1) / len(side) for side in (one, other)]))
    middles = shares - np.diff(shares, prepend=0) / 2
    at = [side[np.ceil(middles * len(side)).astype(int) - 1] for side in (one, other)]
    return float(np.abs(at[0] - at[1]) @ np.diff(shares, prepend=0))


@dataclass(frozen=True)
class Length:
    """Whitespace words of the rollouts and of the human continuations: means, whole distributions, unfinished texts.

    `length_distance` is the first Wasserstein distance between the two distributions; there are as many texts on both
    sides, so it is the mean absolute difference of the sorted lengths, sum_i |a_(i) - b_(i)| / n.  It shows what equal
    means hide: half of the texts empty and half twice as long.  `unfinished` is the share of rollouts that were cut
    off; their length is the budget's choice, not the policy's.  The distributions themselves are kept as curves of
    quantiles.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "length": Measure("words", "reference", "mean whitespace words of a rollout's text"),
        "length_reference": Measure("words", "reference", "mean whitespace words of a human continuation"),
        "length_gap": Measure("words", "lower", "absolute difference between those two means"),
        "length_distance": Measure("words", "lower", "mean absolute difference of the sorted lengths of both sides"),
        "unfinished": Measure("fraction", "lower", "share of rollouts cut off by the context or the action budget"),
    }
    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "length_quantiles": ProfileMeasure("words", "reference", "quantiles of rollouts' lengths", "share of texts"),
        "length_quantiles_reference": ProfileMeasure(
            "words", "reference", "quantiles of human lengths", "share of texts"
        ),
    }

    definition: Annotated[Literal["words"], Field(description="words: separated by whitespace")] = "words"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The number of references that are not the texts' own."""
        return against(evaluation)

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Words, at least 0, and a fraction; `Unscorable` without texts.

        Without human texts, or without a record of what was cut off, the measures that need them have no value.
        """
        written = word_counts(evaluation.texts)
        found: dict[str, float | Unscorable] = dict.fromkeys(
            self.measures, Unscorable("there are no human texts to count words in; give references")
        )
        if evaluation.references:
            human = word_counts(evaluation.references)
            found |= {
                "length_reference": float(human.mean()),
                "length_gap": float(abs(written.mean() - human.mean())),
                "length_distance": _distance(written, human),
            }
        unfinished: float | Unscorable = Unscorable("there is no record of which of these texts were cut off")
        if evaluation.written is None:
            unfinished = sum(rollout.stop != "ended" for rollout in evaluation.rollouts) / len(written)
        return found | {"length": float(written.mean()), "unfinished": unfinished}

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """Eleven quantiles of each side, interpolated linearly; `Unscorable` without rollouts."""
        sides = (word_counts(evaluation.texts), word_counts(evaluation.references))
        return {
            name: [
                Point(q, float(value), len(lengths))
                for q, value in zip(QUANTILES, np.quantile(lengths, QUANTILES), strict=True)
            ]
            for name, lengths in zip(self.profile_measures, sides, strict=True)
        }
