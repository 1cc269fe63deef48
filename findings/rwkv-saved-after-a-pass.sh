#!/usr/bin/env bash
# Versions: transformers 5.23.0 with torch 2.13.0: an RWKV model in evaluation mode is saved after its first forward pass.
# Guess: a forward pass without gradients changes no weight, so the folder holds the model that was loaded.
# Seen: the first pass in evaluation mode divides the output weights of later blocks in place, by 2 for every
#       `rescale_every` (default 6) blocks before them.  save_pretrained writes the divided weights and no word about it;
#       the model that is loaded from the folder divides them once more, and computes other probabilities.
# Why: the state "already divided" is an attribute of the module, not part of the configuration or of the weights.
#      model.train() and a further pass multiply them back; `rescale_every=0` switches it off.
# Source: transformers/models/rwkv/modeling_rwkv.py (_rescale_layers)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import torch
import transformers
from transformers import RwkvConfig, RwkvForCausalLM

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
config = RwkvConfig(vocab_size=32, hidden_size=32, num_hidden_layers=8, context_length=32)
assert config.rescale_every == 6
model = RwkvForCausalLM(config).eval()
with torch.no_grad():
    for weight in model.parameters():
        weight.add_(0.3 * torch.randn_like(weight))
ids = torch.arange(8)[None]


def last(found: RwkvForCausalLM) -> torch.Tensor:
    with torch.no_grad():
        return found(ids, use_cache=False).logits[0, -1].log_softmax(-1)


model.save_pretrained("before")
weight = model.rwkv.blocks[7].attention.output.weight
stored = weight.detach().clone()
first = last(model)
print("largest change of a weight of block 8 by one pass:", f"{(weight - stored).abs().max():.3f}")
assert torch.equal(weight, stored / 2)
assert torch.equal(last(model), first)
model.save_pretrained("after")
for folder, same in (("before", True), ("after", False)):
    apart = (last(RwkvForCausalLM.from_pretrained(folder).eval()) - first).abs().max().item()
    print(f"saved {folder} the pass, loaded again: log-probabilities at most {apart:.4f} nats apart")
    assert (apart < 1e-5) is same, apart
PY

OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$home/venv/bin/python" see.py
echo "as described"
