"""Rates of actions against four rollouts counted by hand, and against regular expressions over random ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.actions import Actions
from harness.plugins import Unscorable
from harness.records import Evaluation, Example, Rollout, Trajectory

IDS = {"$": 0, "a": 1, "b": 2, "<": 9}  # end, two tokens, <backspace>; a capital (or >) stands for an injected one
Stop = Literal["ended", "depth", "budget"]


def rollout(actions: str, stop: Stop) -> Rollout:
    text = reduce(actions)
    injected = tuple(action in "AB>" for action in actions)
    ids = tuple(IDS[action.lower().replace(">", "<")] for action in actions)
    return Rollout(Trajectory((7,), ids, injected), (0.0,) * len(ids), stop, text.lower(), ())


def reduce(actions: str) -> str:
    """Delete token-backspace pairs until none is left, then the end and backspaces that had nothing to delete."""
    text, before = actions.replace(">", "<").rstrip("$"), None
    while text != before:
        before, text = text, re.sub("[abAB]<", "", text)
    return text.replace("<", "")


def measure(*rollouts: Rollout, backspace_id: int | None = 9) -> dict[str, float]:
    case = Evaluation(tuple(Example("") for _ in rollouts), rollouts, backspace_id, 0)
    return dict(Actions().measure(case))


def test_by_hand():
    """
    rollout    stop    own actions  <  own tokens  kept  longest run  loop  empty
    a<a<b$     ended             6  2           3     1            1   yes
    ab<<bb     depth             6  2           4     2            2
    A<b$       ended             3  1           1     1            1
    Aa<<       budget            3  2           1     0            2         yes
    sum                         18  7           9     4            6     1     1

    Per kept token (9 + 7) / 4 = 4 actions.
    """
    assert measure(
        rollout("a<a<b$", "ended"), rollout("ab<<bb", "depth"), rollout("A<b$", "ended"), rollout("Aa<<", "budget")
    ) == pytest.approx(
        {
            "backspace_rate": 7 / 18,
            "actions_per_kept_token": 4,
            "ended_rate": 1 / 2,
            "truncated_rate": 1 / 2,
            "budget_rate": 1 / 4,
            "backspace_run": 6 / 4,
            "backspace_run_max": 2,
            "loop_rate": 1 / 4,
            "empty_fraction": 1 / 4,
        }
    )


@pytest.mark.parametrize(
    ("actions", "loops"), [("a<a<", 1), ("a<b<", 0), ("a<a", 0), ("A<a<", 0), ("A<A<", 0), ("ba<a<b", 1)]
)
def test_a_loop_is_the_same_token_written_and_deleted_twice(actions: str, loops: int):
    """The environment's own token does not make the policy loop."""
    assert measure(rollout(actions, "depth"))["loop_rate"] == loops


def test_without_backspace_each_kept_token_costs_one_action():
    values = measure(rollout("ab$", "ended"), rollout("abab", "depth"), backspace_id=None)
    assert (values["backspace_rate"], values["actions_per_kept_token"], values["backspace_run_max"]) == (0, 1, 0)


def test_a_policy_that_keeps_nothing_pays_infinitely_much():
    values = measure(rollout("$", "ended"), rollout("a<$", "ended"))
    assert values["actions_per_kept_token"] == math.inf
    assert values["empty_fraction"] == 1


def test_refuses_with_the_reason():
    with pytest.raises(Unscorable, match="no rollouts"):
        measure()
    with pytest.raises(Unscorable, match="all actions of the 1 rollouts were injected"):
        measure(rollout("AB", "depth"))


@given(st.lists(st.text("abAB<>", min_size=1, max_size=20).map(lambda s: s + "a$"), min_size=1, max_size=5))
def test_as_regular_expressions_see_it(strings: Sequence[str]):
    values = measure(*(rollout(actions, "ended") for actions in strings))
    own = sum(len(re.findall(r"[ab<$]", actions)) for actions in strings)
    backspaces = sum(actions.count("<") for actions in strings)
    tokens = sum(len(re.findall("[ab]", actions)) for actions in strings)
    kept = sum(len(re.findall("[ab]", reduce(actions))) for actions in strings)
    runs = [max(map(len, re.findall("<+", actions)), default=0) for actions in strings]
    assert values["backspace_rate"] == pytest.approx(backspaces / own)
    assert values["actions_per_kept_token"] == pytest.approx((tokens + backspaces) / kept)
    assert values["backspace_run"] == pytest.approx(sum(runs) / len(runs))
    assert values["backspace_run_max"] == max(runs)
    loops = sum(re.search(r"([ab])<\1<", actions) is not None for actions in strings)
    assert values["loop_rate"] == pytest.approx(loops / len(strings))
