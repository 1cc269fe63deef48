"""Read this file first: one run from configuration to scores, and a grid of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from harness.bases import prepare_base, reference_config, start_policy
from harness.config import Plugin, RunConfig
from harness.data import ExpertStream, rows
from harness.errors import ConfigError, HarnessError
from harness.evaluate import check_characters, choose_prompts, evaluate, profiles, score
from harness.features import Features
from harness.fit import fit
from harness.grid import Grid
from harness.noise import proposals
from harness.owners import this_owner
from harness.plugins import Trainer, build
from harness.provenance import peak_memory_bytes, provenance
from harness.records import Progress, Splits, Stage, Step
from harness.registry import BENCHMARKS, TRAINERS
from harness.store import LostClaim, Store


def check(grid: Grid) -> list[RunConfig]:
    """Every cell of a grid with all options written out, or the first reason why one could not run."""
    cells = grid.expand()
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
    return cells


def run_grid(
    cells: Sequence[RunConfig], store: Store, *, grid_name: str, device: str = "auto", keep_going: bool = True
) -> Generator[Progress, None, None]:
    """Run every cell that is not done, in order; the same call again continues.

    A failed cell is recorded with its reason, and with `keep_going` the others still run.  A cell that another
    process holds is left to it.  Stop reading, and the cell at hand is given back unfinished.
    """
    where = choose_device(device)
    store.enqueue(grid_name, cells)
    done = store.runs(grid_name, "done").set_index("run_id")["data_hash"].to_dict()
    for position, config in enumerate(cells, start=1):
        at = Progress(config.run_id, position, len(cells), "skipped", 1.0, "", config.label)
        if config.run_id in done:
            yield replace(at, message=_changed(config, done[config.run_id]))
            continue
        if not store.claim(config.run_id, this_owner()):
            yield replace(at, message="another process holds this cell")
            continue
        try:
            for stage, fraction in run(config, store, where):
                yield replace(at, stage=stage, fraction=fraction)
        except LostClaim as error:
            yield replace(at, message=str(error))
        except Exception as error:
            told = isinstance(error, HarnessError)
            store.fail(config.run_id, this_owner(), str(error) if told else traceback.format_exc())
            yield replace(at, stage="failed", message=str(error) if told else f"{type(error).__name__}: {error}")
            if not keep_going:
                return
        except BaseException:
            store.release(config.run_id, this_owner())
            raise
        else:
            yield replace(at, stage="done")


def _changed(config: RunConfig, data_hash: str) -> str:
    """A warning where a finished cell saw other data than its benchmark gives today."""
    now = load_splits(config.benchmark).data_hash
    same = data_hash == now
    return "" if same else f"done before, on other data ({data_hash}, now {now}); use another --store to run it again"


def run(config: RunConfig, store: Store, device: torch.device) -> Iterator[tuple[Stage, float]]:
    """Train and evaluate one cell that this process has claimed; yields how far which stage is.

    data -> shared base -> policy -> training -> rollouts -> scores -> store.
    """
    began = time.perf_counter()
    splits = load_splits(config.benchmark)
    cache = store.folder / "cache"

    base = None
    if config.model.from_scratch:
        base = yield from _staged(prepare_base(config, splits, cache, device))
    reference = None
    if any(metric.options.get("featuriser") == "reference-lm" for metric in config.metrics or ()):
        reference = yield from _staged(prepare_base(reference_config(config), splits, cache, device))

    trainer: Trainer = build(TRAINERS, config.trainer, "trainer")
    policy = start_policy(config, base, device)
    prompts = choose_prompts(policy, splits.prompts, config.sampling)
    if splits.law is not None:
        check_characters(policy, splits.law, splits.test)
    expert = rows(splits.train, policy)
    propose = proposals(config.actions, policy, expert, splits.mistake)
    stream = ExpertStream(
        expert, policy.space, config.actions, propose, context=policy.context, seed=config.seeds.train
    )
    last: Step | None = None
    for last in fit(policy, trainer, stream, config):
        store.log(config.run_id, this_owner(), [last])
        yield "train", last.progress

    yield "sample", 0.0
    evaluation = evaluate(policy, splits, prompts, config, Features(reference, device))
    yield "score", 0.0
    scores = list(score(evaluation, config))
    curves = list(profiles(evaluation, config))
    facts = {
        **provenance(threads=torch.get_num_threads()),
        "device": str(device),
        "data_hash": splits.data_hash,
        "base": None if base is None else base.name,
        "parameters": sum(p.numel() for p in policy.parameters().values()),
        "head_untied": policy.untied,
        "evaluated_tokens": 0 if last is None else last.tokens,
        "sampled_actions": 0 if last is None else int(last.terms.get("sampled_actions", 0)),
        "training_seconds": 0.0 if last is None else last.seconds,
        "seconds": time.perf_counter() - began,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    store.finish(
        config.run_id,
        this_owner(),
        scores=scores,
        profiles=curves,
        prompts=evaluation.prompts,
        rollouts=evaluation.rollouts,
        provenance=facts,
    )


def _staged(steps: Generator[Step, None, Path]) -> Generator[tuple[Stage, float], None, Path]:
    """The steps of a shared model's training as progress; returns what they return."""
    try:
        while True:
            yield "base", next(steps).progress
    except StopIteration as stop:
        path: Path = stop.value
        return path


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
