"""TD-regularised maximum likelihood: behavioural cloning plus the squared implied reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.config.search_space import Search
from harness.plugins import Evaluate, Loss, Moment, Needs, NormalisationOption, Value, Weighting

if TYPE_CHECKING:
    from harness.actions.batch import Batch


@dataclass(frozen=True)
class TDMLE:
    """Cloning plus lambda r^2 in r = log pi(a|s) + V(s) - gamma V(s'), the temporal difference that V should explain.

        sum_t w_t [-log pi(a_t|s_t) + lambda r_t^2] + w_abs lambda ((1 - gamma) V(s_N))^2

    Weights and the term of a finished text are `bc`'s; a row that is cut has no such term.  At lambda = alpha/4 this
    is SequenceMatch with Pearson's chi2, bc_start = bc_end = 0 ("offline IQ-Learn", arXiv 2106.12142), as long as
    -18 < alpha r < 2.
    """

    td_weight: Annotated[
        float, Field(ge=0, description="lambda; 0 is BC, alpha/4 is chi2 at alpha"), Search(2.5e-4, 0.25, log=True)
    ] = 0.0025
    gamma: Annotated[float, Field(gt=0, lt=1, description="discount of the occupancy")] = 0.998
    kappa: Annotated[float, Field(gt=0, description="mass of a noise event's start state")] = 1.0
    value: Annotated[
        Value, Field(description="V(s): logsumexp of the logits, a linear head, or logsumexp - a frozen one")
    ] = "head"
    normalisation: NormalisationOption = "constant"

    @property
    def needs(self) -> Needs:
        """Discounted weights and a value."""
        return Needs(
            weighting=Weighting(gamma=self.gamma, kappa=self.kappa, normalisation=self.normalisation), value=self.value
        )

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """Loss as in the class's docstring, the mean over rows."""
        values = evaluate(expert)
        r, end = values.reward(expert.gamma), (1 - expert.gamma) * values.end_value
        cloning = -(expert.weight * values.log_prob).sum(1).mean()
        squares = ((expert.weight * r**2).sum(1) + expert.end_weight * end**2).mean()
        return Loss(cloning + self.td_weight * squares, {"bc": cloning, "td": self.td_weight * squares})
