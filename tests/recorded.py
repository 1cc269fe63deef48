"""Loss traces and rollouts for fixed seeds: `python tests/recorded.py` writes them, `test_recorded.py` compares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_policies import tiny_policy

from harness.config.run import RunConfig
from harness.data.noise_sources import proposals
from harness.data.stream import ExpertStream
from harness.data.windows import rows
from harness.generation.decoders import Contrastive, Decoder, Greedy
from harness.generation.rollouts import Start, sample
from harness.plugins.options import build, resolve
from harness.records import Example, Rollout
from harness.registry import TRAINERS
from harness.training.loop import Training

FILE = Path(__file__).parent / "recorded.json"
STEPS = 24
TRAINED: dict[str, dict[str, Any]] = {
    "mle": {"name": "mle"},
    "bc": {"name": "bc"},
    "td_mle": {"name": "td_mle", "value": "reference"},
    "chi2_mixture": {"name": "sequence_match", "alpha": 1.0, "buffer_size": 12, "buffer_fresh": 6, "buffer_every": 5},
    "kl_mixture": {"name": "sequence_match", "divergence": "kl_mixture", "alpha": 0.1, "value": "logsumexp"},
    "js": {"name": "sequence_match", "divergence": "js", "alpha": 0.1},
}
DECODERS = {
    "ancestral": Decoder(),
    "shaped": Decoder(temperature=0.7, top_p=0.9),
    "greedy": Greedy(),
    "contrastive": Contrastive(4, 0.6),
}


def digits(value: float) -> float:
    """Nine of them."""
    return float(f"{value:.9g}")


def training(trainer: dict[str, Any], backspace: bool, dtype: str) -> Training:
    """A tiny policy that learns words of six letters."""
    config = resolve(
        RunConfig.model_validate(
            {
                "benchmark": {"name": "language"},
                "trainer": trainer,
                "actions": {"backspace": backspace, "noise_rate": 0.2, "noise_kind": "uniform", "noise_run": 2}
                if backspace
                else {},
                "model": {"name": "gpt2", "layers": 2, "width": 16, "heads": 2, "tokenizer": "characters",
                          "context": 24, "dtype": dtype},
                "training": {"steps": STEPS, "rows": 5, "lr": 3e-3, "accumulation": 2},
            }
        )
    )  # fmt: skip
    policy = tiny_policy(backspace=backspace, dtype=dtype, seed=7)
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef"), size=rng.integers(1, 23))) for _ in range(40)]
    expert = rows([Example(text) for text in texts], policy)
    stream = ExpertStream(
        expert,
        policy.space,
        config.actions,
        proposals(config.actions, policy, expert, None),
        context=policy.context,
        seed=3,
    )
    return Training(policy, build(TRAINERS, config.trainer, "trainer"), stream, config)


def losses(trainer: dict[str, Any], backspace: bool, dtype: str) -> list[float]:
    """The loss after each step."""
    run = training(trainer, backspace, dtype)
    while not run.finished:
        run.advance()
    return [digits(point.loss) for point in run.points]


def rollouts(name: str, decoder: str, backspace: bool, epsilon: float) -> list[dict[str, Any]]:
    """Rollouts of an untrained policy from prompts of several lengths, some with given tokens."""
    policy = tiny_policy(name, backspace=backspace, seed=3)
    rng = np.random.default_rng(0)
    letters = [policy.encode(letter)[0] for letter in "abcdef"]
    starts = []
    for n in range(20):
        prompt = (policy.start_id, *rng.choice(letters, size=n % 4).tolist())
        starts.append(Start(prompt, tuple(rng.choice(letters, size=2).tolist()) if n % 3 == 0 else ()))
    found = sample(policy, starts, seed=1, decoder=DECODERS[decoder], epsilon=epsilon, candidates=2, max_actions=40)
    return [digested(rollout) for rollout in found]


def digested(rollout: Rollout) -> dict[str, Any]:
    """A rollout as JSON values; numbers that belong together as one sum."""
    return {
        "actions": list(rollout.trajectory.actions),
        "stop": rollout.stop,
        "text": rollout.text,
        "log_prob": digits(math.fsum(rollout.log_probs)),
        "candidates": digits(math.fsum(p * (1 + a) for top in rollout.candidates for a, _, p in top)),
    }


def cases() -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """Every case's name, and what computes it as JSON values."""
    for name, trainer in TRAINED.items():
        for backspace in (False, True):
            for dtype in ("float64", "float32"):
                yield f"losses {name}{' backspace' * backspace} {dtype}", partial(losses, trainer, backspace, dtype)
    for name, decoder, backspace, epsilon in product(("gpt2", "llama"), DECODERS, (False, True), (0.0, 0.3)):
        key = f"rollouts {name} {decoder}{' backspace' * backspace} {epsilon}"
        yield key, partial(rollouts, name, decoder, backspace, epsilon)


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps({name: compute() for name, compute in cases()}, separators=(",", ":")) + "\n")
