#!/usr/bin/env bash
# Versions: transformers 5.23.0 with torch 2.13.0, attention "sdpa", Llama; 47 other causal families that were tried do the same.
# Guess: a cache of keys and values changes how fast a forward pass is, never its logits; so does a mask of ones.
# Seen: two documents in one row, positions 0..6 and 0..8.  With use_cache=False the second document's logits are those of
#       the document alone (to 1e-5).  With use_cache left out (True, in train mode too), or with an attention_mask of
#       ones beside use_cache=False, they move by more than 1: the second document attends to the first.
# Why: restarts of position_ids cut the attention only if there is neither a mask nor a cache, and by default the model
#      makes an (empty) cache before it builds its mask.  Trainer turns the cache off; a loop of one's own, or a scorer of
#      packed texts, does not.
# Source: transformers/masking_utils.py, _preprocess_mask_arguments; https://github.com/huggingface/transformers/pull/39194
#         and pull/46634 (for the mask, closed); https://huggingface.co/docs/transformers/en/padding_free warns of the mask.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(**shape, initializer_range=0.3))
assert model.config._attn_implementation == "sdpa"
first, second = torch.randint(3, 64, (1, 7)), torch.randint(3, 64, (1, 9))
row = torch.cat([first, second], dim=1)
positions = torch.cat([torch.arange(7), torch.arange(9)])[None]
ones = torch.ones_like(row)


@torch.no_grad()
def moved(**options: object) -> float:
    """The largest difference between the second document's logits, packed and alone."""
    alone = model(input_ids=second).logits
    return float((model(input_ids=row, position_ids=positions, **options).logits[:, 7:] - alone).abs().max())


seen = {
    "use_cache=False": moved(use_cache=False),
    "no option": moved(),
    "use_cache=False, a mask of ones": moved(use_cache=False, attention_mask=ones),
}
model.eval()
seen["no option, eval mode"] = moved()
for options, change in seen.items():
    print(f"{options}: the second document's logits move by {change:.1e}")
assert seen.pop("use_cache=False") < 1e-4
assert all(change > 1 for change in seen.values())
PY

OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$home/venv/bin/python" see.py
echo "as described"
