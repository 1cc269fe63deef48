"""LoRA: the same function at first, only what it says is trained, and folded in it is still the same function."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from tiny_policies import tiny_policy

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.data.noise_sources import FromPolicy
from harness.data.stream import ExpertStream
from harness.errors import ConfigError, EnvironmentProblem
from harness.models import lora
from harness.models.policy import Policy
from harness.plugins.options import build
from harness.records.rollout import Trajectory
from harness.records.training import Step
from harness.registry import TRAINERS
from harness.training.checkpoint import State
from harness.training.loop import Training
from harness.training.trained_policies import find, keep

CPU = torch.device("cpu")
LORA = {"lora_r": 2, "lora_alpha": 4}


def config(name: str = "gpt2", **model: object) -> ModelConfig:
    sizes = {"layers": 2, "width": 16, "heads": 2, "tokenizer": "characters", "context": 24, "dtype": "float64"}
    return ModelConfig.model_validate({"name": name, **sizes, **LORA, **model})


def adapted(name: str = "gpt2", *, backspace: bool = True, untied: bool = False, seed: int = 0) -> Policy:
    policy = tiny_policy(name, backspace=backspace)
    if untied:
        policy.set_scope("head")
    lora.attach(policy, config(name), seed)
    return policy


def log_probs(policy: Policy) -> torch.Tensor:
    """[1, 6] of a row that writes, deletes and goes on."""
    a, b = policy.encode("ab")
    back = policy.space.backspace_id
    middle = (a, b, back, a) if back is not None else (a, b, b, a)
    batch = pack([Trajectory((policy.start_id,), (*middle, b, policy.end_id))], policy.space, Weighting(gamma=0.9),
                 dtype=torch.float64)  # fmt: skip
    return policy.evaluate(batch).log_prob


def shaken(policy: Policy) -> Policy:
    """All that is trained moved a little, so that the matrices B are not 0 any more."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * 0.1)
    return policy


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("untied", [False, True])
def test_attached_it_is_the_same_function_and_little_of_it_is_trained(name: str, untied: bool) -> None:
    """B = 0 and the row starts as it was.  GPT-2 has four layers a block, of 16 to 48, 16, 64 and 64 to 16 units: with
    r = 2 that is 2 (16 + 48 + 16 + 16 + 16 + 64 + 64 + 16) = 512 numbers a block; the row has 16, twice where untied.
    """
    plain = tiny_policy(name)
    if untied:
        plain.set_scope("head")
    policy = adapted(name, untied=untied)
    assert torch.equal(log_probs(policy), log_probs(plain))
    sizes = {key: p.numel() for key, p in policy.parameters().items()}
    rows = {key: n for key, n in sizes.items() if "lora" not in key}
    assert list(rows.values()) == [16] * (2 if untied else 1)
    if name == "gpt2":
        assert sum(sizes.values()) - sum(rows.values()) == 2 * 512


