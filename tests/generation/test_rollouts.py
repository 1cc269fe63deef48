"""Sampling with backtracking, against fresh forward passes of the reduced text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_policies import fresh_logits, tiny_policy

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.errors import ConfigError
from harness.generation.decoders import Decoder
from harness.generation.rollouts import Start, sample, uniforms
from harness.models.policy import Policy
from harness.records import Rollout


def starts(policy: Policy, count: int) -> list[Start]:
    """Prompts of one to four tokens; every third start has two given tokens."""
    rng = np.random.default_rng(0)
    letters = [policy.encode(letter)[0] for letter in "abcdef"]
    found = []
    for n in range(count):
        prompt = (policy.start_id, *rng.choice(letters, size=n % 4).tolist())
        found.append(Start(prompt, tuple(rng.choice(letters, size=2).tolist()) if n % 3 == 0 else ()))
    return found


def recomputed(policy: Policy, rollout: Rollout) -> list[float]:
    """log pi of every own action, each from a fresh forward pass without a cache over the reduced text alone."""
    found = []
    row = rollout.trajectory
    for t, (action, injected) in enumerate(zip(row.actions, row.injected, strict=True)):
        text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
        logits = fresh_logits(policy, text)
        if len(text) == len(row.prompt) and policy.space.backspace_id is not None:
            logits[policy.space.backspace_id] = -torch.inf
        found.append(0.0 if injected else float(logits.log_softmax(-1)[action]))
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_every_state_equals_a_fresh_forward_pass(name: str, epsilon: float) -> None:
    """With epsilon = 1 the action strings are random; either way each recorded log pi is that of a fresh pass."""
    policy = tiny_policy(name, seed=3)
    rollouts = sample(policy, starts(policy, 40), seed=1, epsilon=epsilon, max_actions=60)
    deletions = sum(rollout.trajectory.actions.count(policy.space.backspace_id or -1) for rollout in rollouts)
    assert deletions > 20
    for rollout in rollouts:
        assert rollout.log_probs == pytest.approx(recomputed(policy, rollout), abs=1e-5)


def test_the_first_rollouts_keep_the_likeliest_actions_and_nothing_else_changes() -> None:
    """Candidates are those of a fresh forward pass in the same state, given tokens have none; texts are bit for bit as
    without, and the rollouts after the first four have no candidates."""
    policy = tiny_policy(seed=3)
    every = starts(policy, 9)
    plain, kept = sample(policy, every, seed=5), sample(policy, every, seed=5, candidates=4)
    assert [replace(rollout, candidates=()) for rollout in kept] == plain
    assert [bool(rollout.candidates) for rollout in kept] == [True] * 4 + [False] * 5
    for rollout in kept[:4]:
        row = rollout.trajectory
        for t, tops in enumerate(rollout.candidates):
            text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
            logits = fresh_logits(policy, text)
            if len(text) == len(row.prompt):
                logits[policy.space.backspace_id] = -torch.inf
            chances, actions = logits.softmax(-1).topk(5)
            expected = [] if row.injected[t] else actions.tolist()
            assert [action for action, _, _ in tops] == expected
            assert [chance for _, _, chance in tops] == pytest.approx(chances.tolist()[: len(tops)], abs=1e-5)
            assert [piece for _, piece, _ in tops] == [policy.piece(action) for action in expected]


def test_a_rollout_does_not_depend_on_its_batch() -> None:
    policy = tiny_policy(seed=3)
    every = starts(policy, 9)
    together = sample(policy, every, seed=5)
    alone = [sample(policy, [start], seed=5, rows=[n])[0] for n, start in enumerate(every)]
    assert [r.trajectory for r in together] == [r.trajectory for r in alone]
    assert [r.trajectory for r in sample(policy, every, seed=6)] != [r.trajectory for r in together]


def test_no_backspace_at_the_boundary_and_none_without_the_action() -> None:
    """For every draw the reduced text never loses the prompt, and a plain policy never deletes."""
    policy = tiny_policy(seed=3)
    for rollout in sample(policy, starts(policy, 40), seed=2, epsilon=0.5):
        policy.space.reduce(rollout.trajectory.actions)  # would pop from nothing
    plain = tiny_policy(seed=3, backspace=False)
    for rollout in sample(plain, starts(plain, 10), seed=2):
        assert len(rollout.trajectory.actions) == len(rollout.tokens) + (rollout.stop == "ended")


def test_a_forced_action_is_any_legal_one_alike_and_never_an_unknown_token() -> None:
    """With epsilon = 1, six letters and the end first (1/7 each), then <backspace> too (1/8 each): within 5 errors."""
    policy = tiny_policy(seed=3)
    letters = policy.encode("abcdef")
    rollouts = sample(policy, [Start((policy.start_id,))] * 8_000, seed=1, epsilon=1.0, max_actions=2)
    for at, legal in ((0, [*letters, policy.end_id]), (1, [*letters, policy.end_id, policy.space.backspace_id])):
        drawn = [r.trajectory.actions[at] for r in rollouts if len(r.trajectory.actions) > at]
        share = 1 / len(legal)
        assert set(drawn) == set(legal)
        for action in legal:
            assert abs(drawn.count(action) / len(drawn) - share) < 5 * (share * (1 - share) / len(drawn)) ** 0.5


def test_each_stop_is_what_it_says() -> None:
    policy = tiny_policy(seed=3)
    every = [Start((policy.start_id,))] * 200
    rollouts = sample(policy, every, seed=1, max_length=6, max_actions=9)
    assert {rollout.stop for rollout in rollouts} == {"ended", "depth", "budget"}
    for rollout in rollouts:
        actions = rollout.trajectory.actions
        assert (rollout.stop == "ended") == (actions[-1] == policy.end_id)
        assert len(rollout.tokens) <= 6
        if rollout.stop == "depth":
            assert len(rollout.tokens) == 6
        if rollout.stop == "budget":
            assert len(actions) == 9


def test_the_context_bounds_the_reduced_text() -> None:
    policy = tiny_policy(seed=3, context=8)
    rollouts = sample(policy, [Start((policy.start_id,))] * 100, seed=1)
    assert max(len(rollout.tokens) for rollout in rollouts) == 7
    with pytest.raises(ConfigError, match=r"model\.context=8: a start of 9 tokens"):
        sample(policy, [Start((policy.start_id,) * 9)], seed=1)


def test_a_start_that_fills_the_context_may_only_delete() -> None:
    """Context 8, prompt 1 + 7 given tokens: a token or the end cuts the row and is not an action of it."""
    policy = tiny_policy(seed=3, context=8)
    given = tuple(policy.encode("abcdefa"))
    rollouts = sample(policy, [Start((policy.start_id,), given)] * 300, seed=1)
    own = [rollout.trajectory.actions[len(given) :] for rollout in rollouts]
    firsts = {actions[0] if actions else None for actions in own}
    assert firsts == {None, policy.space.backspace_id}
    assert {rollout.stop for rollout, actions in zip(rollouts, own, strict=True) if not actions} == {"depth"}
    rows = [rollout.trajectory for rollout in rollouts]
    batch = pack(rows, policy.space, Weighting(gamma=0.9), is_expert=False)
    assert int(batch.position_ids.max()) == 7  # the context's last place
    policy.evaluate(batch)
    assert all(len(rollout.tokens) <= 7 for rollout in rollouts)


def test_ancestral_frequencies_are_the_policys_probabilities() -> None:
    """First actions of 20,000 rollouts against softmax: each within 5 standard errors, none of them truncated."""
    policy = tiny_policy(seed=3, context=4)
    rollouts = sample(policy, [Start((policy.start_id,))] * 20_000, seed=0, max_actions=1)
    counts = np.bincount([r.trajectory.actions[0] for r in rollouts], minlength=policy.space.size) / 20_000
    logits = fresh_logits(policy, (policy.start_id,))
    logits[policy.space.backspace_id] = -torch.inf
    probs = logits.softmax(-1).numpy()
    errors = np.sqrt(probs * (1 - probs) / 20_000)
    assert counts[policy.space.backspace_id] == 0
    assert np.all(np.abs(counts - probs) <= 5 * errors + 1e-12)


def test_decoders_by_hand() -> None:
    """p = (.1, .5, .3, .1); the uniform number walks the cumulative line (.1, .6, .9, 1)."""
    logits = torch.tensor([[0.1, 0.5, 0.3, 0.1]]).log()

    def drawn(decoder: Decoder, u: float) -> int:
        return int(decoder.draw(logits, torch.tensor([u])))

    assert [drawn(Decoder(), u) for u in (0.05, 0.1001, 0.59, 0.61, 0.89, 0.91, 0.9999999)] == [0, 1, 1, 2, 2, 3, 3]
    # the two likeliest, renormalised: 5/8 and 3/8
    assert [drawn(Decoder(top_k=2), u) for u in (0.0, 0.62, 0.63, 0.9999999)] == [1, 1, 2, 2]
    # top_p = .5 is met by the likeliest alone; .51 needs the second
    assert [drawn(Decoder(top_p=0.4999), u) for u in (0.0, 0.99)] == [1, 1]
    assert [drawn(Decoder(top_p=0.51), u) for u in (0.0, 0.63)] == [1, 2]
    # temperature 1/2 squares: .01, .25, .09, .01 of .36; the likeliest ends at .26/.36 = .722
    assert [drawn(Decoder(temperature=0.5), u) for u in (0.02, 0.03, 0.722, 0.723)] == [0, 1, 1, 2]


def test_uniform_streams_belong_to_seed_and_row() -> None:
    assert uniforms(1, 2, 5).tolist() == uniforms(1, 2, 9)[:5].tolist()
    assert uniforms(1, 2, 5).tolist() != uniforms(1, 3, 5).tolist() != uniforms(2, 2, 5).tolist()
    assert uniforms(0, 0, 1000).min() >= 0
    assert uniforms(0, 0, 1000).max() < 1
