"""The one training loop, step by step: every trainer goes through it, and only its loss differs."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.actions.batch import ActionValues, Batch, pack
from harness.config.run import RunConfig
from harness.config.training import TrainingConfig
from harness.data.stream import ExpertStream, Normalizer
from harness.errors import HarnessError
from harness.models.policy import Policy
from harness.plugins.trainer import Moment, Replay, Trainer
from harness.records.progress import Report, unreported
from harness.records.rollout import Trajectory
from harness.records.training import Interim, Spent, Step
from harness.seeding import key
from harness.training.checkpoint import State
from harness.training.replay_buffer import Contents, ReplayBuffer, StartMeasure

CURVE_POINTS = 50  # a curve has about this many points, whatever the budget


class Diverged(HarnessError):
    """The loss is no longer a number."""

    exit_code = 1


@dataclass
class Meter:
    """Counter of the nodes that go through `evaluate`, so that a trainer's cost is measured, never declared.

    `with_gradient` counts nodes whose forward pass keeps a gradient, `without_gradient` the others, such as the frozen
    reference's.
    """

    policy: Policy
    reference: Policy | None
    with_gradient: int = 0
    without_gradient: int = 0

    def evaluate(self, batch: Batch, reference: bool = False) -> ActionValues:
        """Action values under the policy, or without gradient under the frozen reference."""
        with_gradient = not reference and torch.is_grad_enabled()
        self.with_gradient += batch.nodes * with_gradient
        self.without_gradient += batch.nodes * (not with_gradient)
        if not reference:
            if self.policy.reference is not None:  # the policy's value is measured against a frozen one's
                self.without_gradient += batch.nodes
            return self.policy.evaluate(batch)
        if self.reference is None:
            raise HarnessError("this trainer evaluates a reference that its `needs` does not name; set reference")
        with torch.no_grad():
            return self.reference.evaluate(batch)


@dataclass(frozen=True)
class Budget:
    """A run's budget in its own unit (steps, tokens or seconds), and the learning rate that follows its use."""

    config: TrainingConfig

    def used(self, step: int, tokens: int, seconds: float) -> float:
        """Share of the budget in [0, 1]."""
        if self.config.steps is not None:
            return min(1.0, step / self.config.steps) if self.config.steps else 1.0
        if self.config.tokens is not None:
            return min(1.0, tokens / self.config.tokens)
        assert self.config.seconds is not None
        return min(1.0, seconds / self.config.seconds)

    def learning_rate(self, progress: float) -> float:
        """Warm-up, then the schedule; never exactly 0, so that the first step already moves."""
        config = self.config
        grain = 1 / config.steps if config.steps else 1 / 400
        if progress < config.warmup:
            return config.lr * min(1.0, (progress + grain) / config.warmup)
        rest = (progress - config.warmup) / (1 - config.warmup)
        shape = {"constant": 1.0, "linear": 1 - rest, "cosine": (1 + math.cos(math.pi * rest)) / 2}
        return config.lr * shape[config.schedule]


@dataclass(frozen=True)
class Gradient:
    """The gradient of one step, which lies in the parameters, and what belongs to the step's point of the curve.

    Attributes:
        began: time at which the step began, by `time.perf_counter`.
        lr: the learning rate.
        loss: its total.
        terms: its terms by name, each the sum over the micro-batches that have it, times their shares.
        shares: the sums of these shares; a micro-batch may lack a term.
        age: mean age of the rollouts, in steps.
    """

    began: float
    lr: float
    loss: torch.Tensor
    terms: Mapping[str, torch.Tensor]
    shares: Mapping[str, float]
    age: float


