"""Computes metrics of finished runs again from their stored rollouts; nothing is trained or sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from harness.config.run import RunConfig
from harness.data.splits import load_splits
from harness.errors import HarnessError, StoreError
from harness.evaluation.features import Features
from harness.evaluation.scoring import MetricRequest, profiles, score
from harness.records.data import Example, Splits
from harness.records.evaluation import Evaluation
from harness.records.rollout import Rollout, Trajectory
from harness.records.score import Profile, Score
from harness.storage.rollout_files import Row, backspace_of
from harness.storage.store import Store
from harness.training.base_model import prepared, reference_config


class NeedsPolicy(Exception):
    """A metric needs a field of the evaluation that only the policy itself can give."""


FROM_STORE = {"prompts", "rollouts", "written", "unpaired", "backspace_id", "metric_seed", "train", "law"}
FROM_STORE |= {"features", "featuriser_id", "paired"}
FROM_POLICY = {field.name for field in fields(Evaluation)} - FROM_STORE


class StoredEvaluation(Evaluation):
    """An evaluation from the store and the benchmark; every other field raises `NeedsPolicy`.

    A metric that needs the policy is refused, which is not the same as having no value: the score that the run had
    while its policy existed stays.
    """

    def __getattribute__(self, name: str) -> Any:
        """The field; raises `NeedsPolicy` for those of the policy."""
        if name in FROM_POLICY:
            raise NeedsPolicy(f"needs the policy ({name}), and the store keeps rollouts only")
        return super().__getattribute__(name)


@dataclass(frozen=True)
class Rescored:
    """The result of rescoring.

    Attributes:
        runs: number of runs that got scores.
        added: number of scores that they did not have.
        replaced: number of scores that were stored under the same full name before.
        refused: metric -> reason why it cannot be computed from stored rollouts.
        skipped: run id -> reason why the run was left as it is.
    """

    runs: int
    added: int
    replaced: int
    refused: Mapping[str, str]
    skipped: Mapping[str, str]


def rescore(store: Store, grid: str | None, wanted: Sequence[MetricRequest], device: torch.device) -> Rescored:
    """Compute metrics for every finished run of a grid or of the store, and store them in one transaction.

    Of a metric that was asked for, all measures are stored: one computation gives them.  Other scores stay.  A run
    whose benchmark gives other data today, or cannot be read, is skipped.  The reference LM is trained again only where
    the store's cache has lost it.
    """
    refused: dict[str, str] = {}
    skipped: dict[str, str] = {}
    found: dict[str, tuple[list[Score], list[Profile]]] = {}
    known = set(store.scores(grid)[["run_id", "name"]].itertuples(index=False, name=None))
    runs = store.runs(grid, "done")
    featurisers: dict[Path | None, Features] = {}
    cache = store.folder / "cache"
    for run_id, data_hash in zip(runs["run_id"], runs["data_hash"], strict=True):
        try:
            config = store.config(run_id)
            splits = load_splits(config.benchmark)
            if splits.data_hash != data_hash:
                raise StoreError(f"its benchmark gives other data now ({data_hash}, now {splits.data_hash})")
            reference = _reference(config, splits, wanted, cache, device)
            features = featurisers.setdefault(reference, Features(reference, device, cache))
            evaluation = stored_evaluation(store.rollouts(run_id), config, splits, features)
        except HarnessError as error:
            skipped[run_id] = str(error)
            continue
        scores: dict[str, Score] = {}  # by full name: two spellings may mean the same number
        curves: dict[str, Profile] = {}
        for one in wanted:
            try:
                scores |= {new.name: new for new in score(evaluation, [one.plugin])}
                curves |= {new.name: new for new in profiles(evaluation, [one.plugin])}
            except NeedsPolicy as error:
                refused[one.plugin.name] = str(error)
        if scores:
            found[run_id] = (list(scores.values()), list(curves.values()))
    store.rescore(found)
    names = [(run_id, one.name) for run_id, (given, _) in found.items() for one in given]
    replaced = sum(name in known for name in names)
    return Rescored(len(found), len(names) - replaced, replaced, refused, skipped)


def stored_evaluation(stored: pd.DataFrame, config: RunConfig, splits: Splits, features: Features) -> StoredEvaluation:
    """The evaluation of a run from `Store.rollouts` and the run's own data."""
    rows = stored.to_dict("records")
    backspace = backspace_of(stored) if config.actions.backspace else None
    if backspace is None and config.actions.backspace:  # an older file, and no rollout used it: any unused id will do
        backspace = 1 + max((max(row["actions"]) for row in rows), default=0)
    return StoredEvaluation(
        prompts=tuple(Example(row["reference"], row["prompt"]) for row in rows),
        rollouts=tuple(map(as_rollout, rows)),
        backspace_id=backspace,
        metric_seed=config.seeds.metric,
        train=tuple(example.text for example in splits.train),
        law=splits.law,
        features=features,
        featuriser_id=features.identify,
        paired=features.paired,
    )


def as_rollout(row: Row) -> Rollout:
    """The rollout that a stored row was made from."""
    prompt, actions, injected = (tuple(row[name]) for name in ("prompt_tokens", "actions", "injected"))
    return Rollout(
        trajectory=Trajectory(prompt, actions, injected),
        log_probs=tuple(row["log_probs"]),
        stop=row["stop"],
        text=row["text"],
        tokens=tuple(row["tokens"]),
        pieces=tuple(row["pieces"]),
        discarded=row["discarded"],
    )


def _reference(
    config: RunConfig, splits: Splits, wanted: Sequence[MetricRequest], cache: Path, device: torch.device
) -> Path | None:
    """Directory of the benchmark's reference LM; None where no metric needs its features."""
    if all(one.plugin.options.get("featuriser") != "reference-lm" for one in wanted):
        return None
    return prepared(reference_config(config), splits, cache, device)
