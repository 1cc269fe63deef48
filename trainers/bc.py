"""Behavioural cloning: maximum likelihood weighted by the expert's discounted occupancy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.plugins import Evaluate, Loss, Moment, Needs, NormalisationOption, Weighting

if TYPE_CHECKING:
    from harness.actions.batch import Batch


@dataclass(frozen=True)
class BC:
    """Negative log-likelihood of the expert under its discounted occupancy (arXiv 2306.05426, section 4.4).

    Without `<backspace>` it is discounted maximum likelihood.  With it, each injected mistake is one more start state
    and its recovery is cloned with that state's mass.  SequenceMatch is this plus a convex regulariser.
    """

    gamma: Annotated[float, Field(gt=0, lt=1, description="discount of the occupancy")] = 0.998
    kappa: Annotated[float, Field(gt=0, description="mass of a noise event's start state")] = 1.0
    normalisation: NormalisationOption = "constant"

    @property
    def needs(self) -> Needs:
        """Discounted weights, nothing else."""
        return Needs(weighting=Weighting(gamma=self.gamma, kappa=self.kappa, normalisation=self.normalisation))

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """Loss: -w_t log pi(a_t|s_t) summed over each row's steps, the mean over rows."""
        return Loss(-(expert.weight * evaluate(expert).log_prob).sum(1).mean())
