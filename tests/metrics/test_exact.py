"""Exact KL against fractions by hand and scipy, and support against languages small enough to read."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from harness.metrics.exact import ExactKL, OutOfSupport
from harness.metrics.law import forbidden
from harness.plugins.metric import Unscorable
from harness.records.data import Example
from harness.records.evaluation import Evaluation, ExactStep
from harness.records.law import Law
from harness.records.rollout import Rollout, Trajectory


class Pairs:
    """Texts `ab`, `abab`, ... and the empty one: after each whole pair it ends with probability 1/2."""

    start, alphabet = "whole", "ab"

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {"a": 0.5, "b": 0.0, "": 0.5} if state == "whole" else {"b": 1.0}

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return {("whole", "a"): "half", ("half", "b"): "whole"}.get((str(state), symbol))


@dataclass(frozen=True)
class NoRepeat:
    """A Markov chain over ab that never repeats a letter, yet knows how to go on after one was repeated."""

    start: str = ""
    alphabet: str = "ab"

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {symbol: 0.4 for symbol in "ab" if symbol != state} | {"": 0.6 if state else 0.2}

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return symbol if symbol in "ab" else None


def rollout(text: str, stop: Literal["ended", "depth", "budget"] = "ended") -> Rollout:
    return Rollout(Trajectory((7,), (0,)), (0.0,), stop, text, ())


def measure(law: Law | None, *cases: tuple[str, Rollout]) -> dict[str, float]:
    prompts = tuple(Example("", prompt) for prompt, _ in cases)
    return dict(OutOfSupport().measure(Evaluation(prompts, tuple(r for _, r in cases), None, 0, law=law)))


def kl(*steps: ExactStep) -> dict[str, float]:
    return dict(ExactKL().measure(Evaluation((), (), None, 0, law=Pairs(), exact_steps=steps)))


def step(true: list[float], policy: list[float], backspace: float) -> ExactStep:
    with np.errstate(divide="ignore"):
        return ExactStep(np.log(true), np.log(policy), float(np.log(backspace)))


def test_kl_by_hand():
    """Law (1/2, 1/2, 0).  Policy (1/4, 1/4, 0) with 1/2 on <backspace>: raw ln 2, renormalised equal, so 0.

    Law (0, 0, 1), policy (1/4, 1/4, 1/4) with 1/4 on <backspace>: raw ln 4, renormalised ln 3.
    """
    values = kl(step([0.5, 0.5, 0], [0.25, 0.25, 0], 0.5), step([0, 0, 1], [0.25, 0.25, 0.25], 0.25))
    assert values == pytest.approx({"exact_kl": math.log(3) / 2, "exact_kl_raw": (math.log(2) + math.log(4)) / 2})


def test_mass_on_unknown_characters_stays_lost():
    """Law (1, 0), policy (1/2, 0), nothing on <backspace>, so 1/2 on characters the law does not know: ln 2 twice."""
    assert kl(step([1, 0], [0.5, 0], 0)) == pytest.approx({"exact_kl": math.log(2), "exact_kl_raw": math.log(2)})


def test_a_policy_that_forbids_what_the_law_does_is_infinitely_far():
    assert kl(step([0.5, 0.5], [1, 0], 0)) == {"exact_kl": math.inf, "exact_kl_raw": math.inf}


def test_kl_as_scipy_computes_it():
    """Ten random states, six outcomes, the last logit <backspace>: renormalising is a softmax over the first six."""
    rng = np.random.default_rng(0)
    steps, expected = [], []
    for _ in range(10):
        logits, true = rng.normal(size=7), rng.dirichlet(np.ones(6))
        all_seven = log_softmax(logits)
        steps.append(ExactStep(np.log(true), all_seven[:6], float(all_seven[6])))
        expected.append(rel_entr(true, np.exp(log_softmax(logits[:6]))).sum())
    assert kl(*steps)["exact_kl"] == pytest.approx(np.mean(expected), rel=1e-12)


def test_flags_by_hand():
    """`abaab`: the third `a` is forbidden and no text goes on from there, so `b` and the end are as well."""
    assert forbidden(Pairs(), "", rollout("abaab")) == [False, False, False, True, True, True]
    assert forbidden(Pairs(), "", rollout("a")) == [False, True]  # ended in the middle of a pair
    assert forbidden(Pairs(), "", rollout("a", "depth")) == [False]  # cut off: the end was not its choice
    assert forbidden(Pairs(), "a", rollout("b")) == [False, False]  # goes on where the prompt stopped


def test_a_law_that_goes_on_forgives():
    """`aab`: the second `a` has probability 0, but the chain knows what follows an `a`.  `x` it cannot go on from."""
    assert forbidden(NoRepeat(), "", rollout("aab")) == [False, True, False, False]
    assert forbidden(NoRepeat(), "", rollout("axb")) == [False, True, True, True]


def test_rates_by_hand():
    """Flags of `abaab$` (3 of 6), `ab$` (0 of 3) and `a` cut off (0 of 1): 3 of 10 actions, 1 of 3 texts."""
    values = measure(Pairs(), ("", rollout("abaab")), ("", rollout("ab")), ("", rollout("a", "budget")))
    assert values == pytest.approx({"out_of_support": 3 / 10, "bad_texts": 1 / 3})


def test_rates_by_position():
    """The same texts: position 0 is right three times, 1 and 2 twice; then `a`, `b` and the first one's end are not."""
    cases = ("", rollout("abaab")), ("", rollout("ab")), ("", rollout("a", "budget"))
    prompts, rollouts = tuple(Example("", prompt) for prompt, _ in cases), tuple(r for _, r in cases)
    curve = OutOfSupport().profiles(Evaluation(prompts, rollouts, None, 0, law=Pairs()))["out_of_support_at"]
    assert curve == [(0, 0, 3), (1, 0, 2), (2, 0, 2), (3, 1, 1), (4, 1, 1), (5, 1, 1)]


def test_the_name_says_how_many_texts_the_states_are_of():
    """Two states at position 0: two texts."""
    steps = [ExactStep(np.zeros(1), np.zeros(1), -math.inf, position) for position in (0, 1, 0)]
    assert ExactKL().parameters(Evaluation((), (), None, 0, law=Pairs(), exact_steps=tuple(steps))) == {"texts": 2}
    assert ExactKL().definition == "law-to-policy"


@pytest.mark.parametrize("law", [Pairs(), NoRepeat()])
def test_what_the_law_writes_is_in_its_support(law: Law):
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(50):
        text, state = "", law.start
        while symbol := str(rng.choice(list(after := law.next(state)), p=list(after.values()))):
            text, state = text + symbol, law.advance(state, symbol)
        cases.append(("", rollout(text)))
    assert measure(law, *cases) == {"out_of_support": 0, "bad_texts": 0}


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="no exact law"):
        measure(None, ("", rollout("ab")))
    with pytest.raises(Unscorable, match="no exact law"):
        ExactKL().measure(Evaluation((), (), None, 0))
    with pytest.raises(Unscorable, match="neither a character nor an end"):
        measure(Pairs(), ("", rollout("", "depth")))
    with pytest.raises(Unscorable, match="begins with the prompt 'b'"):
        measure(Pairs(), ("b", rollout("a")))
    with pytest.raises(Unscorable, match="no policy was asked at expert states"):
        kl()
    with pytest.raises(Unscorable, match="NaN"):
        kl(step([0.5, 0.5], [math.nan, 0.5], 0))
    with pytest.raises(Unscorable, match="<backspace> has probability 1"):
        kl(step([0.5, 0.5], [0, 0], 1))
