"""Divergences between a known law and the marginal law of the texts that a policy finishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.metrics.law import known_law
from harness.plugins.metric import Measure, Unscorable
from harness.records.evaluation import Evaluation, FinishedLaw

LOOSE = 0.02  # nats: half-width of the bounds of a log-probability beyond which there is no score


@dataclass(frozen=True)
class Finished:
    """Divergences between the law and the law of finished texts, the reduced texts after the policy's end.

    With law(x) and p(x) the probabilities of a text x, r = p / law and m = (law + p) / 2, in nats:

        finished_kl = KL(law || p) = -E_law log r                     finished_tv = E_law max(0, 1 - r)
        finished_js = (KL(law || m) + KL(p || m)) / 2                 finished_outside = 1 - E_law r
        finished_kl_reverse = KL(p || law), infinite if the policy may finish with a text that the law excludes
        finished_kl_inside = KL(p given a text of the language || law)

    All but the infinite one depend on p at the texts of the language alone.  Texts that fill the context are outside;
    the decoder (temperature, top-k, top-p) is part of p; the budget of actions is not.  With `<backspace>` p(x) is the
    sum over all action sequences to x (a marginal), solved on the tree of texts: it is not the policy renormalised
    without `<backspace>`.

    `enumerated` sums over every text of the language, and with `<backspace>` over every text at all: exact.
    `sampled` takes the means over the first `texts` test texts: without bias for kl, tv, js and outside (an estimate,
    so it may fall below 0), with a bias that vanishes as they grow for kl_inside.  There, with `<backspace>`, each
    log p is known between two bounds that tighten with `states`; the middle is scored, `finished_bound` is the
    half-width.  `finished_kl_se` is the standard error of finished_kl over those texts, 0 if all are enumerated.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "finished_kl": Measure("nats/text", "lower", "KL(law || finished texts)"),
        "finished_tv": Measure("probability", "lower", "total variation between the law and finished texts"),
        "finished_js": Measure("nats/text", "lower", "Jensen-Shannon divergence between the law and finished texts"),
        "finished_outside": Measure("probability", "lower", "share of finished texts that the law excludes, exactly"),
        "finished_kl_reverse": Measure(
            "nats/text", "lower", "KL(finished texts || law); infinite for almost any policy"
        ),
        "finished_kl_inside": Measure("nats/text", "lower", "KL(finished texts that the law allows || law)"),
        "finished_kl_se": Measure("nats/text", "lower", "standard error of finished_kl over the expert texts taken"),
        "finished_bound": Measure(
            "nats/text", "lower", "half-width of the bounds that finished_kl was computed within"
        ),
    }

    definition: Annotated[
        Literal["enumerated", "sampled"], Field(description="over every text of the language, or over a sample of it")
    ] = "enumerated"
    texts: Annotated[int, Field(ge=2, description="sampled only: expert texts taken from the test split")] = 500
    states: Annotated[
        int, Field(ge=1, description="largest number of states in which the policy's probabilities are computed")
    ] = 20_000

    def _law(self, evaluation: Evaluation) -> FinishedLaw:
        known_law(evaluation)
        if evaluation.finished is None:
            raise Unscorable("the law of finished texts needs the policy; texts that are already written have none")
        return evaluation.finished(self.texts if self.definition == "sampled" else None, self.states)

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """`texts` and `states` of a sample; empty for an enumeration."""
        return {"texts": self.texts, "states": self.states} if self.definition == "sampled" else {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts of the language that were looked at; 0 if there is no value."""
        try:
            return len(self._law(evaluation).share)
        except Unscorable:
            return 0

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """All of `measures`; `Unscorable` without a law or a policy, or if more than `states` states are needed."""
        law = self._law(evaluation)
        width = float(np.sum(law.share * _minus(law.high, law.low))) / 2
        if not width <= LOOSE:
            raise Unscorable(
                f"in states={self.states} states the texts' log-probability is known to +-{width:.2g} nats only; "
                "raise states, or lower texts"
            )
        log_ratio = np.where(law.low == law.high, law.low, (law.low + law.high) / 2) - law.log_law
        ratio = np.exp(log_ratio)
        inside = float(np.sum(law.share * ratio))
        kl = -float(np.sum(law.share * log_ratio))
        reverse = float(np.sum(law.share * np.multiply(ratio, log_ratio, out=np.zeros_like(ratio), where=ratio > 0)))
        # log(law / m) = log 2 - log(1 + r), log(p / m) is that plus log r; what is outside has p / m = 2
        middle = float(np.sum(law.share * (1 + ratio) * (math.log(2) - np.log1p(ratio))))
        return {
            "finished_kl": kl,
            "finished_tv": float(np.sum(law.share * np.maximum(0.0, 1 - ratio))),
            "finished_js": (middle + reverse + (1 - inside) * math.log(2)) / 2,
            "finished_outside": 1 - inside,
            "finished_kl_reverse": math.inf if law.leaks else reverse,
            "finished_kl_inside": reverse / inside - math.log(inside) if inside > 0 else math.inf,
            "finished_kl_se": 0.0 if self.definition == "enumerated" else _standard_error(log_ratio),
            "finished_bound": width,
        }


def _minus(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Difference high - low; 0 where both are -inf."""
    difference: np.ndarray = np.subtract(high, low, out=np.zeros_like(high), where=high != low)
    return difference


def _standard_error(values: np.ndarray) -> float:
    finite = bool(np.isfinite(values).all())
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if finite and len(values) > 1 else math.inf
