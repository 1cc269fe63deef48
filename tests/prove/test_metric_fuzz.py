"""Every registered metric on thousands of degenerate evaluations: a defined number or a reason, never a crash."""

from __future__ import annotations

import math
import typing
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness.config.section import Plugin
from harness.plugins.metric import Metric, Unscorable
from harness.plugins.options import build, options
from harness.records.data import Example
from harness.records.evaluation import Evaluation, ExactStep, FinishedLaw, Likelihood
from harness.records.rollout import Rollout, Trajectory
from harness.registry import METRICS

CASES = 2000
END, SPACE, A, B, BACKSPACE = 0, 1, 2, 3, 4
LETTERS = {SPACE: " ", A: "a", B: "b"}

# what is defined to be infinite: a likelihood of 0, and the actions of a policy that keeps nothing
MAY_BE_INFINITE = (
    *("perplexity", "nll", "bits_per_byte", "exact_kl", "actions_per_kept_token"),
    *("finished_kl", "excess_error", "own_regret"),
)
# what has no value where every rollout is empty, whatever else is there
OF_WORDS = (
    *("rep_", "diversity", "distinct_", "ngram_", "seq_rep_", "zipf", "repetition_loop_rate"),
    *("self_bleu_", "bleu_", "copied_", "longest_copy"),
)


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every metric at its defaults, and with each other choice of each option that is a choice."""
    for name in METRICS:
        yield name, {}
        hints = typing.get_type_hints(METRICS[name])
        for option in options(METRICS[name]):
            if typing.get_origin(hints[option.name]) is Literal:
                for choice in typing.get_args(hints[option.name]):
                    if choice != option.default:
                        yield name, {option.name: choice}


VARIANTS = [(name, build(METRICS, Plugin(name=name, options=given), "")) for name, given in variants()]
DEAR = [(name, metric) for name, metric in VARIANTS if name == "mauve"]  # k-means: one of them a case
CHEAP = [pair for pair in VARIANTS if pair not in DEAR]


class Coin:
    """The language of all texts over `a`, `b` and spaces; one of the four, the end among them, at each turn."""

    alphabet = "ab "
    start = None

    def next(self, state: Hashable) -> Mapping[str, float]:
        return dict.fromkeys(["a", "b", " ", ""], 0.25)

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return 0 if symbol in self.alphabet else None


class Moods:
    """Scores by the token alone, at times with a number that is no probability."""

    name = "moods"

    def __init__(self, moods: Sequence[float]) -> None:
        self.moods = np.array(moods)

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        return self.moods[np.array(tokens, int) % len(self.moods)]


ODD = ["", " ", "a", "a" * 400, "\u200b", "\ud800", "\x00", "\u0301\u0301", "\U0001f468\u200d\U0001f469", "\u2028",
       "\u05e9\u05dc", "[]=,", "''``", "..."]  # fmt: skip
words = st.one_of(st.sampled_from(["a", "b", "ab"]), st.sampled_from(ODD), st.text(max_size=4))
texts = st.one_of(
    st.just(""),
    words,
    st.lists(st.sampled_from("ab"), max_size=24).map(" ".join),
    st.lists(words, max_size=12).map(" ".join),
)
huge = st.builds(
    lambda kinds, seed: " ".join(map(str, np.random.default_rng(seed).integers(kinds, size=3000))),
    st.integers(1, 10_000),
    st.integers(0, 9),
)
log_probs = st.one_of(st.floats(-20, 0), st.sampled_from([math.nan, -math.inf, 0.0, -1e300]))
laws = st.sampled_from([(0.25, 0.25, 0.25, 0.25), (1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0)])
counts = st.sampled_from([3, 2, 1, 1000, 0])


def log_of(chances: Sequence[float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(chances)


@st.composite
def rollout(draw: st.DrawFn, text: str, deletes: str) -> Rollout:
    """A rollout that deletes nothing, at random, or everything; its text is given, or what it wrote."""
    actions: list[int] = []
    kept: list[int] = []
    for _ in range(draw(st.integers(0, 8))):
        delete = bool(kept) and (deletes == "all" or (deletes == "some" and draw(st.booleans())))
        actions.append(BACKSPACE if delete else draw(st.sampled_from([A, B, SPACE])))
        if delete:
            kept.pop()
        else:
            kept.append(actions[-1])
    if deletes == "all":
        actions += [BACKSPACE] * len(kept)
        kept = []
    stop = draw(st.sampled_from(["ended", "budget", "depth"])) if actions else "ended"
    actions += [END] * (stop == "ended")
    injected = tuple(draw(st.sampled_from([(False,), (True, False), (True,)])) * len(actions))[: len(actions)]
    trajectory = Trajectory((7,), tuple(actions), injected)
    own = "".join(LETTERS[token] for token in kept)
    written = own if deletes == "all" or draw(st.booleans()) else text
    return Rollout(trajectory, tuple(draw(log_probs) for _ in actions), stop, written, tuple(kept))


def features(kind: str) -> Any:
    """Functions of texts that give useless vectors, or one that counts letters."""

    def letters(texts: Sequence[str]) -> np.ndarray:
        return np.array([[t.count("a"), t.count("b"), len(t), hash(t) % 7] for t in texts], np.float32).reshape(-1, 4)

    made = {
        "letters": letters,
        "nan": lambda texts: np.full((len(texts), 4), np.nan, np.float32),
        "some nan": lambda texts: np.where(letters(texts) > 2, np.nan, letters(texts)),
        "huge": lambda texts: letters(texts) * np.float32(1e38),
        "zero": lambda texts: np.zeros((len(texts), 4), np.float32),
        "one": lambda texts: letters(texts)[:, :1],
    }
    return lambda featuriser, pooling, texts: made[kind](texts)


@st.composite
def finished_laws(draw: st.DrawFn) -> FinishedLaw:
    """The law of a policy's final text, over 1 to 4 texts: at times impossible, loosely known, or NaN."""
    n = draw(st.integers(1, 4))
    share = np.full(n, 1 / n)
    some = draw(st.sampled_from([1.0, 0.5, 0.0, math.nan]))  # mass of the policy on these texts
    low = log_of(share * some)
    high = np.where(low < 0, np.minimum(low + draw(st.sampled_from([0.0, 0.01, 5.0])), 0), low)
    return FinishedLaw(share, np.log(share), low, high, leaks=draw(st.booleans()), states=3)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    n = draw(st.one_of(st.integers(0, 3), st.integers(4, 30)))
    deletes = draw(st.sampled_from(["nothing", "some", "all"]))
    same = draw(st.booleans())
    some = draw(texts)
    written = [some if same else draw(texts) for _ in range(n)]
    human = [some if same and draw(st.booleans()) else draw(texts) for _ in range(n)]
    if n and draw(st.integers(0, 19)) == 0:
        written[0], human[-1] = draw(huge), draw(huge)
    rollouts = tuple(draw(rollout(text, deletes)) for text in written)
    outside = draw(st.integers(0, 4)) == 0  # texts that something else wrote, perhaps beside any number of others
    likelihood = st.builds(
        Likelihood, nll=log_probs.map(abs), masked_nll=log_probs.map(abs), tokens=counts, words=counts, bytes=counts,
        documents=counts, window=st.just(32), stride=st.just(16), tokenizer=st.just("0123abcd"),
    )  # fmt: skip
    step = st.builds(
        ExactStep,
        laws.map(log_of),
        st.lists(log_probs, min_size=4, max_size=4).map(np.array),
        log_probs,
        st.integers(0, 2),
    )
    own = tuple(draw(st.lists(step, max_size=3)))
    finished = draw(finished_laws())
    featurise = draw(st.sampled_from([None, "letters", "nan", "some nan", "huge", "zero", "one"]))
    chances = np.array(draw(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=5)))
    return Evaluation(
        prompts=tuple(Example(text, draw(st.sampled_from(["", "a", "b a"]))) for text in human),
        rollouts=() if outside else rollouts,
        written=tuple(written) if outside else None,
        unpaired=tuple(human[: draw(st.integers(0, 30))]) if outside and draw(st.booleans()) else None,
        backspace_id=BACKSPACE if deletes != "nothing" or draw(st.booleans()) else None,
        metric_seed=draw(st.integers(0, 2**31)),
        train=tuple(draw(st.lists(texts, max_size=3))) + tuple(written[:1] if draw(st.booleans()) else ()),
        likelihood=draw(st.none() | likelihood),
        law=draw(st.sampled_from([Coin(), None])),
        exact_steps=tuple(draw(st.lists(step, max_size=3))),
        own_steps=draw(st.sampled_from([None, lambda: own])),
        finished=draw(st.sampled_from([None, lambda texts, states: finished])),
        features=None if featurise is None else features(featurise),
        forced=draw(st.sampled_from([None, lambda epsilon: rollouts])),
        forced_wrong=draw(st.sampled_from([None, lambda epsilon: rollouts])),
        corrupted=draw(st.sampled_from([None, lambda wrong: rollouts[:wrong]])),
        p_back=draw(st.sampled_from([None, lambda wrong: np.outer(chances, np.ones(wrong))])),
        paired=draw(st.sampled_from([None, lambda featuriser, pairs: [(one[:3], other[:3]) for one, other in pairs]])),
        token_scorer=draw(st.none() | st.builds(Moods, st.lists(log_probs, min_size=1, max_size=5))),
    )


