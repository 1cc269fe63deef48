"""Excess error on states that can be read, and flat where a policy does not compound its errors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pytest

from harness.metrics.compounding import ExcessError
from harness.plugins.metric import Unscorable
from harness.records.evaluation import Evaluation, ExactStep


class Letters:
    """Three characters; the states come ready-made."""

    alphabet, start = "abc", 0

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {"": 1.0}

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return None


def step(position: int, chance: float, backspace: float = 0.0) -> ExactStep:
    """A state in which the law is sure of a and the policy gives it `chance`: regret -ln(chance / (1 - backspace))."""
    with np.errstate(divide="ignore"):
        return ExactStep(np.log([1.0, 0, 0, 0]), np.log([chance, 0.0, 0.0, 0.0]), float(np.log(backspace)), position)


def lost(position: int) -> ExactStep:
    return ExactStep(np.full(4, -math.inf), np.log(np.full(4, 0.25)), -math.inf, position)


def evaluation(own: Sequence[ExactStep], expert: Sequence[ExactStep]) -> Evaluation:
    return Evaluation((), (), None, 0, law=Letters(), exact_steps=tuple(expert), own_steps=lambda: tuple(own))


OWN = [step(0, 1 / 2), step(0, 1 / 2), step(1, 1 / 4), step(1, 1 / 2), step(2, 1 / 8), lost(2), step(3, 1 / 2)]
EXPERT = [step(0, 1 / 2), step(1, 1 / 2), step(2, 1 / 2), step(0, 1 / 4, backspace=1 / 2)]


def test_by_hand() -> None:
    """In units of ln 2 the own regrets are 1, 1 | 2, 1 | 3, log2(4) = 2 where it is lost | 1, the expert's 1, 1 | 1 | 1
    (a chance of 1/4 beside <backspace> 1/2 is 1/2 without it).  Means 1, 3/2, 5/2 over 1, 1, 1; position 3 has no
    expert state.  Accumulated 5/3, over the later two 4/2; 11 of ln 2 over 7 own states; one of them is lost.
    """
    found = ExcessError().measure(evaluation(OWN, EXPERT))
    assert found == pytest.approx(
        {
            "excess_error": 5 / 3,
            "excess_error_late": 2.0,
            "own_regret": 11 / 7 * math.log(2),
            "lost_states": 1 / 7,
        }
    )


def test_curves_by_hand() -> None:
    curves = ExcessError().profiles(evaluation(OWN, EXPERT))
    assert set(curves) == set(ExcessError.profile_measures)
    read = {name: [(p.x, pytest.approx(p.value), p.n) for p in points] for name, points in curves.items()}
    unit = math.log(2)
    assert read["excess_error_at"] == [(0, 1, 2), (1, 3 / 2, 2), (2, 5 / 2, 2)]
    assert read["excess_error_up_to"] == [(0, 1, 2), (1, 5 / 4, 2), (2, 5 / 3, 2)]
    assert read["own_regret_at"] == [(0, unit, 2), (1, 3 / 2 * unit, 2), (2, 5 / 2 * unit, 2), (3, unit, 1)]
    assert read["expert_regret_at"] == [(0, unit, 2), (1, unit, 1), (2, unit, 1)]
    assert read["lost_at"] == [(0, 0, 2), (1, 0, 2), (2, 1 / 2, 2), (3, 0, 1)]


def test_flat_at_one_without_compounding() -> None:
    """If all states are alike, own and expert, each point of both curves is exactly 1."""
    own = [step(t, 0.9) for t in range(5) for _ in range(3)]
    expert = [step(t, 0.9) for t in range(5) for _ in range(2)]
    curves = ExcessError().profiles(evaluation(own, expert))
    for name in ("excess_error_at", "excess_error_up_to"):
        assert [p.value for p in curves[name]] == pytest.approx([1] * 5)


def test_a_position_without_expert_regret_has_no_point() -> None:
    """The expert's regret is 0 at first: no ratio there, and the sum begins to say something at position 1."""
    curves = ExcessError().profiles(evaluation([step(0, 0.5), step(1, 0.25)], [step(0, 1.0), step(1, 0.5)]))
    assert [(p.x, pytest.approx(p.value)) for p in curves["excess_error_at"]] == [(1, 2)]
    assert [(p.x, pytest.approx(p.value)) for p in curves["excess_error_up_to"]] == [(1, 3)]


def test_the_name_says_how_many_expert_texts() -> None:
    assert ExcessError().parameters(evaluation(OWN, EXPERT)) == {"texts": 2}
    assert ExcessError().count(evaluation(OWN, EXPERT)) == 7


def test_refuses_with_the_reason() -> None:
    for given, reason in (
        (Evaluation((), (), None, 0), "no exact law"),
        (Evaluation((), (), None, 0, law=Letters()), "needs the policy"),
        (evaluation([], EXPERT), "0 own states"),
        (evaluation(OWN, []), "0 expert states"),
        (evaluation(OWN, [step(0, 1.0)]), "is 0.0 there"),
        (evaluation(OWN, [step(0, 0.0)]), "is inf there"),
        (evaluation(OWN, [step(0, math.nan)]), "NaN"),
    ):
        with pytest.raises(Unscorable, match=reason):
            ExcessError().measure(given)
    assert ExcessError().count(Evaluation((), (), None, 0)) == 0
