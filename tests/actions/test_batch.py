"""The action space and packing, against worked examples and against running every prefix alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_policies import fresh_logits, tiny_policy

from harness.actions.batch import pack
from harness.actions.space import ActionSpace
from harness.actions.weights import Weighting, step_weights
from harness.records import Trajectory

SPACE = ActionSpace(size=12, end_id=10, backspace_id=11, unwritable=frozenset({10, 11}))
NOISY = Trajectory((3,), (5, 9, 11, 6, 10), (False, True, False, False, False))


def test_worked_example_of_the_objective() -> None:
    """gamma = .95, kappa = 1, [5, (9), back, 6, end].

    Step 5 has w = 1; then flow F = .95 and gamma^k = .95.  The injected 9 opens an event of mass R = .95: the
    backspace has w = .95, R becomes .9025 and joins: F = .95 + .9025 = 1.8525 for step 6, then 1.8525 * .95 =
    1.759875 for the end.  What is left, 1.759875 * .95 = 1.67188, over 1 - .95 is 33.4376.
    """
    batch = pack([NOISY], SPACE, Weighting(gamma=0.95), dtype=torch.float64)
    assert batch.weight[0].tolist() == pytest.approx([1, 0, 0.95, 1.8525, 1.759875], abs=1e-12)
    assert batch.end_weight.item() == pytest.approx(33.437625, abs=1e-9)
    assert batch.input_ids.tolist() == [[3, 5, 9, 6, 10]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert batch.deleted_at.tolist() == [[5, 5, 3, 5, 5]]
    assert batch.state_index.tolist() == [[0, 1, 2, 1, 3]]
    assert batch.next_state_index.tolist() == [[1, 2, 1, 3, 4]]
    assert batch.backspace_legal.tolist() == [[False, True, True, True, True]]
    assert (batch.plain, batch.nodes, batch.ended.tolist()) == (False, 5, [True])


def test_a_run_of_three_mistakes_restarts_once() -> None:
    """gamma = .5, kappa = 2, [5, (6), (7), (8), back, back, back, 9]: one event, after one clean step.

    F = .5 after step 5; R = 2 * .5 = 1 at the first mistake only; the backspaces weigh 1, .5, .25, then R = .125
    joins: F = .625 for the last step, .3125 is left.
    """
    row = Trajectory((3,), (5, 6, 7, 8, 11, 11, 11, 9), (False, True, True, True, False, False, False, False))
    weights, left = step_weights(row, Weighting(gamma=0.5, kappa=2.0), is_expert=True)
    assert weights.tolist() == pytest.approx([1, 0, 0, 0, 1, 0.5, 0.25, 0.625])
    assert left == pytest.approx(0.3125)


def test_rollouts_count_from_their_first_own_action() -> None:
    """A given noise start [5, 9] weighs nothing; then gamma^t, backspaces like any other step."""
    row = Trajectory((3,), (5, 9, 11, 6), (True, True, False, False))
    weights, left = step_weights(row, Weighting(gamma=0.5), is_expert=False)
    assert (weights.tolist(), left) == ([0, 0, 1, 0.5], 0.25)


def test_uniform_weights_leave_injected_steps_out() -> None:
    batch = pack([NOISY], SPACE, Weighting(kind="uniform"))
    assert batch.weight.tolist() == [[1, 0, 1, 1, 1]]
    assert batch.end_weight.tolist() == [0]


def test_normaliser_and_scale_are_in_the_weights() -> None:
    """4 / 8 = 1/2 of [1, .5, .25] and of .125 / (1 - .5)."""
    row = Trajectory((3,), (5, 6, 10))
    batch = pack([row], SPACE, Weighting(gamma=0.5), normalizer=8, scale=4)
    assert batch.weight.tolist() == [[0.5, 0.25, 0.125]]
    assert batch.end_weight.tolist() == [0.125]


def test_a_cut_row_has_no_absorbing_term() -> None:
    batch = pack([Trajectory((3,), (5, 6))], SPACE, Weighting(gamma=0.5))
    assert (batch.ended.tolist(), batch.end_weight.tolist()) == ([False], [0])


@pytest.mark.parametrize(
    ("actions", "message"),
    [((11,), "prompt boundary"), ((5, 11, 11), "prompt boundary"), ((10, 5), "end token"), ((10, 11), "end token")],
)
def test_impossible_actions_are_refused(actions: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack([Trajectory((3, 4), actions)], SPACE, Weighting())


def test_rows_and_prompts_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="at least one trajectory"):
        pack([], SPACE, Weighting())
    with pytest.raises(ValueError, match="prompt token"):
        Trajectory((), (5,))
    with pytest.raises(ValueError, match="2 injected flags for 1 actions"):
        Trajectory((3,), (5,), (True, False))


def random_trajectory(rng: np.random.Generator, space: ActionSpace, prompt: int, steps: int) -> Trajectory:
    """Random legal actions, about a third of them backspaces, ending half of the time."""
    writable = [token for token in range(space.size) if token not in space.unwritable]
    actions: list[int] = []
    depth = 0
    for _ in range(steps):
        if depth and rng.random() < 0.35 and space.backspace_id is not None:
            actions.append(space.backspace_id)
            depth -= 1
        else:
            actions.append(int(rng.choice(writable)))
            depth += 1
    if rng.random() < 0.5:
        actions.append(space.end_id)
    return Trajectory(tuple(rng.choice(writable, size=prompt).tolist()), tuple(actions))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-10), ("float32", 1e-4)])
def test_packed_logits_equal_every_prefix_run_alone(name: str, dtype: str, bound: float) -> None:
    """One masked pass over random trajectories, against a plain forward pass of each reduced prefix."""
    policy = tiny_policy(name, dtype=dtype)
    rng = np.random.default_rng(1)
    rows = [random_trajectory(rng, policy.space, 1 + n % 3, 4 + 3 * n) for n in range(6)]
    batch = pack(rows, policy.space, Weighting(kind="uniform"))
    assert not batch.plain
    with torch.no_grad():
        hidden = policy.hidden(batch)
    worst, checked = 0.0, 0
    for n, row in enumerate(rows):
        for t in range(len(row.actions) + 1):
            taken = row.actions[:t]
            text = (*row.prompt, *policy.space.reduce(taken)) + ((policy.end_id,) if policy.end_id in taken else ())
            state = batch.states[n, t]
            legal = batch.legal[n, t]
            assert bool(legal) == (len(text) > len(row.prompt))
            ours = policy.logits(hidden[n, state], legal)
            alone = fresh_logits(policy, text)
            if not legal:
                assert ours[policy.space.backspace_id] == -torch.inf
                ours, alone = ours[: policy.space.backspace_id], alone[: policy.space.backspace_id]
            worst = max(worst, float((ours - alone).abs().max()))
            checked += 1
    assert checked > 60
    assert worst < bound


def test_llama_of_the_equality_test_shares_key_heads() -> None:
    """Grouped-query attention has to be among what was checked; the small Llama here has one key head for two."""
    policy = tiny_policy("llama")
    assert policy.model.config.num_key_value_heads < policy.model.config.num_attention_heads


def test_padding_and_row_order_change_nothing() -> None:
    policy = tiny_policy()
    rng = np.random.default_rng(2)
    rows = [random_trajectory(rng, policy.space, 2, steps) for steps in (3, 15, 8)]
    weighting = Weighting(gamma=0.9)
    with torch.no_grad():
        together = policy.evaluate(pack(rows, policy.space, weighting))
        for n, row in enumerate(rows):
            alone = policy.evaluate(pack([row], policy.space, weighting))
            taken = len(row.actions)
            for name in ("log_prob", "value", "next_value"):
                difference = getattr(together, name)[n, :taken] - getattr(alone, name)[0]
                assert float(difference.abs().max()) < 1e-12
            assert float((together.end_value[n] - alone.end_value[0]).abs()) < 1e-12


def test_chunks_of_states_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    rows = [random_trajectory(np.random.default_rng(3), policy.space, 1, 12)]
    batch = pack(rows, policy.space, Weighting(kind="uniform"))

    def gradient() -> torch.Tensor:
        values = policy.evaluate(batch)
        (values.log_prob.sum() + (values.next_value**2).sum()).backward()
        parameters = policy.parameters().values()
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        for parameter in parameters:
            parameter.grad = None
        return flat

    whole = gradient()
    monkeypatch.setattr("harness.models.output_layer.KEPT", 0)
    monkeypatch.setattr("harness.models.output_layer.LEAST", 3)
    monkeypatch.setattr("harness.models.output_layer.BLOCK", 1)
    assert float((gradient() - whole).abs().max()) < 1e-12
