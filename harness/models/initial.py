"""The policy before training: a fresh model, or a copy of the base, with `<backspace>` and LoRA where wanted."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.models import tokenizers
from harness.models.lora import attach
from harness.models.policy import Policy
from harness.records.data import Splits
from harness.seeding import key


def untrained(model: ModelConfig, splits: Splits, device: torch.device) -> Policy:
    """A policy before its first step: a tokenizer of the training split, and weights drawn from `base_seed`."""
    texts = [text for example in splits.train for text in (example.prompt, example.text) if text]
    tokenizer = (
        tokenizers.characters(texts)
        if model.tokenizer == "characters"
        else tokenizers.byte_level_bpe(texts, model.vocab_size or 2048)
    )
    return Policy.build(model, tokenizer).to(device)


def start_policy(config: RunConfig, directory: Path | None, device: torch.device) -> Policy:
    """A fresh copy of a run's policy before training, with `<backspace>` and LoRA where the configuration has them.

    `directory` is the base's; None loads the pretrained model that the configuration names.  A model that was exported
    with its `<backspace>` keeps that row, or loses it where the configuration has no such action.
    """
    policy = Policy.start(config.model, directory, frozen=config.untrained)
    if config.actions.backspace:
        policy.add_backspace()
    else:
        policy.drop_backspace()
    if config.model.lora_r is not None:
        attach(policy, config.model, key(config.seeds.train, "lora"))
    return policy.to(device)
