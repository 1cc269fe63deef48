"""Tiny random policies for tests: real transformers models, two layers, a character vocabulary."""

from __future__ import annotations

import torch

from harness.config.model import ModelConfig
from harness.models.policy import Policy
from harness.models.tokenizers import characters

ALPHABET = "abcdef"


def tiny_policy(
    name: str = "gpt2", *, backspace: bool = True, context: int = 24, dtype: str = "float64", seed: int = 0
) -> Policy:
    """A random policy; its weights are scaled up so that its distribution is far from uniform."""
    config = ModelConfig(
        name=name,
        layers=2,
        width=16,
        heads=2,
        tokenizer="characters",
        base_steps=0,
        base_seed=seed,
        context=context,
        dtype=dtype,
    )
    policy = Policy.build(config, characters([ALPHABET]))
    if backspace:
        policy.add_backspace()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return policy


def fresh_logits(policy: Policy, text: tuple[int, ...]) -> torch.Tensor:
    """Logits [V] after a reduced text by the model's own plain forward pass, nothing of ours in between."""
    with torch.no_grad():
        logits: torch.Tensor = policy.model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
    return logits
