"""Texts as token ids and back, with a policy behind them or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_policies import tiny_policy
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.config.model import ModelConfig
from harness.data.windows import rows
from harness.errors import ConfigError
from harness.models.codec import Codec
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe, characters
from harness.records import Example


def test_a_codec_needs_no_model(tmp_path: Path) -> None:
    """Nine vocabulary rows, of which the tokenizer has eight: end, unknown and a to f; row 8 is padding."""
    policy = tiny_policy(backspace=False, context=5)
    policy.tokenizer.save_pretrained(tmp_path)
    codec = Codec(AutoTokenizer.from_pretrained(tmp_path), 9, 5)
    assert codec.space.unwritable == {0, 1, 8}
    assert codec.space.backspace_id is None
    assert codec.space_of(10, backspace_id=9).unwritable == {0, 1, 8, 9}
    assert codec.tokenizer_id == policy.tokenizer_id
    assert codec.decode(codec.encode("face")) == "face"
    texts = [Example("abcdefabc", prompt="f"), Example("")]
    assert rows(texts, codec) == rows(texts, policy)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="this tokenizer has no end token; choose a model that has one"):
        Codec(PreTrainedTokenizerFast(tokenizer_object=characters(["ab"])), 4, 5)


def test_byte_level_bpe_gives_every_text_back() -> None:
    tokenizer = byte_level_bpe(["the cat sat on the mat"] * 20, vocab_size=270)
    config = ModelConfig(name="gpt2", width=16, heads=2, vocab_size=270)
    policy = Policy.build(config, tokenizer)
    for text in ("the cat", "  two  spaces\n\ttab", "naïve 日本語 🙂", ""):
        assert policy.decode(policy.encode(text)) == text
    assert len(policy.encode("the cat sat")) < len("the cat sat") / 2


def test_characters_split_everything_and_know_what_they_do_not_know() -> None:
    tokenizer = characters(["ab\n c"])
    config = ModelConfig(name="gpt2", width=16, heads=2, tokenizer="characters")
    policy = Policy.build(config, tokenizer)
    assert policy.decode(policy.encode("a\nb c")) == "a\nb c"
    assert len(policy.encode("a\nb c")) == 5
    unknown = policy.encode("x")
    assert len(unknown) == 1
    assert unknown[0] in policy.space.unwritable


def test_an_action_has_a_piece_that_a_reader_can_read() -> None:
    """Byte-level tokens: a space stays with its word, half of a two-byte letter is U+FFFD; two actions have names."""
    tokenizer = byte_level_bpe(["the cat the cat"] * 9, 300)
    config = ModelConfig(name="gpt2", layers=1, width=8, heads=2, base_steps=0, context=16)
    policy = Policy.build(config, tokenizer)
    policy.add_backspace()
    assert [policy.piece(token) for token in policy.encode("the cat")] == ["the", " cat"]
    assert [policy.piece(token) for token in policy.encode("ö")] == ["\ufffd", "\ufffd"]
    assert policy.piece(policy.end_id) == "<end>"
    assert policy.space.backspace_id is not None
    assert policy.piece(policy.space.backspace_id) == "<backspace>"


def test_a_piece_keeps_its_space_where_texts_lose_their_first(data: Callable[[str], Path]) -> None:
    """This tokenizer drops the space that a text begins with; a token in the middle of a text has it."""
    policy = Policy.load(data("stories260K") / "hf", 512)
    pieces = [policy.piece(token) for token in policy.encode("Once upon a time")]
    assert "".join(pieces) == " Once upon a time"