def check(name: str, metric: Metric, evaluation: Evaluation) -> None:
    assert metric.count(evaluation) >= 0
    assert isinstance(metric.parameters(evaluation), Mapping)
    try:
        values = dict(metric.measure(evaluation))
    except Unscorable as reason:
        values = dict.fromkeys(metric.measures, reason)
    assert set(values) == set(metric.measures)
    for measure, value in values.items():
        what = f"{name}: {measure} = {value!r}"
        if isinstance(value, Unscorable):
            assert len(str(value)) > 20, what
            continue
        assert type(value) is float, what
        assert not math.isnan(value), what
        assert math.isfinite(value) or measure.startswith(MAY_BE_INFINITE), what
        estimate = measure.startswith("finished_")  # unbiased over a sample of texts, so it may leave [0, 1]
        if metric.measures[measure].unit in ("fraction", "probability") and not estimate:
            assert -1e-9 <= value <= 1 + 1e-9, what
        nothing = not any(text.strip() for text in evaluation.texts)
        of_rollouts = measure.startswith(OF_WORDS) and not measure.endswith("_reference")
        assert not (nothing and of_rollouts and not metric_counts_spaces(metric)), what


def metric_counts_spaces(metric: Metric) -> bool:
    return "characters" in (getattr(metric, "units", ""), getattr(metric, "tokenizer", ""))


@pytest.mark.prove("degenerate evaluations, every metric", cases=CASES, seconds=300)
@pytest.mark.filterwarnings("ignore")  # features of 1e38 overflow where they are squared
@given(evaluations(), st.integers(0, len(DEAR) - 1))
@settings(  # not shrunk: that takes longer than all cases, and the message names metric, measure and value
    max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,)
)
def test_every_metric_on_every_evaluation(evaluation: Evaluation, dear: int) -> None:
    for name, metric in (*CHEAP, DEAR[dear]):
        check(name, metric, evaluation)
