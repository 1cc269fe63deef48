"""Model, texts and runs that the timings share: a GPT-2 of 4 layers and width 128 on Python's documentation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer

from harness.config.run import RunConfig
from harness.config.section import Plugin
from harness.data.noise_sources import proposals
from harness.data.splits import load_splits
from harness.data.stream import ExpertStream
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.plugins.options import build, resolve
from harness.records.data import Splits
from harness.records.rollout import Trajectory
from harness.registry import TRAINERS
from harness.training.loop import Training

CONTEXT, ROWS, VOCABULARY = 128, 32, 2048
STEPS = 10**6  # a budget that no timing spends
BENCHMARK = Plugin(name="text", options={"corpus": "python-docs"})


def config(
    trainer: str | dict[str, Any] = "mle",
    *,
    backspace: bool = False,
    context: int = CONTEXT,
    rows: int = ROWS,
    steps: int = STEPS,
    dtype: str = "float32",
) -> RunConfig:
    """A run of the shared model; with `<backspace>` mistakes stand in 5 % of the places."""
    model = {"name": "gpt2", "layers": 4, "width": 128, "heads": 4, "context": context, "base_steps": 0}
    given: dict[str, Any] = {
        "benchmark": BENCHMARK.model_dump(),
        "trainer": {"name": trainer} if isinstance(trainer, str) else trainer,
        "actions": {"backspace": backspace, "noise_rate": 0.05},
        "model": {**model, "vocab_size": VOCABULARY, "dtype": dtype},
        "training": {"steps": steps, "rows": rows},
        "metrics": [],
    }
    return resolve(RunConfig.model_validate(given))


def splits() -> Splits:
    """Documentation of this Python."""
    return load_splits(BENCHMARK)


@cache
def tokenizer(vocabulary: int = VOCABULARY) -> Tokenizer:
    """Byte-level BPE of the training split."""
    return byte_level_bpe([example.text for example in splits().train], vocabulary)


def untrained(run: RunConfig, device: str) -> Policy:
    """The run's policy before its first step."""
    policy = Policy.build(run.model, tokenizer())
    if run.actions.backspace:
        policy.add_backspace()
    return policy.to(torch.device(device))


@cache
def tokens() -> tuple[int, ...]:
    """The training split, one document after another with the end between them."""
    policy = untrained(config(), "cpu")
    return tuple(token for example in splits().train for token in (*policy.encode(example.text), policy.end_id))


def windows(policy: Policy, length: int, count: int) -> list[Trajectory]:
    """Rows of exactly `length` tokens, none of them an end: the start token and a piece of the texts."""
    inner = [token for token in tokens() if token != policy.end_id]
    begins = [i * (length - 1) % (len(inner) - length) for i in range(count)]
    return [Trajectory((policy.start_id,), tuple(inner[begin : begin + length - 1])) for begin in begins]


def ending(policy: Policy, length: int, count: int) -> list[Trajectory]:
    """Rows of 16 to `length` tokens with the end, lengths uniform."""
    rows, lengths = windows(policy, length, count), range(16, length)
    return [
        Trajectory(row.prompt, (*row.actions[: lengths[37 * n % len(lengths)] - 2], policy.end_id))
        for n, row in enumerate(rows)
    ]


def training(
    run: RunConfig,
    device: str,
    *,
    length: int | None = None,
    policy: Policy | None = None,
    rows: Callable[[Policy, int, int], list[Trajectory]] = windows,
) -> Training:
    """The run's training on rows of `length` tokens (default: the context)."""
    policy = policy or untrained(run, device)
    expert = rows(policy, length or run.model.context, 512)
    propose = proposals(run.actions, policy, expert, None)
    stream = ExpertStream(expert, policy.space, run.actions, propose, context=run.model.context, seed=0)
    return Training(policy, build(TRAINERS, run.trainer, "trainer"), stream, run)


@cache
def trained(backspace: bool, device: str, steps: int = 60, *, ends: bool = False) -> Policy:
    """A policy trained enough to delete now and then: behavioural cloning with mistakes, or MLE without.

    Only with `ends` do its texts end before the context does.
    """
    run = config("bc" if backspace else "mle", backspace=backspace, rows=16, steps=steps)
    fitting = training(run, device, rows=ending if ends else windows)
    while not fitting.finished:
        fitting.advance()
    return fitting.policy


def as_it_comes(model: Any) -> Any:
    """A copy with the attention that transformers uses by default."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("sdpa")
    return copied


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall seconds of some work, an accelerator's queue included."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