def test_a_gradient_reaches_the_row_and_nothing_else_of_the_table() -> None:
    """The row's gradient is that of the same row when the whole table is trained; the table itself has none."""
    whole, policy = tiny_policy("llama"), adapted("llama")
    log_probs(whole).sum().backward()  # type: ignore[no-untyped-call]
    log_probs(policy).sum().backward()  # type: ignore[no-untyped-call]
    (row,) = (p for key, p in policy.parameters().items() if "lora" not in key)
    assert torch.allclose(row.grad[0], whole.model.get_input_embeddings().weight.grad[-1])
    frozen = [p for p in policy.model.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("backspace", [False, True])
def test_folded_in_it_is_the_same_function_and_an_ordinary_model(
    name: str, untied: bool, backspace: bool, tmp_path: Path
) -> None:
    policy = shaken(adapted(name, backspace=backspace, untied=untied))
    before = log_probs(policy).detach()
    assert float((before - log_probs(tiny_policy(name, backspace=backspace)).detach()).abs().max()) > 1e-3
    lora.fold(policy)
    assert torch.allclose(log_probs(policy), before, rtol=0, atol=1e-10)
    assert type(policy.model.get_input_embeddings()) is torch.nn.Embedding
    tied = policy.model.get_output_embeddings().weight is policy.model.get_input_embeddings().weight
    assert tied is not untied
    policy.save(tmp_path)
    again = Policy.load(tmp_path, 24, "float64")
    assert again.model.state_dict().keys() == tiny_policy(name).model.state_dict().keys()
    if backspace:
        again.mark_backspace()
    assert torch.equal(log_probs(again), log_probs(policy))
    lora.fold(policy)  # a second time is nothing


def test_a_frozen_copy_stays_where_it_was() -> None:
    policy = adapted()
    reference = policy.frozen_copy()
    before = log_probs(reference)
    shaken(policy)
    assert torch.equal(log_probs(reference), before)
    assert not reference.parameters()


def test_equal_seeds_draw_equal_matrices_and_leave_torchs_generator_alone() -> None:
    state = torch.random.get_rng_state()
    policies = [adapted(seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    one, same, other = (list(p.parameters().values()) for p in policies)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_targets_are_layers_by_name() -> None:
    policy = tiny_policy("llama")
    lora.attach(policy, config("llama", lora_targets="q_proj+v_proj"), 0)
    layers = {key.split(".")[-4] for key in policy.parameters() if "lora" in key}
    assert layers == {"q_proj", "v_proj"}
    with pytest.raises(ConfigError, match=r"'qproj' names no layer of this LlamaForCausalLM.*down_proj.*q_proj"):
        lora.attach(tiny_policy("llama"), config("llama", lora_targets="qproj"), 0)


def test_bfloat16_weights_beside_float32_matrices() -> None:
    """The frozen weights are half as large; what is trained is not rounded."""
    policy = tiny_policy("llama", dtype="float32")
    policy.dtype, policy.model = "bfloat16", policy.model.to(torch.bfloat16)
    lora.attach(policy, config("llama"), 0)
    assert {p.dtype for p in policy.parameters().values()} == {torch.float32}
    assert {p.dtype for p in policy.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    log_probs(policy).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in policy.parameters().values())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_folding_beside_bfloat16_rounds_nothing_of_what_was_learned_away(name: str) -> None:
    """A delta of 3e-5 beside weights near 0.3, of which bfloat16's steps are 1e-3: only float32 holds the sum.

    The oracle is the unfolded policy, computed in float32: rounded to bfloat16, the sum would lose nearly all of the
    delta, in the weights or, under autocast, on every use of them.
    """
    policy = tiny_policy(name, dtype="float32")
    policy.dtype, policy.model = "bfloat16", policy.model.to(torch.bfloat16)
    lora.attach(policy, config(name), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in policy.parameters().items():
            if "lora_B" in key:  # A's entries are near 0.1, of which r = 2 are summed, times alpha / r = 2
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1e-4)
    oracle = copy.deepcopy(policy)
    oracle.model, oracle.dtype = oracle.model.float(), "float32"
    with torch.no_grad():
        learned = log_probs(oracle)
        for key, parameter in oracle.parameters().items():
            if "lora_B" in key:
                parameter.zero_()
        delta = learned - log_probs(oracle)
    lora.fold(policy)
    assert policy.dtype == "float32"
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
    with torch.no_grad():
        lost = log_probs(policy) - learned
    assert float(lost.norm()) < 0.02 * float(delta.norm())


def test_without_peft_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else found(name))
    with pytest.raises(EnvironmentProblem, match=r"peft is not installed; pip install 'sequencematch-harness\[lora\]'"):
        adapted()


# ------------------------------------------------------------------------------------------------ kept policies

RUN = RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "model": config().model_dump()})
STEPS = (Step(1, 10, 0.5, 2.25, 1e-3, {}, 1.0),)


def test_a_kept_lora_is_small_and_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    policy = shaken(adapted())
    policy.set_value("head")
    with torch.no_grad():
        policy.value_head.weight.add_(0.5)  # type: ignore[union-attr]
    keep(policy, tmp_path / "p", RUN, STEPS, "data")
    assert {path.name for path in (tmp_path / "p").iterdir()} == {
        "adapter.safetensors",
        "value_head.safetensors",
        "policy.json",
    }
    found = find(tmp_path / "p", RUN, "data", CPU, lambda: adapted(seed=7))
    assert found is not None
    assert torch.equal(log_probs(found[0]), log_probs(policy))
    assert torch.equal(found[0].value_head.weight, policy.value_head.weight)  # type: ignore[union-attr]


