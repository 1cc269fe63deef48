"""Pairs of texts cut to equal numbers of tokens, for tokenizers of characters, words and bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import Data, stories
from tiny_policies import tiny_policy

from harness.config.model import ModelConfig
from harness.evaluation.features import Features
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.plugins.metric import Unscorable


def bpe_policy() -> Policy:
    """Byte-level BPE with merges for one sentence only: everything else, emoji among it, takes a token per byte."""
    config = ModelConfig(name="gpt2", layers=1, width=16, heads=2, tokenizer="bpe", base_steps=0, context=24)
    return Policy.build(config, byte_level_bpe(["the cat sat on the mat"] * 9, 280))


def test_characters_by_hand(tmp_path: Path) -> None:
    """`abcdef` against `fed`: three tokens each.  An empty side leaves the other as it is."""
    tiny_policy(backspace=False).save(tmp_path)
    pairs = [("abcdef", "fed"), ("a", "bcd"), ("abc", ""), ("", "")]
    found = Features(None, torch.device("cpu")).paired(str(tmp_path), pairs)
    assert found == [("abc", "fed"), ("a", "b"), ("abc", ""), ("", "")]


@settings(deadline=None)
@given(st.text("the cat\n😀é", max_size=30), st.text("the cat\n😀é", max_size=30))
def test_both_sides_have_as_many_tokens(one: str, other: str) -> None:
    """The shorter side stays whole.  The longer one is its beginning and has no more tokens.

    It has fewer only where the cut falls into a character, of at most four bytes, which is then left out.
    """
    policy = bpe_policy()
    features = Features(None, torch.device("cpu"))
    features._models["bpe"] = policy
    cut, other_cut = features.paired("bpe", [(one, other)])[0]
    if not one or not other:
        assert (cut, other_cut) == (one, other)
        return
    n = min(len(policy.encode(one)), len(policy.encode(other)))
    for whole, part in ((one, cut), (other, other_cut)):
        assert whole.startswith(part)
        assert n - 3 <= len(policy.encode(part)) <= n
    assert cut == one or other_cut == other


def test_a_real_tokenizer_gives_equal_numbers(data: Data) -> None:
    """Stories in pairs under the 512 pieces of stories260K."""
    model = str(data("stories260K") / "hf")
    texts = stories(data, 40)
    policy = Policy.load(model, None)
    for pair in Features(None, torch.device("cpu")).paired(model, list(zip(texts[:20], texts[20:], strict=True))):
        first, second = (len(policy.encode(text)) for text in pair)
        assert first == second > 100


def test_a_tokenizer_without_places_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = bpe_policy()
    monkeypatch.setattr(type(policy.tokenizer), "is_fast", False)
    with pytest.raises(Unscorable, match="use length=free"):
        policy.token_ends("the")
