"""Sums and differences in some base, asked as DeepMind's mathematics dataset asks them; each has one right answer.

The questions are those of its module `arithmetic__add_or_sub_in_base` (Saxton et al., arXiv 1904.01557), from the
published rules; the code is our own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.errors import ConfigError
from harness.records import Example, Splits

QUESTION = re.compile(r"In base (\d+), what is (-?[0-9a-f]+) ([+-]) (-?[0-9a-f]+)\?")
DIGITS = "0123456789abcdef"
LONGEST = (160, 30)  # characters of a question and of an answer; longer ones are drawn again
BASES = tuple(range(2, 17))
ENTROPY = {
    "train-easy": (3.0, 3.0 + 7.0 / 3),
    "train-medium": (3.0 + 7.0 / 3, 3.0 + 14.0 / 3),
    "train-hard": (3.0 + 14.0 / 3, 10.0),
    "interpolate": (8.0, 8.0),
}
"""The regimes of the published data: their total entropy, about the number of decimal digits in a question."""


def solve(question: str) -> str:
    """The answer to a question, in its base; digits above 9 are lower-case letters.

    Raises:
        ValueError: it is no such question, or an operand holds a digit that its base does not have.

    >>> solve("In base 15, what is -7266 + -18?")
    '-727e'
    """
    asked = QUESTION.fullmatch(question)
    if asked is None:
        raise ValueError(f"{question!r} is not of the form {QUESTION.pattern}")
    base = int(asked[1])
    left, right = int(asked[2], base), int(asked[4], base)
    return written(left + right if asked[3] == "+" else left - right, base)


def written(number: int, base: int) -> str:
    """An integer in a base from 2 to 16, `-` in front where it is negative."""
    return np.base_repr(number, base).lower()


def ask(entropy: tuple[float, float], bases: tuple[int, ...], generator: np.random.Generator) -> str:
    """One question: its total entropy E uniform in the range, shared between the operands, base and sign alike.

    E1 = max(1, uniform(0, E)) and E2 = max(1, E - E1); an operand is a uniform integer of absolute value at most
    ceil(10^Ei / 2).
    """
    while True:
        total = generator.uniform(*entropy)
        first = max(1.0, generator.uniform(0, total))
        most = [math.ceil(10**share / 2) for share in (first, max(1.0, total - first))]
        left, right = (int(generator.integers(-bound, bound, endpoint=True)) for bound in most)
        base = bases[int(generator.integers(len(bases)))]
        sign = "+-"[int(generator.integers(2))]
        question = f"In base {base}, what is {written(left, base)} {sign} {written(right, base)}?"
        if len(question) <= LONGEST[0] and len(solve(question)) <= LONGEST[1]:
            return question


def wrong_digit(text: str, generator: np.random.Generator) -> str:
    """Ground-truth noise: after a question and a part of an answer, a character that does not belong there.

    Uniform over the digits of the question's base, at the beginning of an answer `-` as well, without the right one.
    After a part that is already wrong, or a whole answer, every character is wrong.

    Raises:
        ConfigError: the text does not begin with a question.
    """
    asked = QUESTION.match(text)
    if asked is None:
        raise ConfigError(f"{text!r:.80} does not begin with a question; raise model.context, so that none is cut")
    answer, part = solve(asked[0]), text[asked.end() :]
    right = answer[len(part) : len(part) + 1] if answer.startswith(part) else ""
    wrong = [character for character in DIGITS[: int(asked[1])] + "-" * (not part) if character != right]
    return wrong[int(generator.integers(len(wrong)))]


def read_pairs(path: Path) -> tuple[Example, ...]:
    """Questions and answers of a JSON file `[{"question": "...", "answer": "..."}, ...]`, each answer checked.

    Raises:
        ConfigError: the file cannot be read, is of another form, or holds a wrong answer.
    """
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(Example(pair["answer"], prompt=pair["question"]) for pair in pairs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f'benchmark.pairs={str(path)!r}: {error!r:.120}; give a JSON list of {{"question": ..., "answer": ...}}'
        ) from error
    if not found:
        raise ConfigError(f"benchmark.pairs={str(path)!r}: the list is empty; give at least two pairs")
    for number, example in enumerate(found):
        try:
            right = solve(example.prompt)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"benchmark.pairs={str(path)!r}: pair {number}: {error}; remove it") from error
        if example.text != right:
            raise ConfigError(
                f"benchmark.pairs={str(path)!r}: pair {number}: {example.prompt!r} is {right!r}, "
                f"the file says {example.text!r}; correct it"
            )
    return found


@dataclass(frozen=True)
class Arithmetic:
    """`In base B, what is P + Q?`, as DeepMind's mathematics dataset asks it; the answer is the text to write.

    Questions are drawn independently, so one may stand twice in a split, as in the published data; none of a split
    stands in another.  Each is a prompt, on which there is no loss.  Meant for a character tokenizer.

    Raises:
        ConfigError: an entropy together with a difficulty; from `splits()`, too few different questions, or a file of
            pairs that is not what it should be.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "exact_match",
        "forced_match",
        "forced_match@ground_truth",
        "corrupted_match",
        "actions",
        "perplexity",
    )
    selection: ClassVar[tuple[str, str]] = ("exact_match", "exact_match")

    difficulty: Annotated[
        Literal["train-easy", "train-medium", "train-hard", "interpolate"] | None,
        Field(description="regime of the published data; train-easy"),
    ] = None
    entropy: Annotated[
        float | None,
        Field(gt=0, le=18, description="instead of a difficulty: one total entropy, about the decimal digits to add"),
    ] = None
    base: Annotated[int | None, Field(ge=2, le=16, description="one base for all; each of 2 to 16 alike")] = None
    seed: Annotated[int, Field(ge=0, description="draws the questions")] = 0
    train: Annotated[int, Field(ge=1, description="training questions")] = 5_000
    validation: Annotated[int, Field(ge=1, description="validation questions")] = 200
    test: Annotated[int, Field(ge=1, description="test questions; of `pairs`, the first so many")] = 200
    pairs: Annotated[
        str | None, Field(min_length=1, description="file of questions and answers to test on, as JSON; drawn")
    ] = None

    def __post_init__(self) -> None:
        if self.entropy is None and self.difficulty is None:
            object.__setattr__(self, "difficulty", "train-easy")
        if self.entropy is not None and self.difficulty is not None:
            raise ConfigError(
                f"benchmark.difficulty={self.difficulty} has an entropy of its own; remove benchmark.difficulty or "
                f"benchmark.entropy={self.entropy:g}"
            )

    def splits(self) -> Splits:
        """Test questions first, then validation and training without them, so that more training moves no test."""
        taken: set[str] = set()
        parts = []
        for part, count in ((3, self.test), (2, self.validation), (1, self.train)):
            if part == 3 and self.pairs is not None:
                found = read_pairs(Path(self.pairs))[:count]
            else:
                found = tuple(self._draw(part, count, taken))
            taken |= {example.prompt for example in found}
            parts.append(found)
        test, validation, train = parts
        return Splits(train, validation, test, prompts=test, mistake=wrong_digit, whole=True)

    def _draw(self, part: int, count: int, taken: set[str]) -> Iterator[Example]:
        entropy = (self.entropy, self.entropy) if self.entropy is not None else ENTROPY[self.difficulty or ""]
        bases = BASES if self.base is None else (self.base,)
        generator = np.random.default_rng([self.seed, part])
        left = count
        for _ in range(100 * count):
            question = ask(entropy, bases, generator)
            if question not in taken:
                yield Example(solve(question), prompt=question)
                left -= 1
                if not left:
                    return
        raise ConfigError(
            f"benchmark: {100 * count} draws gave {count - left} of {count} questions that no other split holds; "
            "raise benchmark.entropy, or lower benchmark.test or benchmark.validation"
        )
