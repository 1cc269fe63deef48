"""Tokenizers as models come with: likelihoods are transformers' own, and texts come back as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from llamas import sentencepiece_like
from tokenizers import processors

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.data.windows import rows
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.records.data import Example

LEARNT = ["the cat sat on the mat", "a dog ran"]
TEXTS = [
    "the cat sat",
    " the cat",
    "  two  spaces ",
    "a\nb\n",
    "caf\u00e9 \U0001f642",
    "the<u>cat <u> sat",
    "</s> and <s>",
]
TEXTS += ["<|endoftext|>x"]


def byte_level(**named: str) -> Any:
    return transformers.PreTrainedTokenizerFast(tokenizer_object=byte_level_bpe(LEARNT * 9, 280), **named)


def ended(**_: str) -> Any:
    """No bos and no padding."""
    return byte_level(eos_token="<|endoftext|>")


def endless() -> Any:
    """Neither bos nor eos nor padding: config.json alone names the end."""
    return byte_level()


def added_inside() -> Any:
    """An ordinary token that was added, which the texts hold; the end after it, and padding."""
    tokenizer = byte_level(eos_token="<|endoftext|>")
    tokenizer.add_tokens(["<u>"])
    tokenizer.add_special_tokens({"bos_token": "<s>", "pad_token": "<pad>"})
    return tokenizer


def chatty() -> Any:
    """Every text that it is given gets a bos, by itself."""
    tokenizer = added_inside()
    marked = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = marked
    return tokenizer


def pieces() -> Any:
    """Sentencepiece's, as Llama-2: a space before every text."""
    return sentencepiece_like(LEARNT * 9, 300)


def bytes_alone() -> Any:
    return transformers.ByT5Tokenizer()


KINDS = [ended, endless, added_inside, chatty, pieces, bytes_alone]


def policy_of(tokenizer: Any, end: int | None = None) -> Policy:
    """A random Llama of one layer whose config.json names the end, if the tokenizer does not."""
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, eos_token_id=end, bos_token_id=None, pad_token_id=None
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Policy(transformers.LlamaForCausalLM(config).double(), tokenizer, 64, "float64")


@pytest.mark.parametrize("kind", KINDS)
def test_a_likelihood_is_transformers_own_and_a_text_comes_back(kind: Any) -> None:
    """log p(text, end | start), in nats, of the ids that the tokenizer alone gives, its own bos included."""
    tokenizer = kind()
    policy = policy_of(tokenizer, 0 if tokenizer.eos_token_id is None else None)
    for text in TEXTS:
        assert policy.decode(policy.encode(text)) == text
        (row,) = rows([Example(text)], policy)
        ids = tokenizer(text, add_special_tokens=kind is chatty, split_special_tokens=True).input_ids
        ids = [*([] if kind is chatty else [policy.start_id]), *ids, policy.end_id]
        assert [*row.prompt, *row.actions] == ids
        with torch.no_grad():
            told = policy.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            alone = told.gather(-1, torch.tensor(ids[1:])[:, None]).sum()
            ours = policy.evaluate(pack([row], policy.space, Weighting(kind="uniform"))).log_prob.sum()
        assert float(ours) == pytest.approx(float(alone), abs=1e-8, rel=0)
