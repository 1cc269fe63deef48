"""`Evaluation`, the input of every metric, and the values it is made of.  No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from harness.records.data import Example
from harness.records.law import Law
from harness.records.rollout import Rollout


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of the test documents, every token scored exactly once.

    Sums in nats over all documents, end tokens included.  `masked_nll` renormalises each step without the
    `<backspace>` action (equal to `nll` where the policy has none).  `tokenizer` is a hash of the tokenizer:
    numbers per token of different tokenizers do not compare.
    """

    nll: float
    masked_nll: float
    tokens: int
    words: int
    bytes: int
    documents: int
    window: int
    stride: int
    tokenizer: str


@dataclass(frozen=True)
class ExactStep:
    """The policy's law at one expert state of a known language.

    `true` and `policy` are log-probabilities in nats over the same outcomes: the characters that the law knows,
    then the end.  `policy_backspace` is log pi(<backspace>|s), -inf without that action; mass on other tokens
    (unknown characters) is in neither.  `position` counts the characters before the state.  After a text from which
    none of the language goes on, `true` is -inf throughout.
    """

    true: np.ndarray
    policy: np.ndarray
    policy_backspace: float
    position: int = 0

    @property
    def lost(self) -> bool:
        """True if no text of the language goes on from here, so that there is no law to compare with."""
        return not np.isfinite(self.true).any()


@dataclass(frozen=True)
class FinishedLaw:
    """Marginal law of a policy's final texts, compared with a known language on texts of that language.

    Attributes:
        share: [X] weight of each text: the law's probability of every text, or equal shares of a sample.
        log_law: [X] log-probability under the law, nats.
        low, high: [X] bounds of the log-probability that the policy finishes with exactly this text, nats.
        leaks: True if the policy may finish with a text that the law excludes, or fill the context.
        states: number of states in which the policy was evaluated.
    """

    share: np.ndarray
    log_law: np.ndarray
    low: np.ndarray
    high: np.ndarray
    leaks: bool
    states: int


Featurise = Callable[..., np.ndarray]
"""(featuriser, pooling, texts) -> float32 features [n, F]; cached by content.  The featuriser is `reference-lm`
(this benchmark's own reference model), a local directory or a Hub id; pooling is `mean` or `last`.  A fourth argument,
where it is given, is the arithmetic, `float32` or `bfloat16`."""
Force = Callable[[float], tuple["Rollout", ...]]
"""Probability in [0, 1] that an action is replaced by another while it is written -> one such rollout per prompt."""
Corrupt = Callable[[int], tuple["Rollout", ...]]
"""k -> one rollout for each prompt that goes on freely from a beginning of the prompt's expert text into which k wrong
tokens were put (`Trajectory.injected`), at a random place; with `<backspace>` they can be deleted."""
BackspaceAfter = Callable[[int], np.ndarray]
"""k -> [S, k]: pi(<backspace>|s) after 1, ..., k wrong tokens in a row, in each of S beginnings of expert texts."""
Finish = Callable[[int | None, int], FinishedLaw]
"""(number of expert texts, None for every text of the language; largest number of states in which the policy may be
evaluated) -> the marginal law of its final texts, decoder included."""
Pair = Callable[[str, Sequence[tuple[str, str]]], Sequence[tuple[str, str]]]
"""(featuriser, pairs of texts) -> the same pairs, both sides cut to as many of the featuriser's tokens as the shorter
one has; a pair with an empty side stays as it is."""


class TokenScorer(Protocol):
    """A fixed distribution over next tokens, with which single actions of a policy are compared."""

    @property
    def name(self) -> str:
        """Name of the distribution, a part of a score's name."""

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        """[n] log-probability in nats of `tokens[i]` after the whole reduced text `states[i]`, start token included.

        NaN where the distribution has none for the state.
        """


@dataclass(frozen=True)
class Evaluation:
    """The input of a metric.

    `rollouts[i]` answers `prompts[i]`, whose `text` is the expert continuation; `train` holds the texts that the policy
    learned from.  `featuriser_id` turns a featuriser's option into the name stored with the score (`reference-lm`
    becomes `reference-lm:HASH`, a directory `model:HASH`).  `exact_steps` are in the states of expert texts.  Values
    that cost forward passes and that few metrics use are functions: `features`, `paired`; about mistakes `forced` (by
    uniformly random legal actions), `forced_wrong` (by tokens that the benchmark knows to be wrong), `corrupted` and
    `p_back` (over `mistake_texts` expert texts), of which the last three are None where the benchmark knows no
    mistakes; about single actions `token_scorer` (the exact law, or the base that training started from); and for a
    known law `own_steps`, in the states of the rollouts' reduced texts, and `finished`.

    Texts of another origin are `written`; then there are no rollouts, hence no actions to count.  `unpaired`
    are expert texts that answer no prompt in particular, of any number; they stand in for the prompts' own.
    """

    prompts: tuple[Example, ...]
    rollouts: tuple[Rollout, ...]
    backspace_id: int | None
    metric_seed: int
    train: tuple[str, ...] = ()
    likelihood: Likelihood | None = None
    law: Law | None = None
    exact_steps: tuple[ExactStep, ...] = ()
    features: Featurise | None = None
    featuriser_id: Callable[[str], str] = field(default=str)
    forced: Force | None = None
    forced_wrong: Force | None = None
    corrupted: Corrupt | None = None
    p_back: BackspaceAfter | None = None
    mistake_texts: int = 0
    own_steps: Callable[[], tuple[ExactStep, ...]] | None = None
    finished: Finish | None = None
    paired: Pair | None = None
    token_scorer: TokenScorer | None = None
    written: tuple[str, ...] | None = None
    unpaired: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The policy's texts without the prompts, or the texts of another origin (`written`)."""
        return tuple(rollout.text for rollout in self.rollouts) if self.written is None else self.written

    @property
    def references(self) -> tuple[str, ...]:
        """The human continuations of the same prompts, or the `unpaired` human texts."""
        return tuple(example.text for example in self.prompts) if self.unpaired is None else self.unpaired

    @property
    def in_pairs(self) -> bool:
        """True if `references[i]` and `texts[i]` answer the same prompt."""
        return self.unpaired is None

    @property
    def texts_hash(self) -> str:
        """Sixteen hex digits over `texts`: they identify the texts that a score is about."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\x00")
        return digest.hexdigest()[:16]
