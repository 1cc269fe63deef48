"""LoRA beside every kind of layer: folded in, exported and loaded again, it is the function that was trained.

The oracle is the adapted policy itself, and peft's own merge of a copy.  The matrices B, 0 at first, are drawn at
random; float32 leaves 1e-6 of a logit.  Names of layers are places in a block of the model.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from architectures import config_of, tokenizer
from torch import Tensor, nn

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.errors import ConfigError, EnvironmentProblem
from harness.models import lora, pretrained
from harness.models.card import card
from harness.models.export import export
from harness.models.policy import Policy
from harness.records.rollout import Trajectory

BOUND = 1e-5  # of the largest logit

QKVO = {f"self_attn.{name}_proj" for name in "qkvo"}
GATED = {f"mlp.{name}_proj" for name in ("gate", "up", "down")}
EXPERTS = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"}
FAMILIES: dict[str, set[str]] = {  # by name in architectures.json, what `all-linear` stands beside
    "llama": QKVO | GATED,
    "qwen2": QKVO | GATED,
    "qwen3": QKVO | GATED,
    "mistral": QKVO | GATED,
    "gemma2": QKVO | GATED,
    "gemma3_text": QKVO | GATED,
    "phi3": {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"},
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "gpt_neox": {"attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    "falcon_new": {
        *("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    },
    "mixtral": QKVO | EXPERTS,
    "qwen3_moe": QKVO | EXPERTS,
    "olmoe": QKVO | EXPERTS,
    "glm4_moe": QKVO | EXPERTS,
    "deepseek_v3": {
        *(f"self_attn.{name}_proj" for name in ("q_a", "q_b", "kv_b", "o")),
        "self_attn.kv_a_proj_with_mqa",
        *EXPERTS,
    },
    "gpt_oss": QKVO,
    "llama4_text": QKVO | {f"feed_forward.shared_expert.{name}_proj" for name in ("gate", "up", "down")},
    "jamba": QKVO
    | {f"feed_forward.{name}_proj" for name in ("gate", "up", "down")}
    | {f"mamba.{name}_proj" for name in ("in", "x", "out")},
    "mamba": {"mixer.in_proj", "mixer.x_proj"},
    "falcon_mamba": {"mixer.in_proj", "mixer.x_proj"},
    "mamba2": {"mixer.in_proj"},
    "granitemoehybrid": QKVO
    | {"mamba.in_proj", "mamba.out_proj", "shared_mlp.input_linear", "shared_mlp.output_linear"},
    "bart": {f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")} | {"fc1", "fc2"},
}
APART = {  # the reasons that are ours, with what they are about
    "jamba": {"mamba.dt_proj": "no pass goes through it"},
    "mamba": {"mixer.dt_proj": "no pass goes through it", "mixer.out_proj": "peft refuses it"},
    "falcon_mamba": {"mixer.dt_proj": "no pass goes through it", "mixer.out_proj": "peft refuses it"},
    "mamba2": {"mixer.out_proj": "peft refuses it"},
    "llama4_text": {"feed_forward.router": "it does more than multiply by its weight"},
    "bart": {f"encoder_attn.{name}_proj": "no pass goes through it" for name in ("q", "k", "v", "out")},
    "deepseek_v3": dict.fromkeys((*GATED, "mlp.shared_experts.up_proj"), "not among peft's own targets"),
    "gpt_oss": {"mlp.experts.gate_up_proj": "not among peft's own targets"},
}


def wanted(**model: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": "x/y", "context": 32, "lora_r": 3, "lora_alpha": 7, **model})


def plain(name: str, **changes: object) -> Policy:
    """A random policy of an entry of architectures.json, with `<backspace>` where it can delete."""
    config = config_of(name)
    config.update(changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.add_(torch.randn_like(parameter) * 0.15)
    policy = Policy(model, tokenizer(), 32)
    if policy.kind.keeps is None:
        policy.add_backspace()
    return policy


def adapted(policy: Policy, **model: object) -> Policy:
    """The policy with a LoRA whose every trained number is moved."""
    lora.attach(policy, wanted(**model), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return policy


def logits(policy: Policy) -> Tensor:
    """[1, A + 1, V] in the states of one row, with deletions where there are any."""
    actions = [*range(2, 9), *range(12, 18)]
    if (back := policy.space.backspace_id) is not None:
        actions[4:4] = [back, back]
    row = Trajectory((policy.start_id, 11), tuple(actions))
    batch = pack([row], policy.space, Weighting(gamma=0.9))
    return policy.logits(policy.state_hidden(batch), batch.legal).clamp(min=-1e3)


def gap(ours: Tensor, theirs: Tensor) -> float:
    legal = theirs > -1e3
    return float((ours - theirs)[legal].detach().abs().max() / theirs[legal].detach().abs().max())


def peft_merged(policy: Policy) -> Policy:
    """A copy whose matrices peft itself has merged."""
    other = copy.copy(policy)
    other.model = copy.deepcopy(policy.model)
    tuner: Any = peft.LoraModel.__new__(peft.LoraModel)
    nn.Module.__init__(tuner)
    tuner.model, tuner.targeted_module_names, tuner.targeted_parameter_names = other.model, [], []
    tuner.merge_and_unload()
    return other


@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied")  # the copy keeps its learned row
@pytest.mark.parametrize("name", FAMILIES)
def test_folded_exported_and_loaded_again_it_is_the_function_that_was_trained(name: str, tmp_path: Path) -> None:
    policy = plain(name)
    keys, before = policy.model.state_dict().keys(), logits(policy)
    adapted(policy)
    assert policy.layers is not None
    assert set(policy.layers.beside) == FAMILIES[name]
    for place, reason in APART.get(name, {}).items():
        assert policy.layers.apart[place].startswith(reason)
    trained = logits(policy)
    trained.sum().backward()  # type: ignore[no-untyped-call]
    used = {key.rpartition("lora_B")[0] for key, one in policy.parameters().items() if one.grad is not None}
    assert used >= {key.rpartition("lora_B")[0] for key in policy.parameters() if "lora_B" in key}
    assert gap(before, trained) > 0.05
    with torch.no_grad():
        merged = logits(peft_merged(policy))
        lora.fold(policy)
        assert gap(logits(policy), trained) < BOUND
        assert gap(logits(policy), merged) < BOUND
        assert policy.model.state_dict().keys() == keys
        export(policy, tmp_path / "m", "card")
        again = Policy.load(tmp_path / "m", 32)
        assert gap(logits(again), trained) < BOUND


def test_experts_have_the_scale_that_peft_gives_them() -> None:
    """gate and up are one parameter: twice the rank and twice alpha, so that alpha / r stays 7 / 3."""
    policy = adapted(plain("mixtral"))
    ranks = {key.split(".lora_A")[0].split(".", 4)[-1]: one.shape[0] for key, one in policy.parameters().items()
             if "lora_A" in key and ".0." in key and "experts" in key}  # fmt: skip
    assert ranks == {"mlp.experts": 4 * 3, "mlp.experts.base_layer": 4 * 6}
    scales = {module.scaling["default"] for module in policy.model.modules() if hasattr(module, "scaling")
              and isinstance(module.scaling, dict)}  # fmt: skip
    assert scales == {7 / 3}


@pytest.mark.parametrize(
    ("name", "targets", "beside"),
    [
        ("llama", "q_proj+v_proj", {"self_attn.q_proj", "self_attn.v_proj"}),
        ("llama", "self_attn.q_proj", {"self_attn.q_proj"}),
        ("mixtral", "q_proj+v_proj", {"self_attn.q_proj", "self_attn.v_proj"}),
        ("mixtral", "q_proj+w1+w3", {"self_attn.q_proj", "mlp.experts.gate_up_proj"}),  # names of transformers 4
        ("mixtral", "gate_up_proj", {"mlp.experts.gate_up_proj"}),
        ("gpt_oss", "q_proj+gate_up_proj+down_proj", {"self_attn.q_proj", *EXPERTS} - {"mlp.gate.weight"}),
        ("phi3", "gate_up_proj", {"mlp.gate_up_proj"}),
        ("jamba", "dt_proj+x_proj", None),
        ("jamba", "in_proj", {"mamba.in_proj"}),
    ],
)
def test_named_layers_and_stacks_of_experts(name: str, targets: str, beside: set[str] | None) -> None:
    policy = plain(name)
    if beside is None:
        with pytest.raises(ConfigError, match=r"'dt_proj' names no layer .* mamba\.dt_proj: no pass goes through it"):
            adapted(policy, lora_targets=targets)
        return
    adapted(policy, lora_targets=targets)
    assert policy.layers is not None
    assert set(policy.layers.beside) == beside
    assert not policy.layers.apart
    with torch.no_grad():
        trained = logits(policy)
        lora.fold(policy)
        assert gap(logits(policy), trained) < BOUND


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("llama", "q_proj+vproj", r"'vproj' names no layer of this LlamaForCausalLM"),
        ("llama", "q_proj,v_proj", r"'q_proj,v_proj' names no layer .*some of down_proj.*q_proj.*joined by \+"),
        ("llama", "lm_head", r"'lm_head' names no layer"),
        ("gpt2", "wte", r"'wte' names no layer"),
        ("mixtral", "w1", r"Cannot convert PEFT target\(s\) w1 without also targeting w3"),
        ("llama4_text", "router", r"feed_forward\.router: it does more than multiply by its weight"),
        ("mamba", "out_proj", r"mixer\.out_proj: peft refuses it"),
        ("bamba", "conv1d", r"'conv1d' names no layer"),
    ],
)
def test_a_name_without_a_layer_is_refused_with_those_that_have_one(name: str, targets: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lora.attach(plain(name), wanted(lora_targets=targets), 0)


def test_layers_that_share_a_weight_have_no_lora() -> None:
    """Two deltas cannot be folded into one weight; a weight that one layer has alone still has its matrices."""
    policy = plain("llama")
    first, second = policy.model.model.layers
    second.mlp.up_proj.weight = first.mlp.up_proj.weight
    adapted(policy)
    assert policy.layers is not None
    assert policy.layers.apart == {"mlp.up_proj": "it shares its weight with another layer"}
    with torch.no_grad():
        trained = logits(policy)
        lora.fold(policy)
        assert gap(logits(policy), trained) < BOUND
    with pytest.raises(ConfigError, match=r"mlp\.up_proj: it shares its weight"):
        lora.attach(policy, wanted(lora_targets="up_proj"), 0)


def test_experts_that_are_computed_twice_give_the_same_gradient() -> None:
    policy = adapted(plain("qwen3_moe"))

    def gradient() -> list[Tensor]:
        return list(torch.autograd.grad(logits(policy).sin().sum(), list(policy.parameters().values())))

    once = gradient()
    pretrained.recompute(policy.model)
    for expected, found in zip(once, gradient(), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_card_says_where_it_stood() -> None:
    config = RunConfig.model_validate({"benchmark": "text", "trainer": "mle", "model": wanted().model_dump()})
    policy = adapted(plain("jamba"))
    lora.fold(policy)
    told = card(policy, config, "0" * 8)
    assert "A LoRA of rank 3 (alpha 7, all-linear) is folded in; it was trained beside feed_forward.down_proj," in told
    assert "not beside mamba.dt_proj (no pass goes through it: its weight is read directly, or not at all)" in told


# ---------------------------------------------------------------------------------------------------- half a folder


@pytest.mark.parametrize("error", [RecursionError("too deep"), OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [None, "empty", "old"])
def test_an_export_that_fails_leaves_what_was_there(
    error: BaseException, there: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails after some files, and where the folder's parents are new."""
    target = tmp_path / "new" / "m"
    policy = plain("gpt2")
    if there is not None:
        target.mkdir(parents=True)
    if there == "old":
        export(policy, target, "the old card")
        (target / "notes.txt").write_text("mine")

    def listed() -> dict[str, bytes]:
        return {str(path.relative_to(tmp_path)): path.read_bytes() if path.is_file() else b"" for path in
                tmp_path.rglob("*")}  # fmt: skip

    before = listed()

    def fail(directory: Path, *_: object, **__: object) -> None:
        (Path(directory) / "model.safetensors").write_text("half")
        raise error

    monkeypatch.setattr(policy.model, "save_pretrained", fail)
    with pytest.raises(EnvironmentProblem if isinstance(error, OSError) else type(error)):
        export(policy, target, "card", overwrite=True)
    assert listed() == before
    monkeypatch.undo()
    export(policy, target, "card", overwrite=True)
    names = {path.name for path in target.iterdir()}
    assert {"model.safetensors", "config.json", "README.md", "harness.json"} <= names
    assert not any(name.startswith(".") for name in names)
    assert ("notes.txt" in names) is (there == "old")
