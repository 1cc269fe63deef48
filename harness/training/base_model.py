"""Base models, shared by all cells of a grid: trained once by MLE, kept under a hash of all that they depend on."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import torch

from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.data.stream import ExpertStream
from harness.data.windows import rows
from harness.hashing import content_hash
from harness.models.initial import untrained
from harness.plugins.options import build, resolve
from harness.records.data import Splits
from harness.records.events import StageProgress
from harness.records.progress import Stage
from harness.registry import TRAINERS
from harness.system.files import written_aside
from harness.training.loop import Training

REFERENCE_MODEL = ModelConfig(
    name="gpt2",
    layers=2,
    width=128,
    heads=4,
    tokenizer="bpe",
    vocab_size=2048,
    base_steps=400,
    base_rows=8,
    base_seed=1,
)
"""The benchmark's reference LM, whose hidden states are MAUVE's features: its own size and seed, never the policy.

Its training takes half a minute on one core.  Trained on 1,000 WebText documents it orders GPT-2-large's published
decoders correctly (nucleus .953, top-k .852, typical .803 at n = 500; human halves .957), but it is nearly blind to the
order of words (shuffled human text .935): a difference in word order alone needs a stronger featuriser.
"""


def base_id(config: RunConfig, splits: Splits) -> str:
    """Name of a run's base; equal for equal model, base training and data."""
    return base_folder(Path(), config, splits.data_hash).name


def base_folder(cache: Path, config: RunConfig, data_hash: str) -> Path:
    """Directory of a run's trained base."""
    return cache / "bases" / content_hash([config.base().run_id, data_hash])


def reference_config(config: RunConfig) -> RunConfig:
    """The run whose base is the benchmark's reference LM."""
    return config.model_copy(update={"model": REFERENCE_MODEL})


def prepare_base(
    config: RunConfig, splits: Splits, cache: Path, device: torch.device, stage: Stage = "base"
) -> Generator[StageProgress, None, Path]:
    """Train a run's base unless it is cached, with its progress; returns its directory, as `Policy.load` reads it.

    The directory appears whole or not at all, so an interrupted training starts again.

    Raises:
        OutOfSpace: the disk has no room for it.
    """
    directory = base_folder(cache, config, splits.data_hash)
    if directory.is_dir():
        return directory
    base = resolve(config.base())
    policy = untrained(config.model, splits, device)
    stream = ExpertStream(
        rows(splits.train, policy), policy.space, base.actions, None, context=policy.context, seed=base.seeds.train
    )
    if base.training.steps:
        yield StageProgress(stage, 0.0)
        training = Training(policy, build(TRAINERS, base.trainer, "trainer"), stream, base)
        while not training.finished:
            training.advance()
            yield StageProgress(stage, training.progress)  # after every step: a request to stop ends it here
    with written_aside(directory, "a base model") as fresh:
        policy.save(fresh)
        try:
            os.rename(fresh, directory)
        except OSError:
            if not directory.is_dir():  # else another process finished the same base first; the two are equal
                raise
    return directory


def prepared(config: RunConfig, splits: Splits, cache: Path, device: torch.device) -> Path:
    """As `prepare_base`, without the progress."""
    progress = prepare_base(config, splits, cache, device)
    try:
        while True:
            next(progress)
    except StopIteration as stop:
        directory: Path = stop.value
        return directory
