"""A real pretrained model, SmolLM2-135M-Instruct, beside transformers alone; skipped without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import transformers

from harness.evaluation.likelihood import likelihood
from harness.models.policy import Policy
from harness.records.data import Example

TEXT = (
    "The lighthouse stood at the end of a long stone pier. Every evening, whatever the weather, its keeper climbed the "
    "hundred and twelve steps to the lamp, wound the clockwork that turned it, and wrote the hour into a small book."
)


@pytest.fixture
def lm() -> Path:
    """Directory of the model, or a skip with the reason."""
    given = os.environ.get("HARNESS_LM")
    if not given:
        pytest.skip("HARNESS_LM is not set: this check needs a directory of SmolLM2-135M-Instruct")
    return Path(given)


def test_likelihood_is_that_of_transformers_alone(lm: Path) -> None:
    """Nats per token of one text, start unscored and end scored, to 1e-6; whole in float32, and all in float64.

    transformers' logits go through a log-softmax in float64: torch's own in float32 on a CPU, and the cross-entropy on
    top of it, are off by 5e-6 to 8e-6 at this model's 49,152 tokens (findings/wide-log-softmax-drifts.sh).
    """
    policy = Policy.load(lm, None)
    ours = likelihood(policy, [Example(TEXT)])
    paris = policy.encode("The capital of France is")
    del policy
    tokenizer = transformers.AutoTokenizer.from_pretrained(lm)
    model = transformers.AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval()
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(TEXT).input_ids, tokenizer.eos_token_id]])
    assert ours.tokens == ids.shape[1] - 1 > 40
    with torch.no_grad():
        assert tokenizer.decode(model(torch.tensor([paris])).logits[0, -1].argmax()) == " Paris"
        for dtype in (torch.float32, torch.float64):
            log_probs = model.to(dtype)(ids).logits[0, :-1].double().log_softmax(-1)
            theirs = -log_probs.gather(-1, ids[0, 1:, None]).mean()
            assert ours.nll / ours.tokens == pytest.approx(float(theirs), abs=1e-6)
