"""Maximum likelihood: every expert step counts alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.plugins import Evaluate, Loss, Moment, Needs, NormalisationOption, Weighting

if TYPE_CHECKING:
    from harness.actions.batch import Batch


@dataclass(frozen=True)
class MLE:
    """Mean negative log-likelihood per expert token, in nats: the usual objective of language models.

    With `<backspace>` switched on this is the paper's row "MLE + backspace": injected mistakes are context without a
    loss, and the backspaces that delete them are learned like any other token.
    """

    normalisation: NormalisationOption = "constant"

    @property
    def needs(self) -> Needs:
        """Uniform weights, nothing else."""
        return Needs(weighting=Weighting(kind="uniform", normalisation=self.normalisation))

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """Loss: -log pi(a|s) summed over each row's steps, the mean over rows."""
        return Loss(-(expert.weight * evaluate(expert).log_prob).sum(1).mean())
