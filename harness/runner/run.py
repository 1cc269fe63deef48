"""Read this file first: one run, from configuration to scores; the policy comes from `policy_source.py`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.config.run import RunConfig
from harness.data.checks import check_texts
from harness.data.splits import HeldOut, load_splits
from harness.evaluation.features import Features
from harness.evaluation.scoring import profiles, score
from harness.evaluation.temperature import ChosenTemperature, best_temperature, temperature_needs_reference
from harness.generation.prompts import choose_prompts
from harness.models.policy import Policy
from harness.plugins.metric import REFERENCE_LM
from harness.records.data import Splits
from harness.records.evaluation import Evaluation
from harness.records.events import Event, Results, StageProgress
from harness.records.score import Score
from harness.records.training import Step
from harness.runner.policy_source import Learned, policy_source
from harness.system.failpoints import failpoint
from harness.system.provenance import peak_memory_bytes, provenance
from harness.training.base_model import prepare_base, reference_config
from harness.training.resume import Attempt


def run(config: RunConfig, device: torch.device, attempt: Attempt) -> Iterator[Event]:
    """Compute one cell: data -> shared models -> policy -> training -> rollouts -> scores.

    Yields how far which stage is and what is to be stored, and last the results.
    """
    began = time.perf_counter()
    yield StageProgress("load", 0.0)
    splits = load_splits(config.benchmark)
    features = yield from _features(config, splits, attempt.folder, device)
    source = yield from policy_source(config, splits, attempt.folder, device)
    policy = source.policy
    check_texts(splits, config, policy)
    held_out = HeldOut(splits)
    held = source.held(held_out)
    prompts = choose_prompts(policy, held.prompts, config.sampling)

    learned = yield from source.train(attempt, held_out, features)

    yield StageProgress("sample", 0.0)
    tuned = yield from _temperature(config, policy, held_out, features)
    sampled_as = config if tuned is None else config.at_temperature(tuned.temperature)
    report = partial(_sampled, attempt)
    evaluation = source.evaluate(held, prompts, sampled_as, features, report)

    scores = yield from _scores(config, evaluation, tuned)
    curves = tuple(profiles(evaluation, config.metrics or ()))
    facts = {
        **provenance(threads=torch.get_num_threads()),
        "device": str(device),
        "data_hash": splits.data_hash,
        "base": None if source.base is None else source.base.name,
        "head_untied": policy.untied,
        "lora": None if policy.layers is None else vars(policy.layers),
        "splits_read": dict(held_out.read),
        **_training_facts(config, policy, learned),
        "temperature": None if tuned is None else tuned.facts(),
        "seconds": time.perf_counter() - began,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    failpoint("results.computed")
    yield Results(scores, curves, evaluation.prompts, evaluation.rollouts, evaluation.backspace_id, facts)


def _sampled(attempt: Attempt, share: float) -> None:
    """Report the share of the rollouts that is done."""
    attempt.report(StageProgress("sample", share))


def _features(
    config: RunConfig, splits: Splits, folder: Path, device: torch.device
) -> Generator[StageProgress, None, Features]:
    """Features of texts; trains the benchmark's reference LM where one is asked for and not cached."""
    asked = any(metric.options.get("featuriser") == REFERENCE_LM for metric in config.metrics or ())
    reference = None
    if asked or temperature_needs_reference(config):
        reference = yield from prepare_base(reference_config(config), splits, folder / "cache", device, "reference")
    return Features(reference, device, folder / "cache")


def _temperature(
    config: RunConfig, policy: Policy, held_out: HeldOut, features: Features
) -> Generator[StageProgress, None, ChosenTemperature | None]:
    """The temperature that the validation split chooses; None where the configuration names one."""
    if config.sampling.temperature != "best":
        return None
    return (yield from best_temperature(policy, held_out.of("validation"), config, features))


def _scores(
    config: RunConfig, evaluation: Evaluation, tuned: ChosenTemperature | None
) -> Generator[StageProgress, None, tuple[Score, ...]]:
    """Scores of the run's metrics, and the chosen temperature as one more."""
    metrics, scores = config.metrics or (), list[Score]()
    for done, metric in enumerate(metrics):
        yield StageProgress("score", done / len(metrics))
        scores += score(evaluation, [metric])
    if tuned is not None:
        scores.append(tuned.as_score(evaluation.texts_hash))
    return tuple(scores)


def _training_facts(config: RunConfig, policy: Policy, learned: Learned) -> dict[str, Any]:
    """The part of the provenance that training decides; its tokens, actions and seconds are 0 where there was none."""
    origin = learned.origin
    last = None if origin is None else origin.last
    tokens = _tokens(last)
    kept: dict[str, Any] = {"parameters": None, "policy": None, "trained_by": None}
    if origin is not None:
        kept = {
            "parameters": sum(parameter.numel() for parameter in policy.parameters().values()),
            "policy": {"train_id": config.train_id, "sha256": origin.sha256},
            "trained_by": origin.run_id,
        }
    return {
        **kept,
        "training_threads": learned.threads,
        "tokens": tokens,
        "evaluated_tokens": tokens["with_gradient"] + tokens["without_gradient"],
        "sampled_actions": 0 if last is None else int(last.terms.get("sampled_actions", 0)),
        "training_seconds": 0.0 if last is None else last.seconds,
    }


def _tokens(last: Step | None) -> dict[str, int]:
    """Tokens through the model until the last step: with a gradient, without one, and in the sampler."""
    if last is None:
        return dict.fromkeys(("with_gradient", "without_gradient", "sampler"), 0)
    without_gradient, sampled = (int(last.terms.get(f"tokens_{name}", 0)) for name in ("without_gradient", "sampled"))
    with_gradient = last.tokens - without_gradient - sampled
    return {"with_gradient": with_gradient, "without_gradient": without_gradient, "sampler": sampled}
