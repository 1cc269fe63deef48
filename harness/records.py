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

Fresh = Callable[[int, np.random.Generator], Sequence[Example]]
"""(n, randomness) -> n more expert texts that are independent of every split."""


@dataclass(frozen=True)
class Splits:
    """A benchmark's data, disjoint by document.

    `prompts` are cut from the test documents: `prompt` is given to the policy, `text` is the human continuation.
    `validation_prompts` are cut likewise from the validation documents; the validation split's own examples stand in
    if prompted alike.  `fresh` draws independent expert answers to the empty prompt, where the benchmark can.
    `whole` says that a text counts only as a whole, character by character, as the answer to a question does: it may
    not be cut, each character must be one token, and no prompt may be left out for its length.
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

    @property
    def tuning_prompts(self) -> tuple[Example, ...]:
        """What a choice that must not see the test split is made on; whole documents stand in for no passages."""
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


@dataclass(frozen=True)
class Trajectory:
    """A sequence of actions from a prompt, as token ids.

    `injected[t]` marks actions that the environment took: they move the state and carry no loss.
    `seen`, where given, is what the policy sees in place of the actions as its context: noise under clean labels.
    """

    prompt: tuple[int, ...]
    actions: tuple[int, ...]
    injected: tuple[bool, ...] = ()
    seen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a trajectory needs at least one prompt token: its first state is the node of that token")
        if not self.actions:
            raise ValueError("a trajectory needs at least one action")
        if not self.injected:
            object.__setattr__(self, "injected", (False,) * len(self.actions))
        for name, given in (("injected flags", self.injected), ("seen tokens", self.seen)):
            if given and len(given) != len(self.actions):
                raise ValueError(f"{len(given)} {name} for {len(self.actions)} actions")


@dataclass(frozen=True)
class Rollout:
    """What the policy did after one prompt, and why it stopped.

    Attributes:
        trajectory: prompt and actions; `injected` marks a given noise start.
        log_probs: log pi(a_t|s_t) in nats, one per action, before temperature and truncation; 0 for injected ones.
        stop: `ended` with the end token, at the `depth` limit of the context, or at the `budget` of actions.
        text: the reduced text after the prompt, decoded.
        tokens: token ids of the reduced text after the prompt, end token excluded.
        pieces: what each action wrote, one readable string per action; empty where nobody kept them.
        candidates: per action its likeliest alternatives (action, piece, probability), injected ones without; or empty.
        discarded: tokens and `<backspace>`s of other texts for the same prompt that were thrown away for this one.
    """

    trajectory: Trajectory
    log_probs: tuple[float, ...]
    stop: Literal["ended", "depth", "budget"]
    text: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...] = ()
    candidates: tuple[tuple[tuple[int, str, float], ...], ...] = field(default=(), compare=False)
    discarded: int = 0


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
    (unknown characters) is in neither.  `position` counts the characters before the state.  After a text from which
    none of the language goes on, `true` is -inf throughout.
    """

    true: np.ndarray
    policy: np.ndarray
    policy_backspace: float
    position: int = 0

    @property
    def lost(self) -> bool:
        """Whether no text of the language goes on from here, so that there is no law to compare with."""
        return not np.isfinite(self.true).any()


@dataclass(frozen=True)
class FinishedLaw:
    """What a policy finally writes, compared with a known language on texts of that language.

    Attributes:
        share: [X] how much each text counts: the law's probability of every text, or equal shares of a sample.
        log_law: [X] log-probability under the law, nats.
        low, high: [X] bounds of the log-probability that the policy finishes with exactly this text, nats.
        leaks: whether the policy may finish with what the law excludes, or fill the context.
        states: in how many states the policy was asked.
    """

    share: np.ndarray
    log_law: np.ndarray
    low: np.ndarray
    high: np.ndarray
    leaks: bool
    states: int


Featurise = Callable[[str, str, Sequence[str]], np.ndarray]
"""(featuriser, pooling, texts) -> float32 features [n, F]; cached by content.  The featuriser is `reference-lm`
(this benchmark's own reference model), a local directory or a Hub id; pooling is `mean` or `last`."""

Force = Callable[[float], tuple["Rollout", ...]]
"""Chance in [0, 1] that an action is replaced by another while it is written -> one such rollout for each prompt."""

Corrupt = Callable[[int], tuple["Rollout", ...]]
"""k -> one rollout for each prompt that goes on freely from a beginning of the prompt's expert text into which k wrong
tokens were put (`Trajectory.injected`), at a random place; with `<backspace>` they can be deleted."""

BackspaceAfter = Callable[[int], np.ndarray]
"""k -> [S, k]: pi(<backspace>|s) after 1, ..., k wrong tokens in a row, in each of S beginnings of expert texts."""

Finish = Callable[[int | None, int], FinishedLaw]
"""(expert texts to look at, None for every text of the language; states in which the policy may be asked) -> what it
finally writes, decoder included."""

Pair = Callable[[str, Sequence[tuple[str, str]]], Sequence[tuple[str, str]]]
"""(featuriser, pairs of texts) -> the same pairs, both sides cut to as many of the featuriser's tokens as the shorter
one has; a pair with an empty side stays as it is."""


class Judge(Protocol):
    """A distribution over next tokens that stands still: what one action of a policy is compared with."""

    @property
    def name(self) -> str:
        """Which distribution this is: it becomes part of a score's name."""

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        """[n] log-probability in nats of `tokens[i]` after the whole reduced text `states[i]`, start token included.

        NaN where the distribution does not know the state.
        """


@dataclass(frozen=True)
class Evaluation:
    """Everything a metric may look at.

    `rollouts[i]` answers `prompts[i]`, whose `text` is the expert continuation; `train` holds the texts that the policy
    learned from.  `featuriser_id` turns a featuriser's option into the name stored with the score (`reference-lm`
    becomes `reference-lm:HASH`).  `exact_steps` are in the states of expert texts.  What costs forward passes and few
    metrics want is a function: `features`, `paired`; about mistakes `forced` (by uniformly random legal actions),
    `forced_wrong` (by tokens that the benchmark knows to be wrong), `corrupted` and `p_back` (over `mistake_texts`
    expert texts), of which the last three are None where the benchmark knows no mistakes; about single actions `judge`
    (the exact law, or the base that training started from); and beside a known law `own_steps`, in the states of the
    rollouts' reduced texts, and `finished`.

    Texts that something else wrote are `written`; then there are no rollouts, hence no actions to count.  `unpaired`
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
    judge: Judge | None = None
    written: tuple[str, ...] | None = None
    unpaired: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the policy wrote, prompts left out, or what was `written` by something else."""
        return tuple(rollout.text for rollout in self.rollouts) if self.written is None else self.written

    @property
    def references(self) -> tuple[str, ...]:
        """The human continuations of the same prompts, or the `unpaired` human texts."""
        return tuple(example.text for example in self.prompts) if self.unpaired is None else self.unpaired

    @property
    def in_pairs(self) -> bool:
        """Whether `references[i]` and `texts[i]` answer the same prompt."""
        return self.unpaired is None

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
        tokens: nodes through the model so far, without gradient and in the sampler included.
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
