"""Read this file first: one run, from configuration to scores."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch

from harness.config.run import RunConfig
from harness.data.checks import check_characters, check_whole
from harness.data.noise_sources import proposals
from harness.data.splits import HeldOut, load_splits
from harness.data.stream import ExpertStream
from harness.data.windows import training_rows
from harness.evaluation.controls import CONTROLS, control_policy
from harness.evaluation.evaluate import evaluate
from harness.evaluation.features import Features
from harness.evaluation.scoring import profiles, score
from harness.evaluation.temperature import ChosenTemperature, best_temperature, temperature_needs_reference
from harness.evaluation.token_scorer import choose_token_scorer
from harness.generation.prompts import choose_prompts
from harness.models.initial import start_policy
from harness.models.policy import Policy
from harness.plugins.options import build
from harness.plugins.trainer import Trainer
from harness.records.data import Splits
from harness.records.evaluation import TokenScorer
from harness.records.events import Event, Results, Resumed, StageProgress
from harness.records.progress import Stage
from harness.records.score import Score
from harness.records.training import Interim, Step
from harness.registry import TRAINERS
from harness.system.failpoints import failpoint
from harness.system.provenance import peak_memory_bytes, provenance
from harness.training.base_model import prepare_base, reference_config
from harness.training.loop import Training
from harness.training.resume import Attempt, train
from harness.training.trained_policies import Origin, find, keep, policy_folder


def run(config: RunConfig, device: torch.device, attempt: Attempt) -> Iterator[Event]:
    """Train and evaluate one cell; says how far which stage is, what is to be stored, and last its results.

    data -> shared base -> policy -> training, or the policy that it left before -> rollouts -> scores.
    """
    began = time.perf_counter()
    splits = load_splits(config.benchmark)
    cache = attempt.folder / "cache"

    base = None
    if config.model.from_scratch and config.control is None:
        base = yield from _staged(prepare_base(config, splits, cache, device))
    reference = None
    asked = any(metric.options.get("featuriser") == "reference-lm" for metric in config.metrics or ())
    if temperature_needs_reference(config) or asked:
        reference = yield from _staged(prepare_base(reference_config(config), splits, cache, device))
    features = Features(reference, device)

    kept = policy_folder(attempt.folder, config)
    origin: Origin | None = None
    if config.control is not None:
        policy = control_policy(config, splits, device)
    else:
        found = find(kept, config, splits.data_hash, device, lambda: start_policy(config, base, device))
        policy, origin = found or (start_policy(config, base, device), None)
    check_whole(splits, config, policy)
    held_out = HeldOut(splits)
    held = held_out.of(config.evaluation.split) if config.control is None else held_out.both()
    prompts = choose_prompts(policy, held.prompts, config.sampling)
    if splits.law is not None:
        check_characters(policy, splits.law, (*splits.test, *splits.validation))

    threads: Sequence[int] | None = None
    if origin is not None:
        threads = origin.threads
        yield Resumed(0)  # nothing of the attempts before counts
        yield from origin.steps
        yield from origin.interims
    elif config.control is None:
        training = _training(config, policy, splits)
        for event in train(training, attempt):
            yield event
            if (
                isinstance(event, StageProgress) and training.due
            ):  # before the step is saved: a checkpoint has its scores
                token_scorer = choose_token_scorer(policy, splits.law, base, config.model)
                training.interims.append(_interim(training, policy, held_out, features, token_scorer))
                yield training.interims[-1]
        threads = sorted(training.threads)
        if not config.untrained:  # else it is what was loaded, and lies there already
            origin = keep(policy, kept, config, training.points, splits.data_hash, training.interims, threads)

    yield StageProgress("sample", 0.0)
    tuned: ChosenTemperature | None = None
    if config.sampling.temperature == "best":
        tuned = yield from _shares("sample", best_temperature(policy, held_out.of("validation"), config, features))
    written = config if tuned is None else config.at_temperature(tuned.temperature)
    if config.control is not None:
        evaluation = CONTROLS[config.control](policy, held, prompts, written, features)
    else:
        token_scorer = choose_token_scorer(policy, splits.law, base, config.model)
        evaluation = evaluate(policy, held, prompts, written, features, token_scorer)
    metrics = config.metrics or ()
    scores: list[Score] = []
    yield StageProgress("score", 0.0)
    for one in score(evaluation, metrics):
        scores.append(one)
        yield StageProgress("score", 0.0)  # a sign of life: a metric may take long
    if tuned is not None:
        scores.append(tuned.as_score(evaluation.texts_hash))
    curves = tuple(profiles(evaluation, metrics))
    last = None if origin is None else origin.last
    tokens = _tokens(last)
    facts = {
        **provenance(threads=torch.get_num_threads()),
        "device": str(device),
        "data_hash": splits.data_hash,
        "base": None if base is None else base.name,
        "parameters": None if origin is None else sum(p.numel() for p in policy.parameters().values()),
        "head_untied": policy.untied,
        "policy": None if origin is None else {"train_id": config.train_id, "sha256": origin.sha256},
        "splits_read": dict(held_out.read),
        "trained_by": None if origin is None else origin.run_id,
        "training_threads": threads,
        "tokens": tokens,
        "evaluated_tokens": tokens["with_gradient"] + tokens["without_gradient"],
        "sampled_actions": 0 if last is None else int(last.terms.get("sampled_actions", 0)),
        "training_seconds": 0.0 if last is None else last.seconds,
        "temperature": None if tuned is None else tuned.facts(),
        "seconds": time.perf_counter() - began,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    failpoint("results.computed")
    yield Results(tuple(scores), curves, evaluation.prompts, evaluation.rollouts, evaluation.backspace_id, facts)


def _training(config: RunConfig, policy: Policy, splits: Splits) -> Training:
    trainer: Trainer = build(TRAINERS, config.trainer, "trainer")
    expert = training_rows(splits, policy)
    propose = proposals(config.actions, policy, expert, splits.mistake)
    stream = ExpertStream(
        expert, policy.space, config.actions, propose, context=policy.context, seed=config.seeds.train
    )
    return Training(policy, trainer, stream, config)


def _interim(
    training: Training, policy: Policy, held_out: HeldOut, features: Features, token_scorer: TokenScorer
) -> Interim:
    """The policy's scores as it is now, on the validation split; nothing of what trains is changed."""
    held, config = held_out.of("validation"), training.config
    prompts = choose_prompts(policy, held.prompts, config.sampling)
    evaluation = evaluate(policy, held, prompts, config, features, token_scorer)
    return Interim(training.spent, training.before, tuple(score(evaluation, config.interim_metrics)))


def _tokens(last: Step | None) -> dict[str, int]:
    """What went through the model until the last step: with a gradient, without one, and in the sampler."""
    if last is None:
        return dict.fromkeys(("with_gradient", "without_gradient", "sampler"), 0)
    looked, sampled = (int(last.terms.get(f"tokens_{name}", 0)) for name in ("without_gradient", "sampled"))
    return {"with_gradient": last.tokens - looked - sampled, "without_gradient": looked, "sampler": sampled}


def _staged(steps: Generator[Step, None, Path]) -> Generator[StageProgress, None, Path]:
    """The steps of a shared model's training as progress; returns what they return."""
    try:
        while True:
            yield StageProgress("base", next(steps).progress)
    except StopIteration as stop:
        path: Path = stop.value
        return path


def _shares(
    stage: Stage, shares: Generator[float, None, ChosenTemperature]
) -> Generator[StageProgress, None, ChosenTemperature]:
    """A stage's shares as progress; returns what they return."""
    try:
        while True:
            yield StageProgress(stage, next(shares))
    except StopIteration as stop:
        tuned: ChosenTemperature = stop.value
        return tuned
