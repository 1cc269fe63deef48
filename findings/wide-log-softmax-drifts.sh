#!/usr/bin/env bash
# Versions: torch 2.13.0 on a CPU: log_softmax and cross_entropy of float32 logits, one row for each token.
# Guess: the error of a log-probability is one of rounding, some 1e-7, whatever the width of the vocabulary.
# Seen: of rows in which few tokens have most of the mass, as a language model's have, log_softmax is off by 1e-6 to 1e-4
#       on average over tokens and rows, more the wider the row; x - logsumexp(x) is right to 1e-7, and so is the
#       same log_softmax in float64.  A mean over a whole corpus does not take the error away: it has a sign.
# Why: the kernel of the last dimension adds exp(x - max) of a row to running float32 sums, from left to right; what is
#      small beside the sum so far is rounded at every addition.  logsumexp goes through sum, which adds in pairs.
# Source: aten/src/ATen/native/cpu/SoftMaxKernel.cpp (vec_host_softmax_lastdim and its log variant), cpu/SumKernel.cpp
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import torch

torch.manual_seed(0)
for width in (49_152, 128_256, 262_144):  # vocabularies of SmolLM2, Llama 3, Gemma 3
    rank = torch.arange(1.0, width + 1)
    logits = torch.randn(64, width) - 1.5 * rank.log()  # token v has about v ** -1.5 of the mass
    right = logits.double().log_softmax(-1)
    built_in = (logits.log_softmax(-1).double() - right).mean()
    by_hand = ((logits - logits.logsumexp(-1, keepdim=True)).double() - right).mean()
    token = torch.multinomial(right.exp(), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    loss = torch.nn.functional.cross_entropy(logits, token).double() + right.gather(1, token[:, None]).mean()
    print(f"{width:>7} tokens: mean error {built_in:+.1e} nats, cross_entropy {loss:+.1e}, by logsumexp {by_hand:+.1e}")
    assert abs(built_in) > 1e-6
    assert abs(loss) > 1e-6
    assert abs(by_hand) < 2e-7
PY

OMP_NUM_THREADS=1 "$home/venv/bin/python" see.py
echo "as described"
