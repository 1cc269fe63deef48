"""Recovery from mistakes: random actions forced on the writing policy, wrong tokens put into expert texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.metrics.law import all_forbidden, forbidden_shares, known_law
from harness.plugins.metric import Measure, ProfileMeasure, Unscorable
from harness.records.evaluation import Evaluation
from harness.records.score import Point


@dataclass(frozen=True)
class Recovery:
    """Share of finished texts that leave a known language when some of the actions that wrote them were random.

    While a text is written, each action is replaced with probability 5 % or 20 % by one drawn uniformly from the
    legal actions: tokens, the end, and `<backspace>` if there is something to delete.  The reduced text counts, as for
    `out_of_support`, so a mistake that is deleted costs nothing; a forced end cannot be mended.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"{name}_forced_{percent}": Measure("fraction", "lower", f"{what}, {percent} % of actions random")
        for percent in (5, 20)
        for name, what in (
            ("out_of_support", "share of characters and ends that the law gives probability 0"),
            ("bad_texts", "share of texts with at least one such action"),
        )
    }

    definition: Annotated[Literal["uniform"], Field(description="uniform: a forced action is any legal one alike")] = (
        "uniform"
    )

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts per rate."""
        return len(evaluation.prompts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without a law or a policy to sample from, or if nothing is written."""
        law = known_law(evaluation)
        if evaluation.forced is None:
            raise Unscorable("errors are forced while the policy writes; texts that are already written have none")
        values = {}
        for percent in (5, 20):
            shares = forbidden_shares(law, evaluation.prompts, evaluation.forced(percent / 100))
            values[f"out_of_support_forced_{percent}"], values[f"bad_texts_forced_{percent}"] = shares
        return values


WRONG = (0, 1, 2, 3)  # wrong tokens put into an expert text


@dataclass(frozen=True)
class Recovered:
    """Share of rollouts from a corrupted text that still end inside the language.

    At a random place of an expert text k tokens are put that the benchmark defines as wrong; from there the policy
    writes freely.  A rollout has recovered if it ended and the law gives its whole reduced text, the corrupted
    beginning included, a positive probability.  Without `<backspace>` a wrong token stays, so that for k > 0 a rollout
    recovers only if the law allows the wrong tokens after all; k = 0 is the share from an undisturbed beginning.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        f"recovered_{k}": Measure(
            "fraction", "higher", f"share of rollouts back in the language after {k} wrong tokens"
        )
        for k in WRONG
    }
    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "recovered_by": ProfileMeasure("fraction", "higher", "share of rollouts back in the language", "wrong tokens")
    }

    definition: Annotated[
        Literal["ground_truth"], Field(description="ground_truth: wrong is what the benchmark says is a mistake")
    ] = "ground_truth"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts for each k."""
        return 0 if evaluation.corrupted is None else len(evaluation.prompts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without a law or known mistakes, or without room for three of them."""
        return {f"recovered_{int(point.x)}": point.value for point in self.profiles(evaluation)["recovered_by"]}

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """A point for each k; `Unscorable` as `measure`."""
        law = known_law(evaluation)
        if evaluation.corrupted is None:
            raise Unscorable("wrong tokens need a policy and a benchmark that defines mistakes; score it on one")
        points = []
        for k in WRONG:
            rollouts = evaluation.corrupted(k)
            flags = all_forbidden(law, evaluation.prompts, rollouts)
            back = [r.stop == "ended" and not any(bad) for r, bad in zip(rollouts, flags, strict=True)]
            points.append(Point(k, sum(back) / len(back), len(back)))
        return {"recovered_by": points}


@dataclass(frozen=True)
class BackspaceAfterMistake:
    """Mean probability of `<backspace>` right after one or two wrong tokens in a row.

    A state is a beginning of an expert text, then tokens that the benchmark defines as wrong there.  Both numbers are
    over the same beginnings.  With `noise_run: 1` training never shows the second kind.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "p_back_one": Measure("probability", "higher", "mean P(<backspace>) after one wrong token"),
        "p_back_two": Measure("probability", "higher", "mean P(<backspace>) after two wrong tokens in a row"),
    }

    definition: Annotated[
        Literal["ground_truth"], Field(description="ground_truth: wrong is what the benchmark says is a mistake")
    ] = "ground_truth"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Number of expert texts that the beginnings are of."""
        return {"texts": evaluation.mistake_texts}

    def count(self, evaluation: Evaluation) -> int:
        """Number of beginnings of expert texts; 0 without `<backspace>` or without known mistakes."""
        return 0 if evaluation.p_back is None or evaluation.backspace_id is None else len(evaluation.p_back(2))

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Probabilities; `Unscorable` without `<backspace>`, known mistakes or room for two of them, or with NaN."""
        if evaluation.backspace_id is None:
            raise Unscorable("this policy has no <backspace> action; set actions.backspace=true")
        if evaluation.p_back is None:
            raise Unscorable("this benchmark defines no mistakes; score it on one that does")
        states = evaluation.p_back(2)
        if not len(states):
            raise Unscorable("no expert text leaves room for two wrong tokens in the context; raise model.context")
        one, two = (math.fsum(column) / len(states) for column in states.T.tolist())
        if math.isnan(one) or math.isnan(two):
            raise Unscorable("a probability after a mistake is NaN; the training diverged")
        return {"p_back_one": one, "p_back_two": two}
