#!/usr/bin/env bash
# Versions: peft 0.21.2 with transformers 5.23.0: LoRA with target_modules="all-linear" on two related mixtures of experts.
# Guess: it adapts the experts of both models, or of neither.
# Seen: in Qwen3-MoE attention, router and experts get adapters.  In Qwen2-MoE attention and the shared expert do, the
#       router and the routed experts, most of the weights, do not, and no warning says so.
# Why: since transformers 5 experts are stacked parameters, no nn.Linear.  peft adds them for families that a table of
#      transformers maps to a conversion; most are mapped to "qwen2_moe", but that family itself is no key of the table
#      (peft adds "mixtral" by hand).  gpt_oss, granitemoe, jamba and llama4 get no experts either.  target_parameters
#      names them for any family.
# Source: peft/utils/transformers_weight_conversion.py; https://github.com/huggingface/peft/pull/3232 (all-linear is meant
#         to take the experts along)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.23.0 torch==2.13.0 accelerate==1.15.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import warnings

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

transformers.logging.set_verbosity_error()
SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def adapted(model: torch.nn.Module) -> set[str]:
    """The modules of the first layer that get a LoRA."""
    weights = sum(value.numel() for name, value in model.named_parameters() if ".experts." in name)
    share = weights / sum(value.numel() for value in model.parameters())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    names = {name.split(".layers.0.")[1].split(".lora_A")[0] for name, _ in model.named_parameters() if ".layers.0." in name and "lora_A" in name}
    print(f"{type(model.base_model.model).__name__}: routed experts are {share:.0%} of the weights; adapted: {', '.join(sorted(names))}")
    if not any("experts" in name for name in names):
        spoken = [str(one.message) for one in said if "expert" in str(one.message) or "not" in str(one.message).lower().split()]
        print(f"    warnings about it: {spoken}")
        assert not spoken
    return names


qwen3 = adapted(Qwen3MoeForCausalLM(Qwen3MoeConfig(**SHAPE)))
qwen2 = adapted(Qwen2MoeForCausalLM(Qwen2MoeConfig(**SHAPE, shared_expert_intermediate_size=32)))
attention = {f"self_attn.{one}_proj" for one in "qkvo"}
assert qwen3 == attention | {"mlp.gate", "mlp.experts", "mlp.experts.base_layer"}, qwen3
assert attention < qwen2 and "mlp.shared_expert.up_proj" in qwen2, qwen2
assert "mlp.gate" not in qwen2 and not any("mlp.experts" in name for name in qwen2), qwen2
PY

OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$home/venv/bin/python" see.py
echo "as described"
