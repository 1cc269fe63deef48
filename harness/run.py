"""Read this file first: one run from configuration to scores, and a grid of them.

`harness/supervisor.py` has the runs computed, each in a process that may be killed at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from harness.attempt import Attempt, train
from harness.bases import prepare_base, reference_config, start_policy
from harness.choosing import selection
from harness.config import Plugin, RunConfig
from harness.controls import CONTROLS, control_policy, controls
from harness.data import ExpertStream, check_whole, training_rows
from harness.errors import ConfigError, did_you_mean
from harness.evaluate import choose_prompts, evaluate
from harness.events import At, Event, Results, Resumed
from harness.exact import check_characters
from harness.failpoints import failpoint
from harness.features import Features
from harness.fit import Training
from harness.grid import Grid
from harness.held_out import HeldOut
from harness.interim import Interim
from harness.judges import choose_judge
from harness.noise import proposals
from harness.plugins import Trainer, build
from harness.policies import Origin, find, keep, policy_folder
from harness.policy import Policy
from harness.provenance import peak_memory_bytes, provenance
from harness.records import Judge, Progress, Score, Splits, Stage, Step
from harness.registry import BENCHMARKS, TRAINERS
from harness.scoring import profiles, score
from harness.store import Store
from harness.supervisor import DEFAULT, Rules, supervise
from harness.tuning import Tuned, best_temperature, needs_reference


def check(grid: Grid) -> list[RunConfig]:
    """Every cell of a grid with all options written out, its controls last, or why one could not run."""
    cells = grid.expand()
    return check_cells([*cells, *controls(cells)] if grid.controls else cells)


def check_cells(cells: list[RunConfig]) -> list[RunConfig]:
    """The cells, or why one could not run."""
    for config in cells:
        build(TRAINERS, config.trainer, "trainer")
        name = config.model.name
        if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
            raise ConfigError(f"model.name={name!r}: no such directory; give one with config.json and weights")
        splits = load_splits(config.benchmark)
        if config.actions.noise_kind == "ground_truth" and splits.mistake is None:
            raise ConfigError(
                f"actions.noise_kind=ground_truth: benchmark {config.benchmark.name!r} knows no ground truth; "
                "use uniform, unigram or policy"
            )
        check_whole(splits, config)
        if config.sampling.temperature == "best":
            selection(config)
        _check_interim(config)
        _check_validation(config, splits)
    return cells


def _check_validation(config: RunConfig, splits: Splits) -> None:
    """Refuse what reads the validation split where that has too few prompts."""
    best, evaluation = config.sampling.temperature == "best", config.evaluation
    n = len(splits.tuning_prompts)
    if (best or evaluation.split == "validation" or evaluation.while_training) and n < 2:
        raise ConfigError(
            f"benchmark {config.benchmark.name!r}: the validation split gives {n} prompt(s), wanted at least 2 for "
            f"{'sampling.temperature=best' if best else 'scores on it'}; raise benchmark.validation, lower "
            "benchmark.prompt_words, or do without: controls: false, a temperature, no tuning, no evaluation.at_ points"
        )


def _check_interim(config: RunConfig) -> None:
    """Refuse scores while training that could not be computed."""
    known = [metric.name for metric in config.metrics or ()]
    for name in config.evaluation.at_metrics or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"evaluation.at_metrics: {name!r} is none of the run's metrics; {hint}")
    if config.evaluation.while_training and config.sampling.temperature == "best":
        raise ConfigError(
            "sampling.temperature=best is chosen for a trained policy, so there are no scores while it trains; write a "
            "temperature, or remove the evaluation.at_ points"
        )


def run_grid(
    cells: Sequence[RunConfig],
    store: Store,
    *,
    grid_name: str,
    rules: Rules = DEFAULT,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, None]:
    """Run every cell that is not done, failed ones included; the same call again continues.

    Cells that another process holds are waited for, and taken over if it falls silent.  Stop reading, or let
    `stopping` say True, and the cells at hand are saved and given back.
    """
    store.enqueue(grid_name, cells)
    store.retry([config.run_id for config in cells])
    done = store.runs(grid_name, "done").set_index("run_id")["data_hash"].to_dict()
    for position, config in enumerate(cells, start=1):
        if config.run_id in done:
            message = _changed(config, done[config.run_id])
            yield Progress(config.run_id, position, len(cells), "skipped", 1.0, message, config.label)
    yield from supervise(store, rules, cells, stopping)


def _changed(config: RunConfig, data_hash: str) -> str:
    """A warning where a finished cell saw other data than its benchmark gives today."""
    now = load_splits(config.benchmark).data_hash
    same = data_hash == now
    message = f"done before, on other data ({data_hash}, now {now}); to run it again, give a --store in another folder"
    return "" if same else message


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
    if needs_reference(config) or any(m.options.get("featuriser") == "reference-lm" for m in config.metrics or ()):
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
            if isinstance(event, At) and training.due:  # before the step is saved: a checkpoint has its scores
                judge = choose_judge(policy, splits.law, base, config.model)
                training.interims.append(_interim(training, policy, held_out, features, judge))
                yield training.interims[-1]
        threads = sorted(training.threads)
        if not config.untrained:  # else it is what was loaded, and lies there already
            origin = keep(policy, kept, config, training.points, splits.data_hash, training.interims, threads)

    yield At("sample", 0.0)
    tuned: Tuned | None = None
    if config.sampling.temperature == "best":
        tuned = yield from _shares("sample", best_temperature(policy, held_out.of("validation"), config, features))
    written = config if tuned is None else config.at_temperature(tuned.temperature)
    if config.control is not None:
        evaluation = CONTROLS[config.control](policy, held, prompts, written, features)
    else:
        judge = choose_judge(policy, splits.law, base, config.model)
        evaluation = evaluate(policy, held, prompts, written, features, judge)
    metrics = config.metrics or ()
    scores: list[Score] = []
    yield At("score", 0.0)
    for one in score(evaluation, metrics):
        scores.append(one)
        yield At("score", 0.0)  # a sign of life: a metric may take long
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
    yield Results(tuple(scores), curves, tuple(evaluation.prompts), tuple(evaluation.rollouts), facts)


def _training(config: RunConfig, policy: Policy, splits: Splits) -> Training:
    trainer: Trainer = build(TRAINERS, config.trainer, "trainer")
    expert = training_rows(splits, policy)
    propose = proposals(config.actions, policy, expert, splits.mistake)
    stream = ExpertStream(
        expert, policy.space, config.actions, propose, context=policy.context, seed=config.seeds.train
    )
    return Training(policy, trainer, stream, config)


def _interim(training: Training, policy: Policy, held_out: HeldOut, features: Features, judge: Judge) -> Interim:
    """The policy's scores as it is now, on the validation split; nothing of what trains is changed."""
    held, config = held_out.of("validation"), training.config
    prompts = choose_prompts(policy, held.prompts, config.sampling)
    evaluation = evaluate(policy, held, prompts, config, features, judge)
    return Interim(training.spent, training.before, tuple(score(evaluation, config.interim_metrics)))


