"""SequenceMatch: behavioural cloning plus a convex regulariser on the implied reward."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.config.search_space import Search
from harness.errors import ConfigError, did_you_mean
from harness.plugins import Evaluate, Loss, Moment, Needs, NormalisationOption, Replay, Weighting
from trainers.divergences import DIVERGENCES, Divergence

if TYPE_CHECKING:
    from torch import Tensor

    from harness.actions.batch import ActionValues, Batch


@dataclass(frozen=True)
class SequenceMatch:
    """Minimises D(model, data) - alpha H over occupancies, without an adversary (arXiv 2306.05426).

    In terms of the implied reward r = log pi(a|s) + V(s) - gamma V(s') a row that ends after N steps costs

        sum_t w_t [-log pi(a_t|s_t) + lambda g(r_t)] + w_abs lambda g((1 - gamma) V(s_N))
        g(r) = r - phi(alpha r)/alpha + h(alpha r)/alpha

    where h is the divergence's penalty: 0 but for `chi2_mixture`, whose rollouts, of mass Z, cost

        lambda Z [sum_t w_t h(alpha r_t)/alpha + w_abs h(alpha (1 - gamma) V(s_N))/alpha]

    and nothing else.  A row that is cut has no last term.  The gradient flows through V(s').  lambda rises from
    1 - bc_start to 1 - bc_end over the first `bc_over` of the budget (the paper: to 0.8).

    For ablation, `value_weighting = uniform` weighs as IQ-Learn's code does (arXiv 2106.12142): w = 1 for every step,
    and half of the value terms V(s) - gamma V(s') moved from expert rows to rollouts.  With w_t = gamma^t both sides'
    value terms telescope to V(prompt), which is why the default needs no rollouts for them.
    """

    divergence: Annotated[str, Field(description="which D; see `harness ls divergences`")] = "chi2_mixture"
    alpha: Annotated[
        float, Field(gt=0, description="entropy coefficient; towards 0 every D becomes BC"), Search(1e-3, 1, log=True)
    ] = 0.01
    equal_strength: Annotated[
        bool, Field(description="divide alpha by curvature / 0.5, so that near r = 0 every D regularises as chi2 does")
    ] = False
    gamma: Annotated[float, Field(gt=0, lt=1, description="discount of the occupancy")] = 0.998
    kappa: Annotated[float, Field(gt=0, description="mass of a noise event's start state")] = 1.0
    value: Annotated[
        Literal["logsumexp", "head", "reference"],
        Field(description="V(s): logsumexp of the logits (the paper's), a linear head, or logsumexp - a frozen one"),
    ] = "head"
    bc_start: Annotated[float, Field(ge=0, le=1, description="weight of plain BC at the start")] = 1.0
    bc_end: Annotated[
        float, Field(ge=0, le=1, description="weight of plain BC at the end (the paper: 0.2)"), Search(0, 1)
    ] = 0.0
    bc_over: Annotated[float, Field(gt=0, le=1, description="share of the budget over which it moves")] = 0.2
    normalisation: NormalisationOption = "constant"
    value_weighting: Annotated[
        Literal["discounted", "uniform"],
        Field(description="discounted, or (another objective) IQ-Learn's: weight 1, half the V-terms on rollouts"),
    ] = "discounted"
    buffer_size: Annotated[int, Field(ge=1, description="rollouts kept; mixture or uniform")] = 512
    buffer_fresh: Annotated[int, Field(ge=1, description="rollouts sampled at a refresh; mixture or uniform")] = 64
    buffer_every: Annotated[int, Field(ge=1, description="steps between refreshes; mixture or uniform")] = 25
    rollout_start: Annotated[
        Literal["prompt", "matched"],
        Field(description="rollouts start at prompts, or as noise starts the expert side; mixture, not uniform"),
    ] = "matched"
    rollout_epsilon: Annotated[
        float, Field(ge=0, lt=1, description="chance of a random action in a rollout; mixture or uniform")
    ] = 0.0

    def __post_init__(self) -> None:
        if self.divergence not in DIVERGENCES:
            raise ConfigError(
                f"trainer.divergence: unknown divergence {self.divergence!r}; "
                f"{did_you_mean(self.divergence, DIVERGENCES)}"
            )
        # options about rollouts that do not happen must not make two runs of one
        neutral: dict[str, object] = {}
        if self.value_weighting == "uniform":  # no start has a mass: rollouts and expert rows count alike
            neutral = {"kappa": 1.0, "rollout_start": "prompt"}
        elif self._divergence.penalty is None:  # no rollouts
            unused = (option for option in fields(self) if option.name.startswith(("buffer_", "rollout_")))
            neutral = {option.name: option.default for option in unused}
        for name, value in neutral.items():
            object.__setattr__(self, name, value)

    @property
    def _divergence(self) -> Divergence:
        found: Divergence = DIVERGENCES[self.divergence]
        return found

    @property
    def needs(self) -> Needs:
        """Weights and a value; rollouts only for a penalty on them, or for half of the value terms."""
        replay = Replay(
            self.buffer_size, self.buffer_fresh, self.buffer_every, self.rollout_start, self.rollout_epsilon
        )
        return Needs(
            weighting=Weighting(self.value_weighting, self.gamma, self.kappa, self.normalisation),
            value=self.value,
            rollouts=replay if self._divergence.penalty is not None or self.value_weighting == "uniform" else None,
        )

    @property
    def strength(self) -> float:
        """The alpha that enters phi(alpha r)/alpha: `alpha`, or at equal strength alpha / (-phi''(0) / 0.5)."""
        curvature = self._divergence.curvature if self.equal_strength else 0.5
        return self.alpha * 0.5 / curvature if curvature else self.alpha  # without curvature there is no regulariser

    def g(self, r: Tensor) -> Tensor:
        """The regulariser g(r) = r - phi(alpha r)/alpha, plus the penalty of a mixture; convex, g(0) = g'(0) = 0."""
        return r - self._divergence.phi(self.strength * r) / self.strength + self.penalty(r)

    def penalty(self, r: Tensor) -> Tensor:
        """Penalty of rollout steps, h(alpha r)/alpha; 0 unless the divergence is a mixture with rollouts."""
        h = self._divergence.penalty
        return r.new_zeros(r.shape) if h is None else h(self.strength * r) / self.strength

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """Loss as in the class's docstring; terms describe r, V and the regulariser on the expert's steps."""
        weight = 1 - self.bc_weight(moment.progress)
        values = evaluate(expert)
        r = values.reward(expert.gamma)
        end = (1 - expert.gamma) * values.end_value
        cloning = -(expert.weight * values.log_prob).sum(1).mean()
        regulariser = ((expert.weight * self.g(r)).sum(1) + expert.end_weight * self.g(end)).mean()
        terms = {"bc": cloning, "regulariser": weight * regulariser, **self._describe(values, r, expert)}
        total = cloning + weight * regulariser
        if rollouts is not None:
            sampled = evaluate(rollouts)
            r = sampled.reward(rollouts.gamma)
            end = (1 - rollouts.gamma) * sampled.end_value
            penalty = ((rollouts.weight * self.penalty(r)).sum(1) + rollouts.end_weight * self.penalty(end)).mean()
            terms["rollout_penalty"] = weight * penalty
            total = total + weight * penalty
            if self.value_weighting == "uniform":
                moved = (_value_terms(sampled, rollouts) - _value_terms(values, expert)) / 2
                terms["value_terms"] = weight * moved
                total = total + weight * moved
        terms["regulariser_share"] = ((total - cloning) / total).detach()
        return Loss(total, {"bc_weight": 1 - weight, **terms})

    def bc_weight(self, progress: float) -> float:
        """Weight of plain behavioural cloning at a share of the budget: linear, then constant."""
        return self.bc_start + (self.bc_end - self.bc_start) * min(1.0, progress / self.bc_over)

    def _describe(self, values: ActionValues, r: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Diagnostics over the steps that carry weight.

        `phi_slope` is the implied ratio model/data, 1 where phi is the identity; `above_huber` is the share beyond
        |alpha r| = 8, where a mixture's penalty turns linear.  `end_value` is left out where no row ended.
        """
        import torch

        with torch.no_grad():
            counted = r[batch.weight > 0]
            x = self.strength * counted
            d = self._divergence
            terms = {
                "r_mean": counted.mean(),
                "r_sd": counted.std(correction=0),
                "below_cut": (x < d.cut).to(r.dtype).mean(),
                "above_flat": (x > d.flat).to(r.dtype).mean(),
                "phi_slope": d.slope(x).mean(),
                "value_mean": values.value[batch.weight > 0].mean(),
            }
            if d.penalty is not None:
                terms["above_huber"] = (x.abs() > 8).to(r.dtype).mean()
            if batch.ended.any():
                terms["end_value"] = values.end_value[batch.ended].mean()
            return terms


def _value_terms(values: ActionValues, batch: Batch) -> Tensor:
    """Value terms sum_t w_t (V(s_t) - gamma V(s_{t+1})) + w_abs (1 - gamma) V(s_N), the mean over rows."""
    steps = batch.weight * (values.value - batch.gamma * values.next_value)
    return (steps.sum(1) + batch.end_weight * (1 - batch.gamma) * values.end_value).mean()
