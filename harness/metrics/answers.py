"""Exact match with the one right answer: as written, with forced actions, and after a corrupted beginning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.plugins.metric import Measure, ProfileMeasure, Unscorable
from harness.records.data import Example
from harness.records.evaluation import Evaluation, Force
from harness.records.rollout import Rollout
from harness.records.score import Point

PERCENT = (0, 1, 5, 10, 20)
WRONG = (0, 1, 2, 3)


def exact_match(prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> float:
    """Share of rollouts that ended and equal the expert's text to the same prompt.

    Raises:
        Unscorable: there is nothing to compare, or all prompts are empty.
    """
    if not rollouts or len(prompts) != len(rollouts):
        raise Unscorable(
            f"there are {len(rollouts)} rollouts for {len(prompts)} prompts; nothing can be right or wrong"
        )
    if not any(example.prompt for example in prompts):
        raise Unscorable("the prompts are empty, so no text is the right one; score it where prompts are questions")
    right = [
        rollout.stop == "ended" and rollout.text == example.text
        for example, rollout in zip(prompts, rollouts, strict=True)
    ]
    return sum(right) / len(right)


@dataclass(frozen=True)
class ExactMatch:
    """Share of rollouts that equal the reference, character by character, and share of its beginning that is right.

    The reduced text counts, so a mistake that is deleted costs nothing.  A rollout that was cut off before its
    end token is wrong.  `answer_prefix` is the mean over prompts of the length of the longest common beginning of text
    and reference, divided by the reference's length (an empty reference counts as begun rightly).
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact_match": Measure("fraction", "higher", "share of rollouts that ended and equal the reference"),
        "answer_prefix": Measure("fraction", "higher", "mean share of the reference before the first wrong character"),
    }

    definition: Annotated[
        Literal["characters"], Field(description="characters: the texts are compared as they stand, nothing stripped")
    ] = "characters"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of rollouts."""
        return len(evaluation.rollouts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without rollouts, or if all prompts are empty."""
        share = exact_match(evaluation.prompts, evaluation.rollouts)
        begun = [begun_rightly(*pair) for pair in zip(evaluation.texts, evaluation.references, strict=True)]
        return {"exact_match": share, "answer_prefix": math.fsum(begun) / len(begun)}


def begun_rightly(text: str, reference: str) -> float:
    """Share of the reference before the first character in which the text differs or ends.

    >>> begun_rightly("-1213", "-124")
    0.75
    """
    same = takewhile(lambda pair: pair[0] == pair[1], zip(text, reference, strict=False))
    return len(list(same)) / len(reference) if reference else 1.0


@dataclass(frozen=True)
class ForcedMatch:
    """Share of right answers when some of the actions that wrote them were forced on the policy.

    While a text is written, each action is replaced with probability 1, 5, 10 or 20 %; the other actions are drawn as
    without forcing.  Right is what `exact_match` calls right.  A forced end cannot be mended, a forced token can, by a
    policy with `<backspace>`.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"exact_match_forced_{percent}": Measure(
            "fraction", "higher", f"share of right answers, {percent} % of the actions forced"
        )
        for percent in PERCENT[1:]
    }
    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "exact_match_forced": ProfileMeasure(
            "fraction", "higher", "share of right answers by how often actions are forced", "forced actions (fraction)"
        )
    }

    definition: Annotated[
        Literal["uniform", "ground_truth"],
        Field(
            description="replacement of an action: any legal one alike, or a token that the benchmark defines as wrong"
        ),
    ] = "uniform"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of rollouts per rate."""
        return len(evaluation.prompts) if _forces[self.definition](evaluation) else 0

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` as `exact_match`, or if no action can be forced."""
        return {f"exact_match_forced_{percent}": self._share(evaluation, percent) for percent in PERCENT[1:]}

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """The share at rates from 0, where it is `exact_match`, to 0.2."""
        points = [Point(p / 100, self._share(evaluation, p), len(evaluation.prompts)) for p in PERCENT]
        return {"exact_match_forced": points}

    def _share(self, evaluation: Evaluation, percent: int) -> float:
        force = _forces[self.definition](evaluation)
        if force is None:
            raise Unscorable(
                "nothing can be forced here: the texts are already written, or (ground_truth) "
                "this benchmark defines no mistakes"
            )
        return exact_match(evaluation.prompts, force(percent / 100) if percent else evaluation.rollouts)


_forces: Mapping[str, Callable[[Evaluation], Force | None]] = {
    "uniform": lambda evaluation: evaluation.forced,
    "ground_truth": lambda evaluation: evaluation.forced_wrong,
}


@dataclass(frozen=True)
class CorruptedMatch:
    """Share of right answers from a beginning of the right answer into which wrong characters were put.

    The beginning ends at a random place of the reference, then k wrong characters follow; the policy continues freely
    from there.  With k = 0 the right beginning alone helps it.  Right is what `exact_match` calls right: for k > 0 the
    wrong characters must be deleted, so without `<backspace>` the share is 0, however good the policy is.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"exact_match_corrupted_{wrong}": Measure(
            "fraction", "higher", f"share of right answers after a right beginning and {wrong} wrong characters"
        )
        for wrong in WRONG
    }
    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "exact_match_corrupted": ProfileMeasure(
            "fraction", "higher", "share of right answers by wrong characters in the beginning", "wrong tokens"
        )
    }

    definition: Annotated[
        Literal["ground_truth"], Field(description="ground_truth: wrong is what the benchmark says is a mistake")
    ] = "ground_truth"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of rollouts for each number of wrong characters."""
        return 0 if evaluation.corrupted is None else len(evaluation.prompts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` as `exact_match`, without known mistakes, or without room for them."""
        return {f"exact_match_corrupted_{wrong}": _corrupted_share(evaluation, wrong) for wrong in WRONG}

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """The share by the number of wrong characters."""
        points = [Point(wrong, _corrupted_share(evaluation, wrong), len(evaluation.prompts)) for wrong in WRONG]
        return {"exact_match_corrupted": points}


def _corrupted_share(evaluation: Evaluation, wrong: int) -> float:
    if evaluation.corrupted is None:
        raise Unscorable(
            "nothing can be corrupted here: the texts are already written, or this benchmark defines no mistakes"
        )
    return exact_match(evaluation.prompts, evaluation.corrupted(wrong))
