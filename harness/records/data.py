"""Expert examples, and a benchmark's splits of them.  No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records.law import Law


@dataclass(frozen=True)
class Example:
    """One expert text.  `prompt` is given (never learned, never deleted); `text` is the expert's continuation."""

    text: str
    prompt: str = ""


Mistake = Callable[[str, np.random.Generator], str]
"""A benchmark's ground-truth noise: the reduced text so far -> a wrong next piece of text (one token long)."""

Fresh = Callable[[int, np.random.Generator], Sequence[Example]]
"""(n, randomness) -> n more expert texts that are independent of every split."""


@dataclass(frozen=True)
class Splits:
    """A benchmark's data, disjoint by document.

    `prompts` are cut from the test documents: `prompt` is given to the policy, `text` is the human continuation.
    `validation_prompts` are cut likewise from the validation documents; the validation split's own examples stand in
    if prompted alike.  `fresh` draws independent expert answers to the empty prompt, where the benchmark can.
    `whole` says that a text counts only as a whole, character by character, as the answer to a question does: it may
    not be cut, each character must be one token, and no prompt may be left out for its length.  `notes` are sentences
    about the data that its reader should see before a run, such as the number of texts that were left out.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    prompts: tuple[Example, ...]
    law: Law | None = None
    mistake: Mistake | None = None
    whole: bool = False
    validation_prompts: tuple[Example, ...] = ()
    fresh: Fresh | None = None
    notes: tuple[str, ...] = ()

    @property
    def tuning_prompts(self) -> tuple[Example, ...]:
        """Validation prompts for model selection, which must not see the test split.

        Without `validation_prompts` these are the validation documents if prompted like `prompts`, else none.
        """
        alike = any(one.prompt for one in self.validation) or not any(one.prompt for one in self.prompts)
        return self.validation_prompts or (self.validation if alike else ())

    @property
    def data_hash(self) -> str:
        """Sixteen hex digits over every text of every split, in order."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test, self.prompts):
            for example in part:
                for text in (example.prompt, example.text):
                    digest.update(text.encode("utf-8", "surrogatepass") + b"\x00")
            digest.update(b"\x01")
        return digest.hexdigest()[:16]
