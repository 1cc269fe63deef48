"""A policy beside a known law, against plain forward passes in states that can be read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tiny_policies import fresh_logits, tiny_policy

from harness.data.checks import check_characters
from harness.errors import ConfigError
from harness.evaluation.exact import chances, expert_steps, own_steps, writer
from harness.generation.decoders import Decoder, Greedy
from harness.records import Example, Rollout, Trajectory


class Coin:
    """Texts over `ab` that end with probability 1/2 after each letter; letters alike, never empty."""

    start = 0
    alphabet = "ab"

    def next(self, state: int) -> dict[str, float]:
        return {"a": 0.5, "b": 0.5} if state == 0 else {"a": 0.25, "b": 0.25, "": 0.5}

    def advance(self, state: int, symbol: str) -> int | None:
        return 1 if symbol in "ab" else None


def test_expert_steps_are_the_policys_law_beside_the_true_one() -> None:
    """Text "ab" has three states: before a (no end possible), before b, before the end."""
    policy = tiny_policy()
    steps = list(expert_steps(policy, Coin(), [Example("ab"), Example("b")]))
    assert len(steps) == 5
    half, quarter = math.log(0.5), math.log(0.25)
    assert [step.true.tolist() for step in steps[:2]] == [[half, half, -math.inf], [quarter, quarter, half]]
    ids = [*policy.encode("ab"), policy.end_id]
    logits = fresh_logits(policy, (policy.start_id, *policy.encode("a")))
    assert steps[1].policy == pytest.approx(logits.log_softmax(-1)[ids].numpy(), abs=1e-10)
    assert steps[1].policy_backspace == pytest.approx(float(logits.log_softmax(-1)[policy.space.backspace_id]))
    assert steps[0].policy_backspace == -math.inf  # nothing to delete yet


def test_own_steps_are_the_beginnings_of_reduced_texts() -> None:
    """Written a, back, b and ended: the states are "" and b.  "bca" was cut off after c left the language: before b,
    c and a there are three states, the third lost.  An empty text that was cut off has none, a prompted one neither.
    """
    policy = tiny_policy()
    a, b, c = policy.encode("abc")
    back, start = policy.space.backspace_id, (policy.start_id,)
    assert back is not None
    rollouts = [
        Rollout(Trajectory(start, (a, back, b, policy.end_id)), (0.0,) * 4, "ended", "b", (b,)),
        Rollout(Trajectory(start, (b, c, a)), (0.0,) * 3, "depth", "bca", (b, c, a)),
        Rollout(Trajectory(start, (a, back)), (0.0,) * 2, "budget", "", ()),
        Rollout(Trajectory((*start, a), (b,)), (0.0,), "depth", "b", (b,)),
    ]
    steps = list(own_steps(policy, Coin(), rollouts))
    assert [step.position for step in steps] == [0, 1, 0, 1, 2]
    assert [step.lost for step in steps] == [False] * 4 + [True]
    logits = fresh_logits(policy, (policy.start_id, b, c))
    assert steps[4].policy == pytest.approx(logits.log_softmax(-1)[[a, b, policy.end_id]].numpy(), abs=1e-10)
    assert steps[1].true == pytest.approx(steps[3].true)


def test_chances_are_what_the_decoder_draws_from() -> None:
    """Three texts of two lengths; at temperature 1/2 logits double; <backspace> has no chance before any text."""
    policy = tiny_policy(seed=2)
    a, b = policy.encode("ab")
    back = policy.space.backspace_id
    found = chances(policy, Decoder(temperature=0.5), [(a, b), (), (b, b)])
    for row, text in zip(found, [(a, b), (), (b, b)], strict=True):
        logits = fresh_logits(policy, (policy.start_id, *text))
        if not text:
            logits[back] = -math.inf
        assert row == pytest.approx((2 * logits).softmax(-1).numpy(), abs=1e-10)
    sure = chances(policy, Greedy(), [(a,), (b,)])
    assert [row.argmax() for row in sure] == [row.argmax() for row in chances(policy, Decoder(), [(a,), (b,)])]
    assert sure.max(1).tolist() == sure.sum(1).tolist() == [1, 1]
    top = chances(policy, Decoder(top_k=2), [(a,)])[0]
    assert np.count_nonzero(top) == 2
    assert top.sum() == pytest.approx(1)


def test_the_writer_stops_acting_one_token_before_the_context_is_full() -> None:
    """Context 24 holds the start and 23 letters; the 23rd is written last, so the policy acts in texts of up to 22."""
    policy = tiny_policy(context=24)
    assert writer(policy, Coin(), Decoder(), None).longest == 22
    assert writer(policy, Coin(), Decoder(), 5).longest == 4
    assert writer(policy, Coin(), Decoder(), 99).longest == 22


class Foreign(Coin):
    """A language with a character that the policy does not know."""

    alphabet = "abz"


def test_a_character_that_the_policy_does_not_know_has_no_token() -> None:
    policy = tiny_policy()
    assert set(writer(policy, Foreign(), Decoder(), None).token) == {"a", "b"}


def test_characters_and_context_are_checked() -> None:
    policy = tiny_policy(context=8)
    check_characters(policy, Coin(), [Example("ababab")])
    with pytest.raises(ConfigError, match=r"model\.context=8: texts need 9 with start and end; raise it to that"):
        check_characters(policy, Coin(), [Example("abababa")])
