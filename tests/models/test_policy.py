"""Policies: construction, the `<backspace>` row, value functions, saving, and clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_policies import tiny_policy

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.errors import EnvironmentProblem
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy
from harness.records import Trajectory


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_backspace_row_is_the_mean_of_the_others(name: str) -> None:
    policy = tiny_policy(name, backspace=False)
    before = policy.model.get_input_embeddings().weight.detach().clone()
    policy.add_backspace()
    assert policy.space.backspace_id == len(before)
    for table in (policy.model.get_input_embeddings(), policy.model.get_output_embeddings()):
        assert torch.equal(table.weight[:-1], before)
        assert torch.allclose(table.weight[-1], before.mean(0))
    policy.add_backspace()  # a second time is a no-op
    assert policy.space.size == len(before) + 1


def test_untied_heads_get_their_own_row() -> None:
    policy = tiny_policy("llama", backspace=False)
    policy.model.config.tie_word_embeddings = False
    head = torch.nn.Linear(16, policy.space.size, bias=False, dtype=torch.float64)
    policy.model.set_output_embeddings(head)
    before = head.weight.detach().clone()
    policy.add_backspace()
    assert torch.allclose(policy.model.get_output_embeddings().weight[-1], before.mean(0))
    assert not torch.equal(
        policy.model.get_output_embeddings().weight[-1], policy.model.get_input_embeddings().weight[-1]
    )


def batch_of(policy: Policy) -> object:
    rows = [Trajectory((policy.start_id,), (*policy.encode("abc"), policy.end_id))]
    return pack(rows, policy.space, Weighting(gamma=0.9), dtype=torch.float64)


def test_value_functions() -> None:
    """logsumexp is log of the sum of exp of the legal logits; head starts at 0; a reference of itself gives 0."""
    policy = tiny_policy()
    batch = batch_of(policy)
    with torch.no_grad():
        total = policy.evaluate(batch).value
        hidden = policy.hidden(batch)[0, :4]
        legal = torch.tensor([False, True, True, True])
        assert torch.allclose(total[0], policy.logits(hidden, legal).exp().sum(-1).log())
        policy.set_value("head")
        assert not policy.evaluate(batch).value.any()
        assert "value_head.weight" in policy.parameters()
        policy.set_value("reference")
        values = policy.evaluate(batch)
        assert float(values.value.abs().max()) < 1e-12
        policy.model.get_input_embeddings().weight.mul_(1.5)  # the policy moves, its reference does not
        assert float((policy.evaluate(batch).value).abs().max()) > 1e-3


def test_saved_and_loaded_is_the_same_function(tmp_path: Path) -> None:
    policy = tiny_policy(backspace=False)
    policy.save(tmp_path)
    loaded = Policy.load(tmp_path, 24, "float64")
    with torch.no_grad():
        assert torch.equal(loaded.evaluate(batch_of(policy)).log_prob, policy.evaluate(batch_of(policy)).log_prob)
    assert loaded.encode("fade") == policy.encode("fade")
    assert (loaded.end_id, loaded.start_id, loaded.context) == (policy.end_id, policy.start_id, 24)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scope_head_unties_first_and_saves_both_tables(name: str, tmp_path: Path) -> None:
    """Untying leaves the function as it is; a change of the output layer leaves the inputs; a saved copy keeps it."""
    policy = tiny_policy(name, backspace=False)
    batch = batch_of(policy)
    with torch.no_grad():
        before = policy.evaluate(batch).log_prob
        policy.set_scope("head")
        assert torch.equal(policy.evaluate(batch).log_prob, before)
        inputs = policy.model.get_input_embeddings().weight.clone()
        (head,) = policy.parameters().values()
        head.mul_(1.5)
        assert torch.equal(policy.model.get_input_embeddings().weight, inputs)
        changed = policy.evaluate(batch).log_prob
        assert float((changed - before).abs().max()) > 1e-3
        policy.save(tmp_path)
        loaded = Policy.load(tmp_path, 24, "float64")
        assert torch.equal(loaded.evaluate(batch).log_prob, changed)
        assert not loaded.model.config.tie_word_embeddings, "another reader of the folder must not tie the two again"
    assert len(policy.frozen_copy().parameters()) == 0


def test_scope_full_leaves_the_heads_tied() -> None:
    policy = tiny_policy()
    policy.set_scope("full")
    assert policy.model.get_output_embeddings().weight is policy.model.get_input_embeddings().weight
    assert not policy.untied
    assert len(policy.parameters()) == len(list(policy.model.parameters()))


def test_a_missing_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        Policy.load(tmp_path / "nothing", 24)


def test_bfloat16_keeps_float32_weights_and_values() -> None:
    policy = tiny_policy(dtype="float32")
    exact = policy.evaluate(batch_of(policy)).log_prob
    policy.dtype = "bfloat16"
    rough = policy.evaluate(batch_of(policy)).log_prob
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).detach().abs().max()) < 0.1


def test_log_probabilities_are_none_in_bfloat16_either() -> None:
    """Logits beyond 4, where bfloat16's steps are 1/32: of some 700 actions no log pi is above 0, and all agree with
    the law that the sampler draws from.
    """
    policy = tiny_policy(dtype="float32")
    policy.dtype = "bfloat16"
    with torch.no_grad():
        policy.model.get_output_embeddings().weight *= 10
        rollouts = sample(policy, [Start((policy.start_id,))] * 31, seed=0)
        batch = pack([rollout.trajectory for rollout in rollouts], policy.space, Weighting())
        values = policy.evaluate(batch)
        logits = policy.logits(policy.state_hidden(batch), batch.legal)
    own = batch.weight > 0
    assert float(logits[logits > -torch.inf].abs().max()) > 4
    assert int(own.sum()) > 500
    assert float(values.log_prob[own].max()) <= 1e-6
    expected = logits[:, :-1].log_softmax(-1).gather(-1, batch.action[..., None])[..., 0]
    assert float((values.log_prob - expected)[own].abs().max()) < 1e-4


def test_equal_seeds_give_equal_weights_and_leave_torchs_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = tiny_policy(seed=1), tiny_policy(seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, parameter in first.parameters().items():
        assert torch.equal(parameter, second.parameters()[name])
