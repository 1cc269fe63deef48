"""The replay buffer: where rollouts start, when they are refreshed, and how old they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from tiny_policies import tiny_policy

from harness.actions.noise import from_weights
from harness.actions.weights import Weighting
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy
from harness.plugins.trainer import Replay
from harness.records import Rollout, Trajectory
from harness.training.replay_buffer import ReplayBuffer, StartMeasure, nodes


def expert(policy: Policy) -> list[Trajectory]:
    return [Trajectory((policy.start_id,), (*policy.encode(text), policy.end_id)) for text in ("ab", "abcdefa")]


def only_f(policy: Policy) -> object:
    """Noise that proposes f, or e where f is right."""
    line = np.zeros(policy.space.size)
    line[policy.encode("f")[0]], line[policy.encode("e")[0]] = 1.0, 1e-9
    return from_weights(line, policy.space)


def test_mass_of_a_matched_start() -> None:
    """Z = 1 + kappa rate C with C the mean of (1 - .5^3)/.5 = 1.75 and (1 - .5^8)/.5 = 1.9921875: 1.87109375.

    kappa 2, rate .1: Z = 1.37421875.  The figure of the objective's page, .05 and 128 positions at .998, is 6.65.
    """
    policy = tiny_policy()
    weighting = Weighting(gamma=0.5, kappa=2.0)
    measure = StartMeasure(expert(policy), weighting, "matched", 0.1, 1, only_f(policy), 200)
    assert measure.mass == pytest.approx(1.37421875)
    long = [Trajectory((0,), (1,) * 128)]
    assert StartMeasure(long, Weighting(gamma=0.998), "matched", 0.05, 1, only_f(policy), 200).mass == pytest.approx(
        6.65, abs=0.005
    )
    assert StartMeasure(expert(policy), weighting, "prompt", 0.1, 1, only_f(policy), 200).mass == 1
    assert StartMeasure(expert(policy), weighting, "matched", 0.1, 1, None, 200).mass == 1


def test_matched_starts_follow_the_measure() -> None:
    """20,000 starts: prompts with probability 1/Z, noise states s_i z in proportion to gamma^i over both rows."""
    policy = tiny_policy()
    rows = expert(policy)
    measure = StartMeasure(rows, Weighting(gamma=0.5, kappa=9.0), "matched", 0.2, 1, only_f(policy), 200)
    found = Counter(start.given for start in measure.draw(20_000, np.random.default_rng(0)))
    share = {given: n / 20_000 for given, n in found.items()}
    assert share[()] == pytest.approx(1 / measure.mass, abs=0.015)
    total = 1.75 + 1.9921875  # of gamma^i over both rows
    f, e = policy.encode("f")[0], policy.encode("e")[0]
    for i in range(8):
        prefix = tuple(policy.encode("abcdefa"[:i]))
        wrong = e if i == 5 else f
        rows_with = 2 if i < 3 else 1  # the short row has positions 0, 1, 2
        expected = (1 - 1 / measure.mass) * rows_with * 0.5**i / total
        assert share.get((*prefix, wrong), 0) == pytest.approx(expected, abs=0.015)


def test_matched_starts_have_runs_of_mistakes_like_the_expert() -> None:
    """Runs of 1, 2 and 3 wrong tokens, a third each; 9,000 noise starts, sd .005."""
    policy = tiny_policy()
    measure = StartMeasure(expert(policy)[:1], Weighting(gamma=0.5, kappa=1e6), "matched", 0.2, 3, only_f(policy), 200)
    f = policy.encode("f")[0]
    lengths = Counter(start.given.count(f) for start in measure.draw(9000, np.random.default_rng(0)))
    assert set(lengths) == {1, 2, 3}
    assert all(abs(n / 9000 - 1 / 3) < 0.025 for n in lengths.values())


def test_starts_fill_the_context_and_no_more() -> None:
    """Context 9: the long row's last place, before the end, is at depth 8 and has room for one wrong token of 3."""
    policy = tiny_policy()
    measure = StartMeasure(expert(policy), Weighting(gamma=0.999, kappa=1e6), "matched", 0.2, 3, only_f(policy), 9)
    depths = [len(start.prompt) + len(start.given) for start in measure.draw(3000, np.random.default_rng(0))]
    assert max(depths) == 9


def buffer(policy: Policy, **options: int) -> ReplayBuffer:
    replay = Replay(size=6, fresh=4, every=5, start="prompt", **options)
    return ReplayBuffer(replay, StartMeasure(expert(policy), Weighting(gamma=0.9), "prompt", 0.0, 1, None, 200), seed=3)


def test_refresh_size_and_age() -> None:
    """Refreshes at steps 0, 5, 10 bring 4 each; 6 are kept, so at step 12 there are 4 of age 2 and 2 of age 7."""
    policy = tiny_policy(seed=3)
    rollouts = buffer(policy)
    for step in range(13):
        rollouts.refresh(policy, step)
    rows, age = rollouts.draw(600, 12)
    assert len(rows) == 600
    assert age == pytest.approx((4 * 2 + 2 * 7) / 6, abs=0.4)
    assert len(set(rows)) <= 6


def test_the_same_steps_give_the_same_rollouts() -> None:
    policy = tiny_policy(seed=3)

    def draws() -> list[Trajectory]:
        rollouts = buffer(policy)
        for step in range(6):
            rollouts.refresh(policy, step)
        return rollouts.draw(10, 5)[0]

    assert draws() == draws()


def test_sampled_actions_are_the_policys_own() -> None:
    policy = tiny_policy(seed=3)
    rollouts = buffer(policy)
    rollouts.refresh(policy, 0)
    rows, _ = rollouts.draw(200, 0)
    assert rollouts.contents.sampled_actions == sum(len(row.actions) for row in set(rows))


def test_nodes_of_a_rollout_by_hand() -> None:
    """2 given + prompt 1 = 3 nodes at the start; then a, b, <back>, c, end: one node for each action but the last."""
    policy = tiny_policy()
    back, end = policy.space.backspace_id, policy.end_id
    assert back is not None
    a, b, c = policy.encode("abc")

    def count(actions: tuple[int, ...], stop: str) -> int:
        row = Trajectory((policy.start_id,), (a, b, *actions), (True, True, *[False] * len(actions)))
        return nodes(Rollout(row, (0.0,) * len(row.actions), stop, "", ()))  # type: ignore[arg-type]

    assert count((a, b, back, c, end), "ended") == 3 + 4
    assert count((a, b, back, c), "depth") == 3 + 3
    assert count((a, b, back), "budget") == 3 + 2
    assert count((end,), "ended") == 3


def test_nodes_are_what_the_sampler_asks_the_model_for() -> None:
    """One row at a time there is no padding: the nodes that go through `extend` are the rollout's own."""
    policy = tiny_policy(context=12)
    asked: list[int] = []

    class Counting(Policy):
        def __init__(self) -> None:
            vars(self).update(vars(policy))

        def extend(self, cache: Any, input_ids: Any, position_ids: Any, visible: Any) -> Any:
            asked.append(input_ids.numel())
            return policy.extend(cache, input_ids, position_ids, visible)

    for row in range(40):
        asked.clear()
        (rollout,) = sample(Counting(), [Start((policy.start_id,), tuple(policy.encode("ab")))], seed=3, rows=[row])
        assert nodes(rollout) == sum(asked)
