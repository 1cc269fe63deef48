#!/usr/bin/env bash
# Versions: transformers 5.23.0 with torch 2.13.0: generate(do_sample=True, top_k=1).
# Guess: it keeps the one likeliest token at each step, and so is greedy decoding, whatever the seed.
# Seen: with float32 weights it is.  With the same weights in bfloat16 two or three tokens are kept at 3 % of the steps, the
#       seed draws among them, and two seeds write different texts for 26 of 64 prompts.
# Why: what is kept is every logit not below the k-th largest, and bfloat16, with 8 bits of precision, gives many logits
#      the same value.  generate turns logits into float32 first, so that their dtype no longer shows it.
# Source: TopKLogitsWarper in transformers/generation/logits_process.py; its docstring speaks of the k tokens of highest
#         probability.  The same in another library: https://github.com/vllm-project/vllm/pull/50979 (open)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

shape = {"vocab_size": 8000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
prompts = torch.arange(1, 65)[:, None]
for dtype in (torch.float32, torch.bfloat16):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, **ends, initializer_range=0.2)).eval().to(dtype)
    options = {"attention_mask": torch.ones_like(prompts), "max_new_tokens": 30, "return_dict_in_generate": True}
    greedy = model.generate(prompts, do_sample=False, **options).sequences
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        drawn.append(model.generate(prompts, do_sample=True, top_k=1, output_scores=True, **options))
    kept = torch.isfinite(torch.stack(drawn[0].scores)).sum(-1)
    several = float((kept > 1).float().mean())
    as_greedy = sum(map(torch.equal, drawn[0].sequences, greedy))
    alike = sum(map(torch.equal, drawn[0].sequences, drawn[1].sequences))
    print(f"{dtype}: several tokens kept at {several:.1%} of the steps, at most {int(kept.max())}; of 64 texts {as_greedy} are")
    print(f"    the greedy ones, and {alike} are the same with another seed")
    if dtype == torch.float32:
        assert several == 0 and as_greedy == alike == 64
    else:
        assert several > 0 and as_greedy < 64 and alike < 64
PY

OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$home/venv/bin/python" see.py
echo "as described"
