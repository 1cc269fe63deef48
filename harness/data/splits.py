"""A benchmark's splits: read once in a process, handed out to a run one at a time, and counted."""

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
    """A benchmark's held-out texts for one run: whoever evaluates asks here, and gets one split and not the other.

    What a benchmark checks before anything is trained (that texts fit into the context, that their characters are
    known) is about all texts and no reading: no number that is compared depends on it.

    Attributes:
        read: how often each split was handed out.
    """

    def __init__(self, splits: Splits) -> None:
        """Nothing handed out yet."""
        self._splits = splits
        self.read: Counter[str] = Counter()

    def of(self, split: Split) -> Splits:
        """The splits as an evaluation on one of them sees them: it stands where the test split does, the other is
        empty."""
        self.read[split] += 1
        if split == "test":
            return replace(self._splits, validation=(), validation_prompts=())
        held = self._splits.tuning_prompts
        return replace(self._splits, test=self._splits.validation, prompts=held, validation_prompts=held)

    def both(self) -> Splits:
        """The test split to be evaluated on, and the validation split as more expert texts."""
        self.read.update(("test", "validation"))
        return self._splits


def load_splits(benchmark: Plugin) -> Splits:
    """A benchmark's data; equal options are read once in a process."""
    return _splits(benchmark.model_dump_json())


@lru_cache(maxsize=8)
def _splits(benchmark: str) -> Splits:
    splits: Splits = build(BENCHMARKS, Plugin.model_validate_json(benchmark), "benchmark").splits()
    return splits
