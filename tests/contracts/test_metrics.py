"""Contract of every metric, built-in or third-party: registering it is enough to be tested here."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness.config.section import Plugin
from harness.hashing import content_hash
from harness.plugins.metric import Metric, Unscorable
from harness.plugins.options import build, options
from harness.records.data import Example
from harness.records.evaluation import Evaluation, ExactStep, FinishedLaw, Likelihood
from harness.records.rollout import Rollout, Trajectory
from harness.registry import METRICS

END, SPACE, A, B, BACKSPACE = 0, 1, 2, 3, 4


class Coin:
    """The language of all texts over `a`, `b` and spaces; one of the four, the end among them, at each turn."""

    start, alphabet = None, "ab "

    def next(self, state: Hashable) -> Mapping[str, float]:
        return dict.fromkeys(["a", "b", " ", ""], 0.25)

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return 0 if symbol in "ab " else None


def letters(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
    """Shares of `a`, `b` and spaces, and the length: a feature that depends on nothing but the text itself."""
    return np.array(
        [[text.count(c) / (len(text) or 1) for c in "ab "] + [len(text) / 20] for text in texts], np.float32
    )


class Wheel:
    """A scorer whose probability of a token rises with its id."""

    name = "wheel"

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        return np.log(np.array(tokens, np.float64) + 1) - 3


@pytest.fixture
def evaluation() -> Evaluation:
    """Twenty-four prompts with a human text of 20 words and a rollout that deletes a little; the law is known."""
    rng = np.random.default_rng(0)
    rollouts, prompts = [], []
    for i in range(24):
        words = ["".join(rng.choice(["a", "b"], size=rng.integers(1, 3))) for _ in range(rng.integers(16, 22))]
        text = " ".join(words)
        ids = [{"a": A, "b": B, " ": SPACE}[c] for c in text]
        actions = (A, BACKSPACE, B, BACKSPACE, *ids, END)
        trajectory = Trajectory((7,), actions, (True,) + (False,) * (len(ids) + 4))
        rollouts.append(Rollout(trajectory, (-1.0,) * (len(ids) + 5), "ended", text, tuple(ids)))
        prompts.append(Example(" ".join(rng.choice(["a", "b", "ab"], size=20)), prompt="ab"[i % 2]))
    steps = []
    for _ in range(10):
        policy = rng.dirichlet(np.ones(5))
        steps.append(ExactStep(np.log(np.full(4, 0.25)), np.log(policy[:4]), float(np.log(policy[4])), len(steps) % 5))
    even, policy = np.full(6, 1 / 6), np.log(rng.dirichlet(np.ones(6)))
    return Evaluation(
        prompts=tuple(prompts),
        rollouts=tuple(rollouts),
        backspace_id=BACKSPACE,
        metric_seed=0,
        train=tuple(" ".join(rng.choice(["a", "b", "ab"], size=400)) for _ in range(3)),
        likelihood=Likelihood(
            120.0, 100.0, tokens=80, words=40, bytes=160, documents=4, window=32, stride=16, tokenizer="0123abcd"
        ),
        law=Coin(),
        exact_steps=tuple(steps),
        features=letters,
        forced=lambda epsilon: tuple(rollouts),
        forced_wrong=lambda epsilon: tuple(rollouts),
        corrupted=lambda wrong: tuple(rollouts),
        own_steps=lambda: tuple(steps[:9]),
        finished=lambda texts, states: FinishedLaw(even, np.log(even), policy, policy, leaks=False, states=6),
        p_back=lambda wrong: np.linspace(0.1, 0.9, 6 * wrong).reshape(6, wrong),
        paired=lambda featuriser, pairs: [(one[:20], other[:20]) for one, other in pairs],
        judge=Wheel(),
    )


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    return build(METRICS, Plugin(name=request.param, options={}), "metrics")


def test_it_scores_what_it_declares(metric: Metric, evaluation: Evaluation):
    values = metric.measure(evaluation)
    assert set(values) == set(metric.measures)
    assert all(type(value) is float and math.isfinite(value) for value in values.values()), values
    assert metric.count(evaluation) > 0


def test_it_is_deterministic(metric: Metric, evaluation: Evaluation):
    assert metric.measure(evaluation) == metric.measure(evaluation)


def test_the_order_of_prompts_and_states_changes_nothing(metric: Metric, evaluation: Evaluation):
    order = np.random.default_rng(1).permutation(len(evaluation.rollouts))
    assert evaluation.forced is not None
    assert evaluation.p_back is not None
    assert evaluation.own_steps is not None
    forced, p_back, own = evaluation.forced, evaluation.p_back, evaluation.own_steps
    shuffled = dataclasses.replace(
        evaluation,
        prompts=tuple(evaluation.prompts[i] for i in order),
        rollouts=tuple(evaluation.rollouts[i] for i in order),
        exact_steps=evaluation.exact_steps[::-1],
        forced=lambda epsilon: tuple(forced(epsilon)[i] for i in order),
        forced_wrong=lambda epsilon: tuple(forced(epsilon)[i] for i in order),
        corrupted=lambda wrong: tuple(forced(0.0)[i] for i in order),
        own_steps=lambda: own()[::-1],
        p_back=lambda wrong: p_back(wrong)[::-1],
    )
    assert metric.measure(shuffled) == metric.measure(evaluation)
    assert metric.parameters(shuffled) == metric.parameters(evaluation)


def test_it_refuses_nothing_with_a_reason(metric: Metric):
    nothing = Evaluation((), (), None, 0)
    with pytest.raises(Unscorable) as refused:
        metric.measure(nothing)
    assert len(str(refused.value)) > 20
    assert metric.count(nothing) == 0
    assert isinstance(metric.parameters(nothing), Mapping)


def test_it_refuses_nothing_even_where_all_else_is_there(metric: Metric, evaluation: Evaluation):
    nothing = dataclasses.replace(
        evaluation,
        prompts=(),
        rollouts=(),
        likelihood=None,
        exact_steps=(),
        forced=lambda epsilon: (),
        forced_wrong=lambda epsilon: (),
        corrupted=lambda wrong: (),
        own_steps=lambda: (),
        finished=None,
        p_back=lambda wrong: np.zeros((0, wrong)),
    )
    with pytest.raises(Unscorable):
        metric.measure(nothing)


def test_its_measures_say_unit_direction_and_meaning(metric: Metric):
    assert metric.measures
    for name, measure in metric.measures.items():
        assert name.isidentifier()
        assert name == name.lower()
        assert measure.unit
        assert measure.direction in ("higher", "lower", "reference")
        assert len(measure.summary.split()) >= 4


def test_its_options_are_documented_and_its_name_can_be_stored(metric: Metric, evaluation: Evaluation):
    declared = options(type(metric))
    assert "definition" in [option.name for option in declared], "the definition is an option, so that it is stored"
    assert all(option.description for option in declared)
    assert type(metric).__doc__
    assert not set("@[]=, ") & set(metric.definition)
    inside: dict[str, Any] = dict(metric.parameters(evaluation))
    assert not any(set("[]=, ") & set(f"{key}{value}") for key, value in inside.items())
    assert content_hash(inside) == content_hash(dict(metric.parameters(evaluation)))
    assert build(METRICS, Plugin(name=name_of(metric), options=dataclasses.asdict(metric)), "metrics") == metric  # type: ignore[call-overload]


def test_no_two_metrics_claim_one_measure():
    claimed = Counter(measure for name in METRICS for measure in METRICS[name].measures)
    assert [measure for measure, count in claimed.items() if count > 1] == []


def name_of(metric: Metric) -> str:
    return next(name for name in METRICS if METRICS[name] is type(metric))
