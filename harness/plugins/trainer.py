"""The contract of a trainer: its loss, and its needs of weights, values, rollouts and a reference policy."""

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
"""Settings (key, value) kept for ablation, with the reason why each estimates something else than the objective.

A table by name and no property of the trainers: tables and leaderboards read it without importing a trainer, which
would load torch and need every trainer of an old store installed.
"""


@dataclass(frozen=True)
class Replay:
    """The replay buffer of a trainer: `size` rollouts, of which `fresh` new ones join every `every` steps.

    A rollout starts at a prompt, or (`matched`) at a state drawn as the expert side's noise starts are; a share
    `epsilon` of its actions is random.
    """

    size: int = 512
    fresh: int = 64
    every: int = 25
    start: Literal["prompt", "matched"] = "matched"
    epsilon: float = 0.0


@dataclass(frozen=True)
class Needs:
    """Requirements of a trainer: weights, a value function, rollouts, a frozen reference policy.

    `reference` is `"start"` (a frozen copy of the model as training starts) or a model directory.
    """

    weighting: Weighting = field(default_factory=Weighting)
    value: Value = "logsumexp"
    rollouts: Replay | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Moment:
    """State of training at a step: the share of the budget used, in [0, 1], and the step's own random generator."""

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
        """Requirements of this instance; they may depend on the hyper-parameters."""

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """The loss of one (micro-)batch; `rollouts` is None unless `needs.rollouts` asks for them."""
