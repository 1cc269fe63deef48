"""A benchmark's splits: read once in a process, given to a run one at a time, every access counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from harness.config.evaluation import Split
from harness.config.section import Plugin
from harness.plugins.options import build
from harness.records.data import Splits
from harness.registry import BENCHMARKS


class HeldOut:
    """A benchmark's held-out texts for one run: every evaluation takes them from here, one split without the other.

    Checks before training (that texts fit into the context, that their characters are known) look at all texts and are
    not counted: no number that is compared depends on them.

    Attributes:
        read: number of accesses to each split.
    """

    def __init__(self, splits: Splits) -> None:
        """No split accessed yet."""
        self._splits = splits
        self.read: Counter[str] = Counter()

    def of(self, split: Split) -> Splits:
        """The splits for an evaluation on `split`: it takes the place of the test split, and the other one is empty."""
        self.read[split] += 1
        if split == "test":
            return replace(self._splits, validation=(), validation_prompts=())
        held = self._splits.tuning_prompts
        return replace(self._splits, test=self._splits.validation, prompts=held, validation_prompts=held)

    def both(self) -> Splits:
        """The test split to evaluate on, with the validation split as further expert texts."""
        self.read.update(("test", "validation"))
        return self._splits


def load_splits(benchmark: Plugin) -> Splits:
    """A benchmark's data; equal options are read once in a process."""
    return _splits(benchmark.model_dump_json())


@lru_cache(maxsize=8)
def _splits(benchmark: str) -> Splits:
    splits: Splits = build(BENCHMARKS, Plugin.model_validate_json(benchmark), "benchmark").splits()
    return splits
