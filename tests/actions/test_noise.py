"""Injected mistakes: where they may stand, where they come from, and that they are always mended."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from tiny_policies import fresh_logits, tiny_policy

from harness.actions.batch import pack
from harness.actions.noise import (
    Slot,
    from_weights,
    ground_truth,
    inject,
    replace_context,
    uniform,
    unigram,
)
from harness.actions.space import ActionSpace
from harness.actions.weights import Weighting
from harness.config.actions import ActionConfig
from harness.data.noise_sources import FromPolicy, proposals
from harness.data.stream import ExpertStream
from harness.errors import ConfigError
from harness.records import Trajectory

SPACE = ActionSpace(size=8, end_id=6, backspace_id=7, unwritable=frozenset({0, 6, 7}))  # 1..5 may be written
CLEAN = Trajectory((0,), (1, 2, 3, 4, 5, 6))


def noisy(rows: list[Trajectory], *, rate: float, run: int = 1, context: int = 12, seed: int = 0) -> list[Trajectory]:
    rngs = [np.random.default_rng([seed, n]) for n in range(len(rows))]
    return inject(rows, rngs, SPACE, uniform(SPACE), rate=rate, run=run, context=context)


def test_what_is_left_after_the_mending_is_the_expert_text() -> None:
    for row in noisy([CLEAN] * 200, rate=0.3, run=3):
        assert SPACE.reduce(row.actions) == (1, 2, 3, 4, 5)
        for action, injected in zip(row.actions, row.injected, strict=True):
            assert not injected or action not in SPACE.unwritable


def test_events_come_at_the_rate_also_before_the_end() -> None:
    """2,000 rows of 6 positions at .1: 1,200 events expected, sd 32.9; a sixth of them before the end."""
    rows = noisy([CLEAN] * 2000, rate=0.1)
    events = sum(sum(row.injected) for row in rows)
    before_end = sum(row.injected[-3] for row in rows if len(row.actions) > 6)
    assert abs(events - 1200) < 4 * 32.9
    assert abs(before_end - events / 6) < 60


def test_runs_have_the_lengths_asked_for_and_stay_inside_the_context() -> None:
    """Depth of a node is at most context - 1: with context 7 the position before the end has room for one mistake."""
    lengths = Counter()
    for row in noisy([CLEAN] * 1000, rate=0.2, run=3, context=7):
        depth = 1
        run = 0
        for action, injected in zip(row.actions, row.injected, strict=True):
            depth += -1 if action == SPACE.backspace_id else 1
            assert depth <= 7
            run = run + 1 if injected else (lengths.update([run] if run else []) or 0)
    assert set(lengths) == {1, 2, 3}


def test_noise_of_a_row_does_not_depend_on_its_batch() -> None:
    rows = [CLEAN, Trajectory((0,), (5, 4, 3))] * 5
    alone = [
        inject([row], [np.random.default_rng([0, n])], SPACE, uniform(SPACE), rate=0.3, run=2, context=12)[0]
        for n, row in enumerate(rows)
    ]
    assert noisy(rows, rate=0.3, run=2) == alone


def draws(propose: object, expert: int | None, count: int = 6000) -> dict[int, float]:
    rng = np.random.default_rng(0)
    tokens = propose([Slot((0,), expert, rng)] * count)  # type: ignore[operator]
    return {token: n / count for token, n in Counter(tokens).items()}


def test_uniform_never_proposes_what_is_right_or_unwritable() -> None:
    """Four tokens are left of 1..5 when 3 is right: a quarter each, sd .0056 at n = 6,000."""
    found = draws(uniform(SPACE), expert=3)
    assert set(found) == {1, 2, 4, 5}
    assert all(abs(share - 0.25) < 0.025 for share in found.values())
    assert set(draws(uniform(SPACE), expert=None)) == {1, 2, 3, 4, 5}


def test_unigram_follows_the_training_rows() -> None:
    """Counts 1: 6, 2: 3, 3: 1; without 1 the others keep 3 : 1.  The end is counted in the rows and never proposed."""
    rows = [Trajectory((0,), (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 6))]
    found = draws(unigram(rows, SPACE), expert=1)
    assert set(found) == {2, 3}
    assert abs(found[2] - 0.75) < 0.03


def test_weights_need_two_tokens() -> None:
    with pytest.raises(ConfigError, match="fewer than two tokens"):
        from_weights(np.array([0, 1, 0, 0, 0, 0, 1, 1]), SPACE)


def test_policy_noise_is_the_policys_own_sample() -> None:
    """Frequencies of 4,000 draws against softmax of a fresh forward pass, renormalised without what is excluded."""
    policy = tiny_policy(seed=4)
    prefix = (policy.start_id, *policy.encode("abc"))
    right = policy.encode("d")[0]
    tokens = FromPolicy(policy)([Slot(prefix, right, np.random.default_rng(0))] * 4000)
    logits = fresh_logits(policy, prefix)
    logits[[right, *policy.space.unwritable]] = -torch.inf
    probs = logits.softmax(-1).numpy()
    counts = np.bincount(tokens, minlength=policy.space.size) / 4000
    assert np.all(np.abs(counts - probs) <= 5 * np.sqrt(probs * (1 - probs) / 4000) + 1e-12)


def test_ground_truth_asks_the_benchmark_and_wants_one_token() -> None:
    policy = tiny_policy()
    seen = []

    def mistake(text: str, rng: np.random.Generator) -> str:
        seen.append(text)
        return "f" if len(text) < 3 else "ff"

    propose = ground_truth(mistake, policy.decode, policy.encode)
    prefix = (policy.start_id, *policy.encode("ab"))
    assert propose([Slot(prefix, None, np.random.default_rng(0))]) == policy.encode("f")
    assert seen == ["ab"]
    with pytest.raises(ConfigError, match="'ff' is 2 tokens"):
        propose([Slot((*prefix, *policy.encode("c")), None, np.random.default_rng(0))])


def test_proposals_by_configuration() -> None:
    policy = tiny_policy()
    assert proposals(ActionConfig(backspace=False), policy, [CLEAN], None) is None
    assert proposals(ActionConfig(backspace=True, noise_rate=0.0), policy, [CLEAN], None) is None
    with pytest.raises(ConfigError, match="no ground truth"):
        proposals(ActionConfig(backspace=True, noise_kind="ground_truth"), policy, [CLEAN], None)
    assert proposals(ActionConfig(backspace=False, context_noise=0.1), policy, [CLEAN], None) is not None


def test_context_noise_is_seen_and_never_learned() -> None:
    """Of 400 rows of five tokens about 30 % are seen wrong, never the end; the labels stay the expert's."""
    rngs = [np.random.default_rng(n) for n in range(400)]
    rows = replace_context([CLEAN] * 400, rngs, SPACE.end_id, uniform(SPACE), 0.3)
    wrong = sum(a != b for row in rows for a, b in zip(row.seen, row.actions, strict=True))
    assert abs(wrong - 600) < 4 * (2000 * 0.3 * 0.7) ** 0.5
    assert all(row.actions == CLEAN.actions and row.seen[-1] == SPACE.end_id for row in rows)
    packed = pack(rows[:50], ActionSpace(size=8, end_id=6), Weighting())
    assert packed.action.tolist() == [list(CLEAN.actions)] * 50
    assert packed.input_ids[:, 1:].tolist() == [list(row.seen) for row in rows[:50]]
    assert packed.plain


def test_the_stream_noises_the_context_by_row_and_epoch() -> None:
    stream = ExpertStream(
        [CLEAN] * 6,
        ActionSpace(size=8, end_id=6),
        ActionConfig(context_noise=0.5),
        uniform(SPACE),
        context=12,
        seed=1,
    )
    assert stream.batch(0, 6) == [row for at in range(6) for row in stream.batch(at, 1)]
    assert stream.batch(0, 6) != stream.batch(6, 6)