class Training:
    """One run's optimisation, step by step; cut at any step and continued from its state, it ends in the same bits.

    Attributes:
        step: optimiser steps so far.
        seconds: time in training so far, sampling of the replay buffer included.
        progress: share of the budget used, in [0, 1].
        points: the curve so far.
        interims: interim scores so far; the caller appends them when `due`.
        due: True if the last step passed a point at which the run is to be scored; the caller sets it to False then.
        before: steps, tokens and seconds spent when that step began.
        threads: numbers of CPU threads that computed it; several if it was resumed with another number, which moves
            the last bits.
    """

    def __init__(self, policy: Policy, trainer: Trainer, stream: ExpertStream, config: RunConfig) -> None:
        """Prepare the first step; training changes `policy` in place."""
        self.policy, self.trainer, self.stream, self.config = policy, trainer, stream, config
        self.needs, self.seed = trainer.needs, config.seeds.train
        policy.set_scope(config.training.scope)
        policy.set_value(self.needs.value)
        reference = None
        if self.needs.reference is not None:
            frozen = self.needs.reference == "start"
            load = Policy.load
            reference = policy.frozen_copy() if frozen else load(self.needs.reference, policy.context, policy.dtype)
            reference.to(policy.device)
        self.normalizer = Normalizer(stream.expert, self.needs.weighting)
        self.buffer = None if self.needs.rollouts is None else self._buffer(self.needs.rollouts)
        self.meter, self.budget = Meter(policy, reference), Budget(config.training)
        self.parameters = policy.parameters()
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        vectors = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.training.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=config.training.lr,
            fused=True,
        )
        self.step, self.seconds, self.progress = 0, 0.0, self.budget.used(0, 0, 0.0)
        self.points: list[Step] = []
        self.interims: list[Interim] = []
        self.due, self.before = False, self.spent
        self.threads = {torch.get_num_threads()}
        self._settle()

    def _settle(self) -> None:
        """Note the counts of a finished step, which the computation of the next gradient already moves."""
        counts: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        counts |= {"tokens": self.meter.with_gradient, "without_gradient": self.without_gradient}
        self._settled = counts, None if self.buffer is None else self.buffer.contents

    def _buffer(self, replay: Replay) -> ReplayBuffer:
        noise = self.stream.noise
        starts = StartMeasure(
            self.stream.expert,
            self.needs.weighting,
            replay.start,
            noise.noise_rate,
            noise.noise_run,
            self.stream.propose,
            self.policy.context,
        )
        return ReplayBuffer(replay, starts, self.seed)

    @property
    def finished(self) -> bool:
        """True if the budget is spent."""
        return self.progress >= 1

    @property
    def tokens(self) -> int:
        """Nodes through the model so far: with gradient, without, and in the sampler."""
        return self.meter.with_gradient + self.without_gradient + self.sampled

    @property
    def without_gradient(self) -> int:
        """Nodes so far without a gradient: the frozen reference's, and those that mistakes were drawn from."""
        return self.meter.without_gradient + self._proposed

    @property
    def _proposed(self) -> int:
        """Nodes that the source of injected mistakes has put through the policy; 0 without one."""
        return 0 if self.stream.propose is None else self.stream.propose.nodes

    @property
    def sampled(self) -> int:
        """Nodes that sampling the replay buffer's rollouts has put through the policy so far."""
        return 0 if self.buffer is None else self.buffer.contents.sampled_nodes

    @property
    def spent(self) -> Spent:
        """Steps, tokens and seconds of training so far."""
        return Spent(self.step, self.tokens, self.seconds)

    @property
    def sampled_actions(self) -> int:
        """Actions in the replay buffer's rollouts so far, injected ones left out."""
        return 0 if self.buffer is None else self.buffer.contents.sampled_actions

    def _batch(self, step_rows: list[Trajectory], part: np.ndarray, *, is_expert: bool) -> Batch:
        scale = 1.0 if self.buffer is None or is_expert else self.buffer.starts.mass
        weights = torch.float64 if self.policy.dtype == "float64" else torch.float32
        packed = pack(
            [step_rows[i] for i in part],
            self.policy.space,
            self.needs.weighting,
            is_expert=is_expert,
            normalizer=self.normalizer.of(step_rows),
            scale=scale,
            dtype=weights,
        )
        return packed.to(self.policy.device)

    def advance(self) -> Step | None:
        """Take one optimiser step; its point of the curve, or None between points.

        Raises:
            Diverged: the loss is not finite.
        """
        return self.update(self.gradient())

    def gradient(self, report: Report = unreported) -> Gradient:
        """Compute the gradient of the next step; meanwhile `state` is the state before the step.

        `report` gets the share of the step's rollouts that is sampled, where it needs fresh ones.
        """
        began, self.before = time.perf_counter(), self.spent
        training, step = self.config.training, self.step
        lr = self.budget.learning_rate(self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        expert = self.stream.batch(step * training.rows, training.rows)
        rollouts: list[Trajectory] = []
        age = 0.0
        if self.buffer is not None:
            self.buffer.refresh(self.policy, step, report)
            rollouts, age = self.buffer.draw(training.rows, step)
        moment = Moment(self.progress, torch.Generator().manual_seed(key(self.seed, "loss", step) >> 1))
        total = torch.zeros((), device=self.policy.device)
        terms: dict[str, torch.Tensor] = {}
        shares: dict[str, float] = {}
        for part in np.array_split(np.arange(training.rows), training.accumulation):
            share = len(part) / training.rows
            loss = self.trainer.loss(
                self.meter.evaluate,
                self._batch(expert, part, is_expert=True),
                self._batch(rollouts, part, is_expert=False) if self.buffer is not None else None,
                moment,
            )
            (loss.total * share).backward()  # type: ignore[no-untyped-call]
            total = total + loss.total.detach() * share
            for name, value in loss.terms.items():
                terms[name] = terms.get(name, torch.zeros(())) + torch.as_tensor(value).detach() * share
                shares[name] = shares.get(name, 0.0) + share
        return Gradient(began, lr, total, terms, shares, age)

    def update(self, gradient: Gradient) -> Step | None:
        """Change the parameters; the step's point of the curve, or None between points.

        A curve has about `CURVE_POINTS` points, the first and the last step among them; `terms` are means over the
        step's micro-batches, with the sampler's actions so far and the rollouts' age if there are rollouts.

        Raises:
            Diverged: the loss is not finite.
        """
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        marked = int(self.progress * CURVE_POINTS) if self.step else -1
        self.step += 1
        self.seconds += time.perf_counter() - gradient.began
        self.progress = self.budget.used(self.step, self.tokens, self.seconds)
        self.due = due(self.config, self.before, self.spent, finished=self.finished)
        self._settle()
        if int(self.progress * CURVE_POINTS) == marked and not self.finished:
            return None
        value = float(gradient.loss)
        if not math.isfinite(value):
            raise Diverged(
                f"the loss is {value} after {self.step} steps; lower training.lr (model.base_lr where it is a base's) "
                "or trainer.alpha"
            )
        named = {name: float(term) / gradient.shares[name] for name, term in gradient.terms.items()}
        if self.without_gradient:
            named["tokens_without_gradient"] = float(self.without_gradient)
        if self.buffer is not None:
            named["tokens_sampled"] = float(self.sampled)
            named |= {"rollout_age": gradient.age, "sampled_actions": float(self.sampled_actions)}
        self.points.append(Step(self.step, self.tokens, self.seconds, value, gradient.lr, named, self.progress))
        return self.points[-1]

    def state(self) -> State:
        """All that the next step depends on beside the configuration: weights, moments, counts, rollouts.

        It holds no generator: every stream of randomness belongs to a seed, a purpose and a step, and the schedule and
        the order of the data are functions of the counts.  Another thread may ask for it while this one is in
        `gradient`.
        """
        tensors = {f"policy.{name}": p.detach() for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{name}.{moment}": value for moment, value in moments.items()}
        counts, contents = self._settled
        replay = None if contents is None else contents.as_json()
        facts: dict[str, Any] = {**counts, "threads": sorted(self.threads), "replay": replay}
        facts["points"] = [dataclasses.asdict(point) for point in self.points]
        facts["interims"] = [interim.as_json() for interim in self.interims]
        facts["due"] = dataclasses.asdict(self.before) if self.due else None
        return State({name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}, facts)

    def restore(self, state: State) -> None:
        """Continue from a state of the same configuration."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state.tensors[f"policy.{name}"])
                prefix = f"optimizer.{name}."
                moments = {key[len(prefix) :]: t for key, t in state.tensors.items() if key.startswith(prefix)}
                self.optimizer.state[parameter] = {key: t.to(parameter.device) for key, t in moments.items()}
        self.step, self.seconds = state.facts["step"], state.facts["seconds"]
        self.meter.with_gradient = state.facts["tokens"]
        self.meter.without_gradient = state.facts.get("without_gradient", 0)  # older versions had them among the tokens
        self.meter.without_gradient -= self._proposed  # so that `without_gradient` is the state's
        self.interims = [Interim.from_json(interim) for interim in state.facts.get("interims", ())]
        self.points = [Step(**point) for point in state.facts["points"]]
        self.threads |= set(state.facts["threads"])
        if self.buffer is not None:
            self.buffer.contents = Contents.from_json(state.facts["replay"])
        self.progress = self.budget.used(self.step, self.tokens, self.seconds)
        if state.facts.get("due") is not None:
            self.due, self.before = True, Spent(**state.facts["due"])
        self._settle()


def fit(policy: Policy, trainer: Trainer, stream: ExpertStream, config: RunConfig) -> Iterator[Step]:
    """Minimise the trainer's loss on `policy`, in place, until the budget is spent; yields the points of the curve.

    Raises:
        Diverged: the loss is not finite.
    """
    training = Training(policy, trainer, stream, config)
    while not training.finished:
        point = training.advance()
        if point is not None:
            yield point


def due(config: RunConfig, before: Spent, now: Spent, *, finished: bool) -> bool:
    """True if a point at which the run is to be scored lies in (before, now]; the end is one if there are any."""
    at = config.evaluation
    passed = (
        any(before.step < point <= now.step for point in at.at_steps or ()),
        any(before.tokens < point <= now.tokens for point in at.at_tokens or ()),
        any(before.seconds < point <= now.seconds for point in at.at_seconds or ()),
    )
    return any(passed) or (finished and at.while_training)
