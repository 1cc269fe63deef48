"""Divergences of finished texts on distributions that can be read, and against scipy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from harness.metrics.finished import Finished
from harness.plugins.metric import Unscorable
from harness.records.evaluation import Evaluation, FinishedLaw
from harness.records.law import Law


class Four:
    """Any law will do: the numbers come from `finished`."""

    alphabet, start = "ab", 0

    def next(self, state: Any) -> dict[str, float]:
        return {"": 1.0}

    def advance(self, state: Any, symbol: str) -> None:
        return None


def law(share: list[float], policy: list[float], leaks: bool = True) -> FinishedLaw:
    with np.errstate(divide="ignore"):
        low = np.log(policy)
    return FinishedLaw(np.array(share), np.log(share), low, low, leaks, states=9)


def evaluation(finished: FinishedLaw | Callable[..., FinishedLaw], known: Law | None = None) -> Evaluation:
    ask = finished if callable(finished) else lambda texts, states: finished
    return Evaluation((), (), None, 0, law=known or Four(), finished=ask)  # type: ignore[arg-type]


def test_by_hand() -> None:
    """Law (1/2, 1/2), policy (1/4, 1/4), so half of its texts are outside: KL(law || p) = ln 2, tv = 1/2.

    m is 3/8, 3/8 and 1/4 outside: js = (ln(4/3) + 1/2 ln(2/3) + 1/2 ln 2) / 2.  Inside, the policy is the law: 0.
    """
    found = Finished().measure(evaluation(law([0.5, 0.5], [0.25, 0.25])))
    assert found == pytest.approx(
        {
            "finished_kl": math.log(2),
            "finished_tv": 0.5,
            "finished_js": (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2,
            "finished_outside": 0.5,
            "finished_kl_reverse": math.inf,
            "finished_kl_inside": 0.0,
            "finished_kl_se": 0.0,
            "finished_bound": 0.0,
        },
        abs=1e-15,
    )


@pytest.mark.parametrize("seed", range(5))
def test_as_scipy_computes_it(seed: int) -> None:
    """Thirty texts of the language and one for all others, to which the law gives nothing; then without the others."""
    rng = np.random.default_rng(seed)
    true, policy = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(31))
    found = Finished().measure(evaluation(law(true.tolist(), policy[:30].tolist())))
    everything = np.append(true, 0)
    inside = policy[:30] / policy[:30].sum()
    assert found["finished_kl"] == pytest.approx(rel_entr(true, policy[:30]).sum(), rel=1e-12)
    assert found["finished_tv"] == pytest.approx(np.abs(everything - policy).sum() / 2, rel=1e-12)
    assert found["finished_js"] == pytest.approx(jensenshannon(everything, policy) ** 2, rel=1e-9)
    assert found["finished_outside"] == pytest.approx(policy[30], rel=1e-9)
    assert found["finished_kl_inside"] == pytest.approx(rel_entr(inside, true).sum(), rel=1e-9)
    assert found["finished_kl_reverse"] == math.inf
    within = Finished().measure(evaluation(law(true.tolist(), inside.tolist(), leaks=False)))
    assert within["finished_kl_reverse"] == pytest.approx(rel_entr(inside, true).sum(), rel=1e-9)


def test_a_text_that_is_never_written_makes_one_direction_infinite() -> None:
    """Law (1/2, 1/2), policy (1, 0): KL(law || p) is infinite, KL(p || law) = ln 2, tv = 1/2."""
    found = Finished().measure(evaluation(law([0.5, 0.5], [1.0, 0.0], leaks=False)))
    assert found["finished_kl"] == math.inf
    assert found["finished_kl_reverse"] == pytest.approx(math.log(2))
    assert found["finished_tv"] == 0.5


def test_a_sample_estimates_the_same_numbers() -> None:
    """20,000 texts drawn from a law of 40: tv, js and outside within 5 standard errors (each at most .5 / sqrt(n)),
    kl within 5 of its own standard error, which it states."""
    rng = np.random.default_rng(1)
    true, policy = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(41))[:40]
    exact = Finished().measure(evaluation(law(true.tolist(), policy.tolist())))
    drawn = rng.choice(40, 20_000, p=true)
    sample = FinishedLaw(
        np.full(20_000, 1 / 20_000), np.log(true[drawn]), np.log(policy[drawn]), np.log(policy[drawn]), True, 99
    )
    found = Finished(definition="sampled").measure(evaluation(sample))
    assert 0 < found["finished_kl_se"] < 0.02
    assert found["finished_kl"] == pytest.approx(exact["finished_kl"], abs=5 * found["finished_kl_se"])
    for name in ("finished_tv", "finished_js"):
        assert found[name] == pytest.approx(exact[name], abs=5 * 0.5 / math.sqrt(20_000))


def test_bounds_are_scored_in_their_middle_and_refused_where_they_say_too_little() -> None:
    """Bounds of .02 around log p: the half-width is .01; bounds of .2 are refused with what to type."""
    exact = law([0.5, 0.5], [0.25, 0.25])
    narrow = dataclasses.replace(exact, low=exact.low - 0.01, high=exact.high + 0.01)
    found = Finished(definition="sampled", texts=2).measure(evaluation(narrow))
    assert found["finished_bound"] == pytest.approx(0.01)
    assert found["finished_kl"] == pytest.approx(math.log(2))
    with pytest.raises(Unscorable, match=r"known to \+-0\.1 nats only; raise states, or lower texts"):
        Finished().measure(evaluation(dataclasses.replace(exact, low=exact.low - 0.1, high=exact.high + 0.1)))
    with pytest.raises(Unscorable, match="inf nats"):
        Finished().measure(evaluation(dataclasses.replace(exact, high=exact.high + math.inf)))


def test_asks_for_what_its_options_say_and_names_what_the_number_depends_on() -> None:
    asked = []

    def finish(texts: int | None, states: int) -> FinishedLaw:
        asked.append((texts, states))
        return law([0.5, 0.5], [0.25, 0.25])

    some = evaluation(finish)
    Finished(states=7).measure(some)
    Finished(definition="sampled", texts=3, states=9).measure(some)
    assert asked == [(None, 7), (3, 9)]
    assert Finished(states=7).parameters(some) == {}
    assert Finished(definition="sampled", texts=3, states=9).parameters(some) == {"texts": 3, "states": 9}
    assert Finished().count(some) == 2


def test_refuses_with_the_reason() -> None:
    with pytest.raises(Unscorable, match="no exact law"):
        Finished().measure(Evaluation((), (), None, 0))
    with pytest.raises(Unscorable, match="needs the policy"):
        Finished().measure(Evaluation((), (), None, 0, law=Four()))
    assert Finished().count(Evaluation((), (), None, 0)) == 0
