"""Compounding error: the policy's regret in the states that it reaches itself over that in expert states."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.metrics.law import known_law, regrets
from harness.plugins.metric import Measure, ProfileMeasure, Unscorable
from harness.records.evaluation import Evaluation, ExactStep
from harness.records.score import Point

AXIS = "position (characters before the state)"


@dataclass(frozen=True)
class ExcessError:
    """Regret in the policy's own states over regret in expert states, by position (Arora et al., arXiv 2204.01171).

    The regret of a state is KL(law(.|s) || policy(.|s)) in nats, the policy without its `<backspace>` mass, as in
    `exact_kl`.  Own states are the beginnings of the reduced texts of rollouts, so a mistake that was deleted leads to
    none.  After a rollout has left the language for good the law is undefined: such a state is *lost* and its regret
    is log(characters + 1), that of a uniform guess if one outcome is right.  (A Markov law goes on after any of its
    symbols; a bracket or template law never does.)

    At each position both sides are means over the texts that are long enough.  `excess_error` is the sum over positions
    of own regret over the sum of expert regret, at all positions that both reach: 1 without compounding error.
    Positions before the first mistake weigh as much as late ones, so read the curve, too.  The decoder chooses the
    states; the regret is that of the policy itself.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "excess_error": Measure("ratio", "lower", "own over expert regret, summed over positions; 1: no compounding"),
        "excess_error_late": Measure("ratio", "lower", "the same over the later half of the positions"),
        "own_regret": Measure("nats/token", "lower", "mean regret per own state, over all of them"),
        "lost_states": Measure("fraction", "lower", "share of own states after which no text of the language goes on"),
    }
    profile_measures: ClassVar[Mapping[str, ProfileMeasure]] = {
        "excess_error_at": ProfileMeasure("ratio", "lower", "own over expert regret at this position", AXIS),
        "excess_error_up_to": ProfileMeasure("ratio", "lower", "own over expert regret, summed to this position", AXIS),
        "own_regret_at": ProfileMeasure("nats/token", "lower", "mean regret in own states", AXIS),
        "expert_regret_at": ProfileMeasure("nats/token", "lower", "mean regret in expert states", AXIS),
        "lost_at": ProfileMeasure("fraction", "lower", "share of own states where the language cannot go on", AXIS),
    }

    definition: Annotated[
        Literal["kl"], Field(description="kl: regret is KL(law || policy); lost states count log(characters + 1)")
    ] = "kl"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Number of expert texts in the denominator."""
        return {"texts": sum(step.position == 0 for step in evaluation.exact_steps)}

    def count(self, evaluation: Evaluation) -> int:
        """Number of own states."""
        return 0 if evaluation.own_steps is None else len(evaluation.own_steps())

    def _own(self, evaluation: Evaluation) -> tuple[ExactStep, ...]:
        if evaluation.own_steps is None:
            raise Unscorable("regret needs the policy; texts that are already written have none")
        return evaluation.own_steps()

    def _regrets(self, evaluation: Evaluation) -> tuple[dict[int, Point], dict[int, Point]]:
        """Mean regret by position, in own and in expert states."""
        lost = math.log(len(known_law(evaluation).alphabet) + 1)
        own, expert = self._own(evaluation), evaluation.exact_steps
        if not own or not expert:
            raise Unscorable(f"{len(own)} own states and {len(expert)} expert states: there is nothing to compare")
        return _by_position(own, _regret(own, lost)), _by_position(expert, _regret(expert, lost))

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Ratios, nats, a fraction; `Unscorable` without a law, a policy or regret in expert states, and with NaN."""
        own, expert = self._regrets(evaluation)
        both = sorted(own.keys() & expert.keys())
        states = sum(point.n for point in own.values())
        lost = sum(step.lost for step in self._own(evaluation))
        return {
            "excess_error": _ratio(own, expert, both),
            "excess_error_late": _ratio(own, expert, both[len(both) // 2 :]),
            "own_regret": math.fsum(point.value * point.n for point in own.values()) / states,
            "lost_states": lost / states,
        }

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """A point for each position at which the expert regret is not 0; `Unscorable` as `measure`."""
        own, expert = self._regrets(evaluation)
        both = sorted(own.keys() & expert.keys())
        steps = self._own(evaluation)
        return {
            "excess_error_at": [Point(t, _ratio(own, expert, [t]), own[t].n) for t in both if expert[t].value > 0],
            "excess_error_up_to": [
                Point(t, _ratio(own, expert, both[: i + 1]), own[t].n)
                for i, t in enumerate(both)
                if any(expert[earlier].value > 0 for earlier in both[: i + 1])
            ],
            "own_regret_at": list(own.values()),
            "expert_regret_at": list(expert.values()),
            "lost_at": list(_by_position(steps, np.array([step.lost for step in steps], float)).values()),
        }


def _regret(steps: Sequence[ExactStep], lost: float) -> np.ndarray:
    """Regret of each state, [S] nats; `lost` for lost states."""
    return np.where([step.lost for step in steps], lost, regrets(steps, renormalise=True))


def _by_position(steps: Sequence[ExactStep], values: np.ndarray) -> dict[int, Point]:
    """Mean value at each position, positions in order."""
    at: dict[int, list[float]] = defaultdict(list)
    for step, value in zip(steps, values.tolist(), strict=True):
        at[step.position].append(value)
    return {t: Point(t, math.fsum(at[t]) / len(at[t]), len(at[t])) for t in sorted(at)}


def _ratio(own: Mapping[int, Point], expert: Mapping[int, Point], at: Sequence[int]) -> float:
    """Own over expert regret, summed over the positions `at`.

    Raises:
        Unscorable: the expert regret is 0 or infinite.
    """
    below = math.fsum(expert[t].value for t in at)
    if not 0 < below < math.inf:
        raise Unscorable(f"the regret in expert states is {below} there; a ratio to it says nothing")
    return math.fsum(own[t].value for t in at) / below
