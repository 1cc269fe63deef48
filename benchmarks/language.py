"""Languages whose law is known exactly, so that a policy's error can be computed instead of estimated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from benchmarks.laws import Alphabetic, Brackets, Sentences, SparseMarkov, WrongSymbol, draw
from harness.errors import ConfigError
from harness.records import Example, Law, Splits


@dataclass(frozen=True)
class FreshTexts:
    """More texts of a law, independent of every split."""

    law: Law

    def __call__(self, count: int, generator: np.random.Generator) -> tuple[Example, ...]:
        """`count` texts."""
        return tuple(Example(text) for text in draw(self.law, generator, count))


@dataclass(frozen=True)
class Language:
    """Texts of a language whose law is known: a sparse second-order Markov chain, bounded brackets, or sentences
    whose verb agrees with a determiner far behind it.

    Train, validation and test are independent samples of the law, so a short text may occur in two of them by
    chance, as often as the law says.  Every test text is also an expert's answer to the empty prompt.  Texts are
    meant for a character tokenizer: one character, one action.

    Raises:
        ConfigError: an option of the other law is set, or more successors are asked for than there are symbols.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "exact_kl",
        "out_of_support",
        "excess_error",
        "actions",
        "perplexity",
        "ngram_js@pooled[units=characters]",
    )
    selection: ClassVar[tuple[str, str]] = ("ngram_js@pooled[units=characters]", "ngram_js_3")

    law: Annotated[Literal["markov", "brackets", "template"], Field(description="which family of languages")] = "markov"
    seed: Annotated[int, Field(ge=0, description="draws the law's probabilities")] = 0
    data_seed: Annotated[int, Field(ge=0, description="draws the texts, given the law")] = 0
    length: Annotated[int, Field(ge=2, le=4096, description="characters per text; the most, but for markov")] = 24
    symbols: Annotated[int | None, Field(ge=2, le=26, description="markov only: alphabet size; 8")] = None
    successors: Annotated[
        int | None, Field(ge=1, le=26, description="markov only: symbols that may follow a context; 3")
    ] = None
    kinds: Annotated[int | None, Field(ge=1, le=4, description="brackets only: kinds of brackets; 3")] = None
    depth: Annotated[int | None, Field(ge=1, le=64, description="brackets only: deepest nesting; 4")] = None
    templates: Annotated[int | None, Field(ge=1, le=3, description="template only: sentence patterns; 3")] = None
    nouns: Annotated[int | None, Field(ge=1, le=7, description="template only: nouns; 4")] = None
    verbs: Annotated[int | None, Field(ge=1, le=8, description="template only: verbs; 4")] = None
    train: Annotated[int, Field(ge=1, description="training texts")] = 20_000
    validation: Annotated[int, Field(ge=1, description="validation texts")] = 500
    test: Annotated[int, Field(ge=1, description="test texts, and as many empty prompts")] = 1_000

    def __post_init__(self) -> None:
        for law, family in _FAMILIES.items():
            for name, default in family.options.items():
                given = getattr(self, name)
                if law == self.law and given is None:
                    object.__setattr__(self, name, default)
                elif law != self.law and given is not None:
                    raise ConfigError(
                        f"benchmark.{name}={given} belongs to law={law}, but the law is {self.law}; "
                        f"remove {name} or set law={law}"
                    )
        if self.symbols is not None and self.successors is not None and self.successors > self.symbols:
            raise ConfigError(
                f"benchmark.successors={self.successors} of symbols={self.symbols} cannot follow a context; "
                f"use at most {self.symbols} successors"
            )

    @property
    def automaton(self) -> Alphabetic:
        """The exact law of this language, as an automaton."""
        family = _FAMILIES[self.law]
        return family.law(seed=self.seed, length=self.length, **{name: getattr(self, name) for name in family.options})

    def splits(self) -> Splits:
        """Three independent samples of the law, with the law and its ground-truth noise."""
        law = self.automaton

        def sample(part: int, count: int) -> tuple[Example, ...]:
            generator = np.random.default_rng([self.seed, part, self.data_seed])
            return tuple(Example(text) for text in draw(law, generator, count))

        test = sample(3, self.test)
        return Splits(
            train=sample(1, self.train),
            validation=sample(2, self.validation),
            test=test,
            prompts=test,
            law=law,
            mistake=WrongSymbol(law),
            fresh=FreshTexts(law),
        )


@dataclass(frozen=True)
class _Family:
    """One family of languages: its law, and the options that it alone has, with their defaults."""

    law: Callable[..., Alphabetic]
    options: dict[str, int]


_FAMILIES = {
    "markov": _Family(SparseMarkov, {"symbols": 8, "successors": 3}),
    "brackets": _Family(Brackets, {"kinds": 3, "depth": 4}),
    "template": _Family(Sentences, {"templates": 3, "nouns": 4, "verbs": 4}),
}
