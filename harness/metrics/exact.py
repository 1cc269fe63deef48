"""How far the policy is from a language whose law is known: exact KL per state, and actions the law forbids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.plugins import Measure, Unscorable
from harness.records import Evaluation, ExactStep
from harness.support import NO_LAW, forbidden_shares


def step_kl(step: ExactStep, renormalise: bool) -> float:
    """KL(law(.|s) || policy(.|s)) in nats at one state; infinite where the policy forbids what the law allows.

    The policy's mass on outcomes that the law does not know stays lost.  Its `<backspace>` mass is lost too, unless
    `renormalise`: then the policy is divided by 1 - pi(<backspace>|s) first.

    Raises:
        Unscorable: a probability is NaN, or `<backspace>` has probability 1 and nothing is left to renormalise.
    """
    if np.isnan(step.true).any() or np.isnan(step.policy).any() or math.isnan(step.policy_backspace):
        raise Unscorable("a probability at an expert state is NaN; the training diverged")
    possible = np.isfinite(step.true)
    true = step.true[possible].astype(np.float64)
    policy = step.policy[possible].astype(np.float64)
    kl = float(np.sum(np.exp(true) * (true - policy)))
    if not renormalise or step.policy_backspace == -math.inf:
        return kl
    if step.policy_backspace >= 0:
        raise Unscorable("at an expert state <backspace> has probability 1; nothing is left to renormalise")
    return kl + math.log(-math.expm1(step.policy_backspace))


@dataclass(frozen=True)
class ExactKL:
    """Forward KL per token on expert text: the mean over expert states of KL(law(.|s) || policy(.|s)), in nats.

    `exact_kl` renormalises the policy without `<backspace>`, which the law never uses; `exact_kl_raw` does not.
    No sampling enters at a state: both distributions are known there.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact_kl": Measure("nats/token", "lower", "KL(law || policy) per expert state, without the <backspace> mass"),
        "exact_kl_raw": Measure("nats/token", "lower", "KL(law || policy) per expert state, <backspace> mass lost"),
    }

    definition: Annotated[Literal["forward"], Field(description="forward: the law is the first argument")] = "forward"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """None."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Expert states."""
        return len(evaluation.exact_steps)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Nats per token, at least 0; `Unscorable` without a law, without states, or with NaN among the values."""
        if evaluation.law is None:
            raise Unscorable(NO_LAW)
        steps = evaluation.exact_steps
        if not steps:
            raise Unscorable("no policy was asked at expert states: these texts came without one, or no test text did")
        return {
            "exact_kl": math.fsum(step_kl(step, renormalise=True) for step in steps) / len(steps),
            "exact_kl_raw": math.fsum(step_kl(step, renormalise=False) for step in steps) / len(steps),
        }


@dataclass(frozen=True)
class OutOfSupport:
    """How often finished texts do what the law never does: per action (a character or the end) and per text.

    A text that was cut off scores its characters only: its end is not the policy's choice.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "out_of_support": Measure("fraction", "lower", "share of characters and ends that the law gives probability 0"),
        "bad_texts": Measure("fraction", "lower", "share of texts with at least one such action"),
    }

    definition: Annotated[Literal["law"], Field(description="law: forbidden is what has probability exactly 0")] = "law"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """None."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Texts."""
        return len(evaluation.rollouts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without a law, or where no text holds a character or an end."""
        law = evaluation.law
        if law is None:
            raise Unscorable(NO_LAW)
        share, bad = forbidden_shares(law, evaluation.prompts, evaluation.rollouts)
        return {"out_of_support": share, "bad_texts": bad}
