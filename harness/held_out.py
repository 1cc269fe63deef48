"""Hands a run the texts that it is evaluated on, and counts what it handed out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from harness.evaluations import Split
from harness.records import Splits


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