def _tokens(last: Step | None) -> dict[str, int]:
    """What went through the model until the last step: with a gradient, without one, and in the sampler."""
    if last is None:
        return dict.fromkeys(("with_gradient", "without_gradient", "sampler"), 0)
    looked, sampled = (int(last.terms.get(f"tokens_{name}", 0)) for name in ("without_gradient", "sampled"))
    return {"with_gradient": last.tokens - looked - sampled, "without_gradient": looked, "sampler": sampled}


def _staged(steps: Generator[Step, None, Path]) -> Generator[At, None, Path]:
    """The steps of a shared model's training as progress; returns what they return."""
    try:
        while True:
            yield At("base", next(steps).progress)
    except StopIteration as stop:
        path: Path = stop.value
        return path


def _shares(stage: Stage, shares: Generator[float, None, Tuned]) -> Generator[At, None, Tuned]:
    """A stage's shares as progress; returns what they return."""
    try:
        while True:
            yield At(stage, next(shares))
    except StopIteration as stop:
        tuned: Tuned = stop.value
        return tuned


def load_splits(benchmark: Plugin) -> Splits:
    """A benchmark's data; equal options are read once in a process."""
    return _splits(benchmark.model_dump_json())


@lru_cache(maxsize=8)
def _splits(benchmark: str) -> Splits:
    splits: Splits = build(BENCHMARKS, Plugin.model_validate_json(benchmark), "benchmark").splits()
    return splits


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name}: {reason}; use auto, cpu, or cuda where torch has it") from error
    return device
