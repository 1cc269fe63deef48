"""Rates of actions and reverts against rollouts counted by hand, and against regular expressions over random ones."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.actions import Actions, Revert, UsefulRevert, reverts
from harness.plugins.metric import Unscorable
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


def test_discarded_texts_cost_actions():
    """Three kept tokens cost 3 + 5 actions where a text of five was thrown away: 8 / 3."""
    kept = dataclasses.replace(rollout("aba$", "ended"), discarded=5)
    assert measure(kept)["actions_per_kept_token"] == pytest.approx(8 / 3)


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


# ---------------------------------------------------------------------------------------------------- reverts

PROMPT = 7


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ("a<b$", [("", "a", "b")]),
        ("a<$", [("", "a", "$")]),  # it ended instead
        ("aab<<b$", [("a", "a", "b")]),  # of two deleted in a row, the place of the second is written again
        ("a<a<b$", [("", "a", "a"), ("", "a", "b")]),
        ("ab<", []),  # cut off before anything replaced it
        ("A<b$", []),  # the environment's token
        ("a>b$", []),  # the environment's <backspace>
        ("a<Bb$", []),  # the environment's replacement
        ("Aa<b$", [("a", "a", "b")]),  # in a state that the environment led to, the policy's own choice
        ("aA<<b$", [("", "a", "b")]),
    ],
)
def test_which_deletions_have_a_replacement(actions: str, expected: list[tuple[str, str, str]]):
    found = reverts(rollout(actions, "ended" if actions.endswith("$") else "budget"), IDS["<"])
    assert found == [
        Revert((PROMPT, *(IDS[c] for c in state)), IDS[deleted], IDS[instead]) for state, deleted, instead in expected
    ]


class Table:
    """Log-probabilities by (text so far, action), NaN for what is not in the table."""

    name = "table"

    def __init__(self, chances: Mapping[tuple[str, str], float]) -> None:
        self.chances = chances

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        letters = {number: letter for letter, number in IDS.items()}
        keys = [("".join(letters[t] for t in s[1:]), letters[t]) for s, t in zip(states, tokens, strict=True)]
        with np.errstate(divide="ignore"):
            return np.log([self.chances.get(key, np.nan) for key in keys])


def revert_case(*rollouts: Rollout, scorer: Table | None) -> Evaluation:
    return Evaluation(tuple(Example("") for _ in rollouts), rollouts, 9, 0, token_scorer=scorer)


def test_useful_reverts_by_hand():
    """At the start a has .2, b .5 and the end 0; after a, a is as likely as b; after b nothing is known.

    a<b$: .2 < .5, useful.  b<a$: harmful.  a<$: the end is impossible, harmful.  a<a$: the same again, neither.
    ab<a$: equally likely, neither.  ba<b$: unknown, left out.  One of five is useful, two are harmful.
    """
    table = Table({("", "a"): 0.2, ("", "b"): 0.5, ("", "$"): 0.0, ("a", "a"): 0.4, ("a", "b"): 0.4})
    texts = ("a<b$", "b<a$", "a<$", "a<a$", "ab<a$", "ba<b$")
    case = revert_case(*(rollout(actions, "ended") for actions in texts), scorer=table)
    assert UsefulRevert().measure(case) == {"useful_revert_rate": 1 / 5, "harmful_revert_rate": 2 / 5}
    assert UsefulRevert().count(case) == 6
    assert UsefulRevert().parameters(case) == {"reference": "table"}


def test_useful_reverts_refuse_with_the_reason():
    written = rollout("a<b$", "ended")
    with pytest.raises(Unscorable, match="no <backspace> action"):
        UsefulRevert().measure(Evaluation((Example(""),), (written,), None, 0))
    with pytest.raises(Unscorable, match="in 1 rollouts no own token was deleted and directly replaced"):
        UsefulRevert().measure(revert_case(rollout("ab$", "ended"), scorer=Table({})))
    with pytest.raises(Unscorable, match="no law and no base model"):
        UsefulRevert().measure(revert_case(written, scorer=None))
    with pytest.raises(Unscorable, match="gives no probability in any of the 1 states"):
        UsefulRevert().measure(revert_case(written, scorer=Table({})))
