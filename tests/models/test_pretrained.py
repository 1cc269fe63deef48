"""Models behind policies: blocks that are computed twice, rows that come and go, 4 bits that are not to be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from llamas import sentencepiece_like
from tiny_policies import ALPHABET, fresh_logits, tiny_policy
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM, MistralConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from harness import load_policy
from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.errors import ConfigError, EnvironmentProblem
from harness.generation.decoders import Decoder
from harness.generation.rollouts import Start, sample
from harness.grids.untrained import as_it_is
from harness.models import pretrained
from harness.models.policy import Policy
from harness.records import Trajectory


def loss(policy: Policy) -> torch.Tensor:
    """Of a text that deletes, and of a plain one."""
    a, b, c = policy.encode("abc")
    back = policy.space.backspace_id
    assert back is not None
    rows = [Trajectory((policy.start_id,), actions) for actions in ((a, b, back, c, policy.end_id), (a, b, c))]
    batch = pack(rows, policy.space, Weighting(gamma=0.9), dtype=torch.float64)
    values = policy.evaluate(batch)
    return -(values.log_prob * batch.weight).sum() + values.next_value.square().sum()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_blocks_computed_twice_give_the_same_gradient(name: str) -> None:
    """And they are: each of the two blocks runs once forward, and once more for the backward pass."""
    plain, twice = tiny_policy(name), tiny_policy(name)
    blocks = [m for m in twice.model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert len(blocks) == 2
    ran: list[int] = []
    for number, block in enumerate(blocks):
        inner = block.forward
        block.forward = lambda *args, _inner=inner, _n=number, **kw: (ran.append(_n), _inner(*args, **kw))[1]
    pretrained.recompute(twice.model)
    expected, found = loss(plain), loss(twice)
    assert torch.equal(found, expected)
    assert ran == [0, 1]
    expected.backward()  # type: ignore[no-untyped-call]
    found.backward()  # type: ignore[no-untyped-call]
    assert ran == [0, 1, 1, 0]
    for key, parameter in twice.parameters().items():
        assert torch.allclose(parameter.grad, plain.parameters()[key].grad, rtol=0, atol=1e-12)


def test_sampling_still_has_its_cache() -> None:
    plain, twice = tiny_policy("llama"), tiny_policy("llama")
    pretrained.recompute(twice.model)
    starts = [Start((plain.start_id,))] * 20
    assert sample(twice, starts, seed=0) == sample(plain, starts, seed=0)
    assert twice.frozen_copy().model is not twice.model


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_row_that_is_dropped_leaves_the_others_as_they_were(name: str) -> None:
    policy, plain = tiny_policy(name), tiny_policy(name, backspace=False)
    ids = torch.tensor([[policy.start_id, *policy.encode(ALPHABET)]])
    before = policy.model(input_ids=ids).logits[..., :-1]
    policy.drop_backspace()
    assert torch.equal(policy.model(input_ids=ids).logits, before)
    assert policy.space == plain.space
    policy.drop_backspace()  # a second time is nothing


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_model_cut_in_half_is_an_error_with_advice(file: str, tmp_path: Path) -> None:
    tiny_policy(backspace=False).save(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EnvironmentProblem, match=r"cannot be loaded: .*\ngive "):
        load_policy(tmp_path)


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    tiny_policy(backspace=False).save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"n_embd": 16', '"n_embd": 32'))
    with pytest.raises(EnvironmentProblem, match="cannot be loaded"):
        load_policy(tmp_path)


def test_an_architecture_without_a_longest_text_holds_2048_tokens(tmp_path: Path) -> None:
    """Bloom leans on distances instead, so that its configuration says of no length that it is the longest."""
    policy = tiny_policy(backspace=False)
    size = len(policy.tokenizer)
    model = BloomForCausalLM(BloomConfig(vocab_size=size, hidden_size=16, n_layer=1, n_head=2))
    assert Policy(model, policy.tokenizer, None).context == 2048
    model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    assert as_it_is(str(tmp_path), "language", [], 1).expand()[0].model.context == 1024
    with pytest.raises(ConfigError, match=r"model\.context=2049: this model holds 2048 tokens; use at most that"):
        Policy(model, policy.tokenizer, 2049)


def test_four_bits_need_a_gpu_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(name="x/y", lora_r=2, quantised="nf4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"4-bit weights need a CUDA device.*set\s+model.quantised=null"):
        Policy.start(config, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        EnvironmentProblem, match=r"bitsandbytes is not installed; pip install 'sequencematch-harness\[qlora\]'"
    ):
        Policy.start(config, None)


def test_a_window_counts_positions_of_the_reduced_text() -> None:
    """64 positions, a window of 10, texts of up to 30.  Deleted nodes count for nothing there: rollouts with more
    nodes than the window have the log-probabilities that plain forward passes over their reduced texts give.
    """
    tokenizer = sentencepiece_like(["a b c"], 270)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        max_position_embeddings=64,
        sliding_window=10,
        initializer_range=0.5,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).double()
    assert Policy(model, tokenizer, None, "float64").context == 64
    policy = Policy(model, tokenizer, 30, "float64")
    policy.add_backspace()
    back = policy.space.backspace_id
    deleting = Decoder(bias=(back, 3.0)) if back is not None else None
    rollouts = sample(policy, [Start((policy.start_id,))] * 20, seed=0, decoder=deleting)
    assert max(len(rollout.tokens) for rollout in rollouts) > 20
    deleting_ones = [rollout for rollout in rollouts if back in rollout.trajectory.actions]
    for rollout in sorted(deleting_ones, key=lambda one: -len(one.tokens))[:3]:
        actions = rollout.trajectory.actions
        assert len(rollout.tokens) > 15
        for t, log_prob in enumerate(rollout.log_probs):
            text = (policy.start_id, *policy.space.reduce(actions[:t]))
            logits = fresh_logits(policy, text)
            if len(text) == 1:
                logits[back] = -torch.inf
            assert float(logits.log_softmax(-1)[actions[t]]) == pytest.approx(log_prob, abs=1e-5)
