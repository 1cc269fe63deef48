"""The one training loop, a generator of steps: every trainer goes through it, and only its loss differs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from harness.actions import ActionValues, Batch, pack
from harness.config import RunConfig, TrainingConfig
from harness.data import ExpertStream, Normalizer
from harness.errors import HarnessError
from harness.plugins import Moment, Trainer
from harness.policy import Policy
from harness.records import Step, Trajectory
from harness.replay import ReplayBuffer, StartMeasure
from harness.streams import key

CURVE_POINTS = 50  # a curve has about this many points, whatever the budget


class Diverged(HarnessError):
    """The loss is no longer a number."""

    exit_code = 1


@dataclass
class Meter:
    """Counts every node that goes through `evaluate`, so that a trainer's cost is measured, never declared."""

    policy: Policy
    reference: Policy | None
    tokens: int = 0

    def evaluate(self, batch: Batch, reference: bool = False) -> ActionValues:
        """Action values under the policy, or without gradient under the frozen reference."""
        twice = not reference and self.policy.reference is not None  # its value is measured against a frozen one
        self.tokens += batch.nodes * (2 if twice else 1)
        if not reference:
            return self.policy.evaluate(batch)
        if self.reference is None:
            raise HarnessError("this trainer evaluates a reference that its `needs` does not name; set reference")
        with torch.no_grad():
            return self.reference.evaluate(batch)


@dataclass(frozen=True)
class Budget:
    """How much of a run's budget is used, in its own unit."""

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


def fit(policy: Policy, trainer: Trainer, stream: ExpertStream, config: RunConfig) -> Iterator[Step]:
    """Minimise the trainer's loss on `policy`, in place, until the budget is spent.

    Yields about `CURVE_POINTS` steps, the first and the last among them; `terms` are means over the step's
    micro-batches, with the sampler's actions so far and the rollouts' age where the trainer has rollouts.

    Raises:
        Diverged: the loss is not finite.
    """
    needs, training, seed = trainer.needs, config.training, config.seeds.train
    policy.set_scope(training.scope)
    policy.set_value(needs.value)
    reference = None
    if needs.reference is not None:
        frozen = needs.reference == "start"
        reference = policy.frozen_copy() if frozen else Policy.load(needs.reference, policy.context, policy.dtype)
        reference.to(policy.device)
    normalizer = Normalizer(stream.expert, needs.weighting)
    buffer = None
    if needs.rollouts is not None:
        replay = needs.rollouts
        noise = stream.noise
        starts = StartMeasure(
            stream.expert,
            needs.weighting,
            replay.start,
            noise.noise_rate,
            noise.noise_run,
            stream.propose,
            policy.context,
        )
        buffer = ReplayBuffer(replay, starts, seed)
    meter, budget = Meter(policy, reference), Budget(training)
    parameters = list(policy.parameters().values())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=training.lr,
        fused=True,
    )

    def batch(step_rows: list[Trajectory], part: np.ndarray, *, is_expert: bool) -> Batch:
        scale = 1.0 if buffer is None or is_expert else buffer.starts.mass
        weights = torch.float64 if policy.dtype == "float64" else torch.float32
        packed = pack(
            [step_rows[i] for i in part],
            policy.space,
            needs.weighting,
            is_expert=is_expert,
            normalizer=normalizer.of(step_rows),
            scale=scale,
            dtype=weights,
        )
        return packed.to(policy.device)

    step, seconds, progress, marked = 0, 0.0, budget.used(0, 0, 0.0), -1
    while progress < 1:
        began = time.perf_counter()
        lr = budget.learning_rate(progress)
        for group in optimizer.param_groups:
            group["lr"] = lr
        expert = stream.batch(step * training.rows, training.rows)
        rollouts: list[Trajectory] = []
        age = 0.0
        if buffer is not None:
            buffer.refresh(policy, step)
            rollouts, age = buffer.draw(training.rows, step)
        moment = Moment(progress, torch.Generator().manual_seed(key(seed, "loss", step) >> 1))
        total = torch.zeros((), device=policy.device)
        terms: dict[str, torch.Tensor] = {}
        shares: dict[str, float] = {}  # a term may be missing where a micro-batch has nothing to say about it
        for part in np.array_split(np.arange(training.rows), training.accumulation):
            share = len(part) / training.rows
            loss = trainer.loss(
                meter.evaluate,
                batch(expert, part, is_expert=True),
                batch(rollouts, part, is_expert=False) if buffer is not None else None,
                moment,
            )
            (loss.total * share).backward()  # type: ignore[no-untyped-call]
            total = total + loss.total.detach() * share
            for name, value in loss.terms.items():
                terms[name] = terms.get(name, torch.zeros(())) + torch.as_tensor(value).detach() * share
                shares[name] = shares.get(name, 0.0) + share
        torch.nn.utils.clip_grad_norm_(parameters, training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        seconds += time.perf_counter() - began
        progress = budget.used(step, meter.tokens, seconds)
        mark = int(progress * CURVE_POINTS)
        if mark != marked or progress >= 1:
            marked = mark
            value = float(total)
            if not math.isfinite(value):
                raise Diverged(
                    f"the loss is {value} after {step} steps; lower training.lr (model.base_lr where it is a base's) "
                    "or trainer.alpha"
                )
            named = {name: float(term) / shares[name] for name, term in terms.items()}
            if buffer is not None:
                named |= {"rollout_age": age, "sampled_actions": float(buffer.sampled_actions)}
            yield Step(step, meter.tokens, seconds, value, lr, named, progress)
