"""Cost of sampling: our sampler, with `<backspace>` and without, beside transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import torch

from benchmarks.speed.models import CONTEXT, as_it_comes, seconds, trained
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy
from harness.plugins.speed import Environment, SpeedComparison, Turn

DEVICES = ("cpu", "cuda")


def beside_generate(rows: int, backspace: bool, ends: bool) -> Callable[[Environment], tuple[Turn, Turn]]:
    """Actions per second of `sample` and tokens per second of `generate`, texts of up to 127 tokens."""

    def prepare(environment: Environment) -> tuple[Turn, Turn]:
        policy, plain = (trained(deletes, environment.device, ends=ends) for deletes in (backspace, False))
        seeds = count()
        model = as_it_comes(plain.model)
        return (
            lambda: actions_per_second(policy, rows, next(seeds), environment.device),
            lambda: _generate(plain, model, rows, environment.device),
        )

    return prepare


def actions_per_second(policy: Policy, rows: int, seed: int, device: str) -> float:
    """Actions per second of `rows` rollouts from the empty prompt, deletions included."""
    found: list[int] = []

    def work() -> None:
        rollouts = sample(policy, [Start((policy.start_id,))] * rows, seed=seed)
        found.append(sum(len(rollout.trajectory.actions) for rollout in rollouts))

    return 1 / seconds(work, device) * found[0]


def _generate(policy: Policy, model: Any, rows: int, device: str) -> float:
    ids = torch.full((rows, 1), policy.start_id, device=policy.device)
    found: list[int] = []

    def work() -> None:
        texts = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            max_new_tokens=CONTEXT - 1,
            eos_token_id=policy.end_id,
            pad_token_id=policy.end_id,
        )[:, 1:]
        ended = (texts == policy.end_id).cumsum(1)
        found.append(int(((ended == 0) | ((ended == 1) & (texts == policy.end_id))).sum()))

    return 1 / seconds(work, device) * found[0]


def _row(rows: int, backspace: bool, target: float, *, ends: bool = False) -> SpeedComparison:
    return SpeedComparison(
        f"sampling {'with' if backspace else 'without'} <backspace>, {rows} rows{' that end' * ends}",
        "transformers generate",
        "actions/s",
        target,
        "higher",
        beside_generate(rows, backspace, ends),
        DEVICES,
    )


SAMPLE_64, SAMPLE_256 = _row(64, False, 2.0), _row(256, False, 2.0)
BACKSPACE_64, BACKSPACE_256 = _row(64, True, 1.6), _row(256, True, 1.6)
# Those above write until the context is full, all rows alike; these end sooner or later, as real texts do.
SAMPLE_ENDING = _row(64, False, 2.0, ends=True)
