"""What a trainer is, and what it may ask of the harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from harness.actions.weights import Weighting

if TYPE_CHECKING:
    import torch

    from harness.actions.batch import ActionValues, Batch


Value = Literal["logsumexp", "head", "reference"]


BIASED: Mapping[tuple[str, str], str] = {
    ("trainer.normalisation", "batch_tokens"): (
        "a step divided by its own number of tokens weighs long texts less than they occur"
    ),
    ("trainer.normalisation", "per_sequence"): (
        "a text divided by its own length is not scored properly: where the end has chance 1/2 it learns log 2 = .693"
    ),
    ("trainer.value_weighting", "uniform"): (
        "steps of weight 1 are no occupancy of the prompts: the optimum is that of other start states, and without "
        "chi2_mixture's penalty there is none on states that only rollouts reach"
    ),
}
"""Settings kept for ablation although they estimate something else than the objective, and what is wrong with them."""


@dataclass(frozen=True)
class Replay:
    """The buffer of rollouts that a trainer wants: its size, how often how many fresh ones come, how they start."""

    size: int = 512
    fresh: int = 64
    every: int = 25
    start: Literal["prompt", "matched"] = "matched"
    epsilon: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What a trainer asks of the harness: weights, a value function, rollouts, a frozen reference policy.

    `reference` is `"start"` (a frozen copy of the model as training starts) or a model directory.
    """

    weighting: Weighting = field(default_factory=Weighting)
    value: Value = "logsumexp"
    rollouts: Replay | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Moment:
    """When a loss is computed: the share of the budget used, and the step's own randomness."""

    progress: float
    generator: torch.Generator


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise (nats per token) and detached scalars for the curve."""

    total: torch.Tensor
    terms: Mapping[str, torch.Tensor | float] = field(default_factory=dict)


class Evaluate(Protocol):
    """The one forward pass: action values of a batch under the policy, or under the frozen reference."""

    def __call__(self, batch: Batch, reference: bool = False) -> ActionValues:
        """Action values of `batch`; with `reference`, the frozen reference's, without gradient."""


class Trainer(Protocol):
    """A training rule: a frozen dataclass of hyper-parameters with two members.

    The mean over rows is taken by the trainer; the harness combines micro-batches by their number of rows, so a
    loss that is a mean of per-row sums is exact under gradient accumulation.
    """

    @property
    def needs(self) -> Needs:
        """What this instance asks of the harness; it may depend on the hyper-parameters."""

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """The loss of one (micro-)batch; `rollouts` is None unless `needs.rollouts` asks for them."""
