"""Distance of the policy from a language with a known law: exact KL per state, and share of forbidden actions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.metrics.law import all_forbidden, forbidden_shares, known_law, regrets
from harness.plugins.metric import Measure, ProfileMeasure, Unscorable
from harness.records.evaluation import Evaluation
from harness.records.score import Point


@dataclass(frozen=True)
class ExactKL:
    """KL from the law to the policy per token of expert text: the mean of KL(law(.|s) || policy(.|s)) over its states.

    `exact_kl` renormalises the policy without `<backspace>`, which the law never uses; `exact_kl_raw` does not.
    No sampling enters at a state: both distributions are known there.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact_kl": Measure("nats/token", "lower", "KL(law || policy) per expert state, without the <backspace> mass"),
        "exact_kl_raw": Measure("nats/token", "lower", "KL(law || policy) per expert state, <backspace> mass lost"),
    }

    definition: Annotated[Literal["law-to-policy"], Field(description="the law is the first argument of the KL")] = (
        "law-to-policy"
    )

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Number of expert texts that the states are of."""
        return {"texts": sum(step.position == 0 for step in evaluation.exact_steps)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of expert states."""
        return len(evaluation.exact_steps)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Nats per token, at least 0; `Unscorable` without a law, without states, or with NaN among the values."""
        known_law(evaluation)
        steps = evaluation.exact_steps
        if not steps:
            raise Unscorable("no policy was asked at expert states: there is none to these texts, or no test text")
        return {
            "exact_kl": math.fsum(regrets(steps, renormalise=True).tolist()) / len(steps),
            "exact_kl_raw": math.fsum(regrets(steps, renormalise=False).tolist()) / len(steps),
        }


@dataclass(frozen=True)
class OutOfSupport:
    """Share of finished texts' actions that the law gives probability 0: per action (a character or the end), per text.

    Of a text that was cut off only the characters count: its end is not the policy's choice.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "out_of_support": Measure("fraction", "lower", "share of characters and ends that the law gives probability 0"),
        "bad_texts": Measure("fraction", "lower", "share of texts with at least one such action"),
    }

    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "out_of_support_at": ProfileMeasure(
            "fraction", "lower", "share of texts so long whose action here has probability 0", "position (characters)"
        ),
    }

    definition: Annotated[Literal["law"], Field(description="law: forbidden is what has probability exactly 0")] = "law"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts."""
        return len(evaluation.rollouts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without a law, or if no text holds a character or an end."""
        share, bad = forbidden_shares(known_law(evaluation), evaluation.prompts, evaluation.rollouts)
        return {"out_of_support": share, "bad_texts": bad}

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """A point for each position that some text has; `Unscorable` as `measure`."""
        at: dict[int, list[bool]] = defaultdict(list)
        for flags in all_forbidden(known_law(evaluation), evaluation.prompts, evaluation.rollouts):
            for position, flag in enumerate(flags):
                at[position].append(flag)
        return {"out_of_support_at": [Point(t, sum(at[t]) / len(at[t]), len(at[t])) for t in sorted(at)]}
