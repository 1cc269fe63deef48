#!/usr/bin/env bash
# Versions: transformers 5.23.0 with torch 2.13.0: Bamba and Llama read a text in two calls, the second with the first's cache.
# Guess: without position_ids both go on counting where the cache ends, as causal models of transformers do.
# Seen: Llama does.  Bamba counts from 0 in each call, so that the attention layers of the second call see wrong
#       distances and its logits are not those of the whole text; with position_ids given they are.
# Why: Bamba's forward makes position_ids from the length of its input alone, and looks at the cache for the mask only.
#      generate() passes position_ids and is not concerned; a loop of one's own is.
# Source: transformers/models/bamba/modeling_bamba.py (BambaModel.forward)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import torch
import transformers
from transformers import BambaConfig, BambaForCausalLM, DynamicCache, LlamaConfig, LlamaForCausalLM

transformers.logging.set_verbosity_error()
SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "attn_layer_indices": [1]}
ids = torch.arange(12)[None]


def apart(model: torch.nn.Module, *, positions: bool) -> float:
    """Largest difference in logits of the last token: 8 + 4 tokens in two calls against 12 in one."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits[0, -1]
        model(ids[:, :8], past_key_values=cache, use_cache=True, **({"position_ids": torch.arange(8)[None]} if positions else {}))
        for t in range(8, 12):
            step = {"position_ids": torch.tensor([[t]])} if positions else {}
            found = model(ids[:, t : t + 1], past_key_values=cache, use_cache=True, **step).logits[0, -1]
    return (found - whole).abs().max().item()


torch.manual_seed(0)
models = [LlamaForCausalLM(LlamaConfig(**SHAPE)).eval(), BambaForCausalLM(BambaConfig(**SHAPE, **MAMBA)).eval()]
for model in models:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.add_(0.15 * torch.randn_like(weight))
    without, given = apart(model, positions=False), apart(model, positions=True)
    print(f"{type(model).__name__}: logits apart {without:.2e} without position_ids, {given:.2e} with them")
    assert given < 1e-4
    assert (without > 1e-3) == isinstance(model, BambaForCausalLM)
PY

OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$home/venv/bin/python" see.py
echo "as described"
