"""Plain values that travel between stages: what is learned from, what is written, what is measured.  No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class Example:
    """One expert text.  `prompt` is given (never learned, never deleted); `text` is what the expert wrote after it."""

    text: str
    prompt: str = ""


class Law(Protocol):
    """A language whose distribution is known exactly, as an automaton over single characters.

    The empty string stands for the end of a text.
    """

    @property
    def alphabet(self) -> str:
        """Every character that a text may hold."""

    @property
    def start(self) -> Hashable:
        """The state before the first character."""

    def next(self, state: Hashable) -> Mapping[str, float]:
        """What may follow, with probabilities that sum to 1; key `""` is the end."""

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        """The state after `symbol`, or None when no text of the language can go on from there."""


Mistake = Callable[[str, np.random.Generator], str]
"""A benchmark's ground-truth noise: the reduced text so far -> a wrong next piece of text (one token long)."""


@dataclass(frozen=True)
class Splits:
    """A benchmark's data, disjoint by document.

    `prompts` are cut from the test documents: `prompt` is given to the policy, `text` is the human continuation.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    prompts: tuple[Example, ...]
    law: Law | None = None
    mistake: Mistake | None = None

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


@dataclass(frozen=True)
class Trajectory:
    """A sequence of actions from a prompt, as token ids.

    `injected[t]` marks actions that the environment took: they move the state and carry no loss.
    """

    prompt: tuple[int, ...]
    actions: tuple[int, ...]
    injected: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a trajectory needs at least one prompt token: its first state is the node of that token")
        if not self.actions:
            raise ValueError("a trajectory needs at least one action")
        if not self.injected:
            object.__setattr__(self, "injected", (False,) * len(self.actions))
        elif len(self.injected) != len(self.actions):
            raise ValueError(f"{len(self.injected)} injected flags for {len(self.actions)} actions")


@dataclass(frozen=True)
class Rollout:
    """What the policy did after one prompt, and why it stopped.

    Attributes:
        trajectory: prompt and actions; `injected` marks a given noise start.
        log_probs: log pi(a_t|s_t) in nats under the sampled distribution's model (before temperature and truncation),
            one per action; 0 for injected ones.
        stop: `ended` with the end token, at the `depth` limit of the context, or at the `budget` of actions.
        text: the reduced text after the prompt, decoded.
        tokens: token ids of the reduced text after the prompt, end token excluded.
    """

    trajectory: Trajectory
    log_probs: tuple[float, ...]
    stop: Literal["ended", "depth", "budget"]
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of the test documents, every token scored exactly once.

    Sums in nats over all documents, end tokens included.  `masked_nll` renormalises each step without the
    `<backspace>` action (equal to `nll` where the policy has none).  `tokenizer` is a hash of what a token is:
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
    (unknown characters) is in neither.
    """

    true: np.ndarray
    policy: np.ndarray
    policy_backspace: float


Featurise = Callable[[str, str, Sequence[str]], np.ndarray]
"""(featuriser, pooling, texts) -> float32 features [n, F]; cached by content.  The featuriser is `reference-lm`
(this benchmark's own reference model), a local directory or a Hub id; pooling is `mean` or `last`."""

Force = Callable[[float], tuple["Rollout", ...]]
"""Chance in [0, 1] that an action is replaced by a uniformly random legal one -> one such rollout for each prompt."""

BackspaceAfter = Callable[[int], np.ndarray]
"""k -> [S, k]: pi(<backspace>|s) after 1, ..., k wrong tokens in a row, in each of S beginnings of expert texts."""


@dataclass(frozen=True)
class Evaluation:
    """Everything a metric may look at.

    `rollouts[i]` answers `prompts[i]`, whose `text` is the human continuation; `train` holds the texts that the policy
    learned from.  `featuriser_id` turns a featuriser's
    option into the name stored with the score (`reference-lm` becomes `reference-lm:HASH`).  What costs forward passes
    and few metrics want is a function: `features`, and about mistakes `forced` and `p_back`.
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
    p_back: BackspaceAfter | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the policy wrote, prompts left out."""
        return tuple(rollout.text for rollout in self.rollouts)

    @property
    def references(self) -> tuple[str, ...]:
        """The human continuations of the same prompts."""
        return tuple(example.text for example in self.prompts)

    @property
    def texts_hash(self) -> str:
        """Sixteen hex digits over the rollouts' texts: which texts a score is about."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\x00")
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Score:
    """One final number with its definition, or None with the reason why there is none.

    `n` is the number of texts (or documents, or states) it is computed from; `direction` is `higher`, `lower` or
    `reference` (closest to the human reference's value, which the same metric gives on the references).
    """

    metric: str
    definition: str
    parameters: Mapping[str, Any]
    value: float | None
    reason: str | None
    n: int
    unit: str
    direction: Literal["higher", "lower", "reference"]
    texts_hash: str

    @property
    def name(self) -> str:
        """The full name, `metric@definition[parameter=value,...]`: scores of different names never share a column."""
        return full_name(self.metric, self.definition, self.parameters)


class Point(NamedTuple):
    """One point of a profile: where, how much, and from how many texts or states."""

    x: float
    value: float
    n: int


@dataclass(frozen=True)
class Profile:
    """A number by position, length or strength of a disturbance, with its definition: the curves that a run leaves.

    `axis` says what `x` is, with its unit; the rest is as in `Score`.
    """

    metric: str
    definition: str
    parameters: Mapping[str, Any]
    axis: str
    unit: str
    direction: Literal["higher", "lower", "reference"]
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """The full name, as a score's."""
        return full_name(self.metric, self.definition, self.parameters)


def full_name(metric: str, definition: str, parameters: Mapping[str, Any]) -> str:
    """`metric@definition[parameter=value,...]`, parameters in alphabetical order."""
    inside = ",".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    return f"{metric}@{definition}" + (f"[{inside}]" if inside else "")


@dataclass(frozen=True)
class Step:
    """One optimiser step of a run.

    Attributes:
        step: optimiser steps so far, this one included.
        tokens: nodes through `evaluate` so far, forward passes without gradient included.
        seconds: time in training so far, sampling of the replay buffer included.
        loss: nats per (weighted) token.
        lr: learning rate of this step.
        terms: named parts of the loss and the trainer's diagnostics.
        progress: share of the budget used, in [0, 1].
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    lr: float
    terms: Mapping[str, float]
    progress: float = 0.0


Stage = Literal["base", "train", "sample", "score", "done", "failed", "skipped", "waiting"]


@dataclass(frozen=True)
class Progress:
    """Where a grid is, for whoever shows it.

    `cell` counts from 1 among `cells`; `fraction` in [0, 1] is the share of the stage that is done.  Stages in
    order: `base`, `train`, `sample`, `score`, then `done`, `failed` (with `message`) or `skipped` (done before);
    `waiting` (with `message`) is a cell that nobody here computes just now.
    `label` says in a few words which cell it is.
    """

    run_id: str
    cell: int
    cells: int
    stage: Stage
    fraction: float
    message: str
    label: str = ""


@dataclass(frozen=True)
class Saved:
    """A checkpoint file: the optimiser step it holds, its path relative to the store's folder, its SHA-256.

    It counts only once the store has it under the claim that wrote it: a file that no row names was written by
    somebody who had lost the claim, or died before saying so.  `threads` is how many CPU threads computed it.
    """

    step: int
    path: str
    sha256: str
    threads: int