def test_a_kept_lora_beside_another_model_counts_as_missing(tmp_path: Path) -> None:
    keep(shaken(adapted()), tmp_path / "p", RUN, STEPS, "data")
    other = tiny_policy(seed=5)
    lora.attach(other, config(), 0)
    assert find(tmp_path / "p", RUN, "data", CPU, lambda: other) is None
    assert find(tmp_path / "p", RUN, "data", CPU) is None
    wider = tiny_policy()
    lora.attach(wider, config(lora_r=3), 0)
    assert find(tmp_path / "p", RUN, "data", CPU, lambda: wider) is None


def training(steps: int = 8) -> Training:
    """SequenceMatch with a value head and rollouts of its own, beside a LoRA."""
    trainer = {"name": "sequence_match", "buffer_size": 6, "buffer_fresh": 4, "buffer_every": 3}
    given = {"benchmark": "language", "trainer": trainer, "model": config().model_dump()}
    run = RunConfig.model_validate({**given, "actions": {"backspace": True}, "training": {"rows": 4, "steps": steps}})
    policy = adapted()
    rows = [Trajectory((policy.start_id,), (*policy.encode(text), policy.end_id)) for text in ("abc", "abcdef", "f")]
    propose = FromPolicy(policy)
    stream = ExpertStream(rows, policy.space, run.actions, propose, context=policy.context, seed=0)
    return Training(policy, build(TRAINERS, run.trainer, "trainer"), stream, run)


def test_cut_and_resumed_it_ends_in_the_same_bits_and_saves_only_what_moves() -> None:
    """The state holds 3 tensors (value and two moments, beside a step count) of each trained parameter, and no base."""
    torch.set_num_threads(1)
    whole, cut = training(), training()
    while not whole.finished:
        if whole.step < 4:
            cut.advance()
        whole.advance()
    back = training()
    content = cut.state().to_bytes()
    back.restore(State.from_bytes(content))
    while not back.finished:
        back.advance()
    assert back.state().hash == whole.state().hash
    names = {name for name in State.from_bytes(content).tensors if name.startswith("policy.")}
    assert names == {f"policy.{name}" for name in whole.policy.parameters()}
    assert sum("lora" not in name for name in names) == 3  # the row, and the value head's two


# -------------------------------------------------------------------------------------------------- configuration


def run(**model: object) -> RunConfig:
    return RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "model": {"name": "x/y", **model}})


def test_ids_are_what_they_were_before_there_was_lora() -> None:
    """Fields at their neutral values leave ids alone, and recomputing blocks is no other result."""
    neutral = dict.fromkeys(("lora_r", "lora_alpha", "lora_targets", "quantised", "revision"))
    known = RunConfig.model_validate({"benchmark": "language", "trainer": "mle"})
    assert known.run_id == "0feca8765de43675"
    written = {**copy.deepcopy(known.model_dump()["model"]), **neutral, "gradient_checkpointing": True}
    assert (
        RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "model": written}).run_id == known.run_id
    )
    ids = {run(**model).train_id for model in ({}, {"lora_r": 2}, {"lora_r": 3}, {"revision": "a"})}
    ids |= {run(lora_r=2, quantised="nf4").train_id, run(lora_r=2, lora_alpha=4).train_id}
    assert len(ids) == 6
    assert run(lora_r=2).train_id == run(lora_r=2, lora_alpha=2, lora_targets="all-linear").train_id


def test_a_base_and_a_control_know_nothing_of_lora() -> None:
    """So all cells of a grid share them."""
    plain = RunConfig.model_validate({"benchmark": "language", "trainer": "mle"})
    with_lora = RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "model": {"lora_r": 2}})
    assert with_lora.base().run_id == plain.base().run_id
    assert run(lora_r=2, quantised="nf4").as_control("expert").run_id == run().as_control("expert").run_id


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"lora_alpha": 2}, "lora_alpha=2.0 is about training a LoRA; set lora_r, or remove lora_alpha"),
        ({"quantised": "nf4"}, "set lora_r, or remove quantised"),
        ({"name": "gpt2", "lora_r": 2, "quantised": "nf4"}, "quantised is about a loaded model"),
        ({"name": "gpt2", "revision": "a"}, "revision is about a loaded model"),
        ({"lora_r": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_lora_is_refused(model: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**model)


def test_lora_and_a_scope_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="both say what is trained"):
        RunConfig.model_validate(
            {"benchmark": "text", "trainer": "mle", "model": {"lora_r": 2}, "training": {"scope": "head"}}
        )
