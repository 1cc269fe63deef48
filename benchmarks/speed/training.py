"""Cost of training: an MLE step beside transformers' Trainer, deletions and divergences beside an MLE step."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.speed.models import as_it_comes, config, seconds, training, untrained, windows
from harness.actions.batch import pack
from harness.actions.noise import inject, uniform
from harness.actions.weights import Weighting
from harness.models.policy import Policy
from harness.plugins.speed import Environment, SpeedComparison, Turn, Unavailable
from harness.records.rollout import Trajectory
from harness.training.loop import Training

DEVICES = ("cpu", "cuda")
STEPS = 5  # optimiser steps in a turn


def steps_per_node(run: Training, device: str, steps: int = STEPS) -> float:
    """Microseconds per node that goes through `evaluate`; those that the sampler computes are not counted."""
    before = run.meter.with_gradient
    spent = seconds(lambda: [run.advance() for _ in range(steps)], device)
    return 1e6 * spent / (run.meter.with_gradient - before)


def beside_transformers(environment: Environment) -> tuple[Turn, Turn]:
    """Tokens per second of `Training.advance` and of `transformers.Trainer`, 32 rows of 128 tokens a step."""
    if find_spec("accelerate") is None:
        raise Unavailable("transformers' Trainer needs the package accelerate: pip install accelerate")
    if environment.device == "cuda" and torch.cuda.device_count() > 1:
        raise Unavailable("transformers' Trainer divides each batch among all GPUs: set CUDA_VISIBLE_DEVICES to one")
    ours = training(config(), environment.device)
    model = as_it_comes(ours.policy.model)
    rows = [(*row.prompt, *row.actions) for row in windows(ours.policy, 128, 512)]
    return (
        lambda: 1e6 / steps_per_node(ours, environment.device, 2 * STEPS),
        lambda: _trainer(model, rows, environment, 2 * STEPS),
    )


def _trainer(model: Any, rows: list[tuple[int, ...]], environment: Environment, steps: int) -> float:
    """Tokens per second of the Trainer's own loop, its first step and all of its start left out."""
    import transformers

    marks: list[float] = []

    class Marks(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if environment.device == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    arguments = transformers.TrainingArguments(
        output_dir=str(environment.folder),
        max_steps=steps + 1,
        per_device_train_batch_size=32,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        weight_decay=0.01,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=environment.device == "cpu",
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=20,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in rows]
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=transformers.default_data_collator,
        callbacks=[Marks()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return steps * 32 * 128 / (marks[-1] - marks[0])


TRANSFORMERS = SpeedComparison(
    "MLE training, 32 x 128", "transformers.Trainer", "tokens/s", 1.05, "higher", beside_transformers, DEVICES
)


def packed(length: int) -> Callable[[Environment], tuple[Turn, Turn]]:
    """Packing, forward and backward pass of rows with 5 % deleted nodes, and of plain rows of as many nodes."""

    def prepare(environment: Environment) -> tuple[Turn, Turn]:
        count = 4096 // length
        policy = untrained(config(backspace=True, context=length), environment.device)
        plain, noisy = windows(policy, length, count), deleting(policy, length, count)
        return lambda: step(policy, noisy, environment.device), lambda: step(policy, plain, environment.device)

    return prepare


def deleting(policy: Policy, length: int, count: int) -> list[Trajectory]:
    """Rows of about `length` nodes, of which 5 % are deleted again."""
    clean = windows(policy, round(length / 1.05), count)
    rngs = [np.random.default_rng(n) for n in range(count)]
    return inject(clean, rngs, policy.space, uniform(policy.space), rate=0.05, run=1, context=length)


def step(policy: Policy, rows: list[Trajectory], device: str, repeats: int = 3) -> float:
    """Microseconds per node of packing, forward and backward pass, without the optimiser."""
    nodes = pack(rows, policy.space, Weighting(kind="uniform")).nodes

    def work() -> None:
        for _ in range(repeats):
            once()

    def once() -> None:
        batch = pack(rows, policy.space, Weighting(kind="uniform")).to(policy.device)
        (-(batch.weight * policy.evaluate(batch).log_prob).sum(1).mean()).backward()  # type: ignore[no-untyped-call]
        policy.model.zero_grad(set_to_none=True)

    return 1e6 * seconds(work, device) / (nodes * repeats)


PACKED_256 = SpeedComparison(
    "step with deletions, T = 256", "our plain step", "us/node", 1.10, "lower", packed(256), DEVICES
)
PACKED_1024 = SpeedComparison(
    "step with deletions, T = 1,024", "our plain step", "us/node", 1.20, "lower", packed(1024), DEVICES
)

# --------------------------------------------------------------------------------------------------- divergences

MIXTURE = {"name": "sequence_match", "divergence": "chi2_mixture"}


def mixture_step(environment: Environment) -> tuple[Turn, Turn]:
    """chi2_mixture with `<backspace>`, rollouts sampled once before, and MLE on as many processed nodes."""
    mixture = training(config({**MIXTURE, "buffer_every": 10**6}, backspace=True), environment.device)
    mle = training(config(rows=64), environment.device)
    mixture.advance()
    return lambda: steps_per_node(mixture, environment.device), lambda: steps_per_node(mle, environment.device)


def mixture_run(environment: Environment) -> tuple[Turn, Turn]:
    """A cycle of 25 steps with its 64 fresh rollouts, computed from one step that samples and four that do not."""
    mixture = training(config({**MIXTURE, "buffer_every": STEPS}, backspace=True), environment.device)
    mle = training(config(rows=64), environment.device)

    def cycle() -> float:
        assert mixture.step % STEPS == 0
        before = mixture.meter.with_gradient
        first = seconds(mixture.advance, environment.device)
        others = seconds(lambda: [mixture.advance() for _ in range(STEPS - 1)], environment.device) / (STEPS - 1)
        return 1e6 * (first + 24 * others) / (25 * (mixture.meter.with_gradient - before) / STEPS)

    return cycle, lambda: steps_per_node(mle, environment.device)


def data_only(environment: Environment) -> tuple[Turn, Turn]:
    """kl_mixture, which needs no rollouts, and MLE on the same rows."""
    divergence = training(config({"name": "sequence_match", "divergence": "kl_mixture"}), environment.device)
    mle = training(config(), environment.device)
    return lambda: steps_per_node(divergence, environment.device), lambda: steps_per_node(mle, environment.device)


MIXTURE_STEP = SpeedComparison(
    "chi2_mixture + <backspace> step", "our MLE step", "us/node", 1.10, "lower", mixture_step, DEVICES
)
MIXTURE_RUN = SpeedComparison(
    "chi2_mixture + <backspace> run, sampling included", "our MLE run", "us/node", 1.40, "lower", mixture_run, DEVICES
)
DATA_ONLY = SpeedComparison("data-only divergence run", "our MLE run", "us/node", 1.08, "lower", data_only, DEVICES)
