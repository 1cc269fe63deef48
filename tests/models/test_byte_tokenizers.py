"""Bytes that make no character are U+FFFD in every text, under byte-level tokenizers of all kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from llamas import sentencepiece_like

from harness.generation.rollouts import Start, sample
from harness.models.codec import Codec
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe

BROKEN = [
    b"a\x80b",  # a byte that begins no character
    b"\xc3",  # the first of two, alone
    b"\xe2\x82z\xac",  # two of three, and the third too late
    b"\xff\xfe",
    "\u00e9\u20ac\U0001f642".encode(),  # whole ones, of two, three and four bytes
    b"\xf0\x9f\x99" + "\u00e9".encode(),
]
SWAPPED = {"61": "62", "62": "61", "c3 a9": "c3 a9"}  # MyT5 that writes a as b and b as a


def byt5(_: Path) -> Any:
    """ids 0 to 2 are special, 3 + b is byte b."""
    return transformers.ByT5Tokenizer()


def dia(_: Path) -> Any:
    """id b is byte b."""
    return transformers.DiaTokenizer()


def myt5(folder: Path, rules: dict[str, str] | None = None) -> Any:
    """As ByT5, with bytes rewritten by `rules`."""
    (folder / "byte_maps.json").write_text(json.dumps({"decompose_map": rules or {}, "merge_map": {}}))
    return transformers.MyT5Tokenizer(str(folder / "byte_maps.json"))


def clvp(folder: Path, errors: str) -> Any:
    """GPT-2's bytes in plain Python, one token each; `errors` as its tokenizer_config.json may set it."""
    from transformers.models.clvp.tokenization_clvp import bytes_to_unicode

    names = bytes_to_unicode()
    vocabulary = {"<end>": 0, **{names[byte]: byte + 1 for byte in range(256)}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version\n")
    named = {"unk_token": "<end>", "bos_token": "<end>", "eos_token": "<end>", "pad_token": "<end>"}
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return transformers.ClvpTokenizer(*files, errors=errors, **named)


@pytest.mark.parametrize("written", BROKEN)
@pytest.mark.parametrize(
    ("made", "offset"),
    [
        (byt5, 3),
        (dia, 0),
        (myt5, 3),
        (lambda folder: clvp(folder, "ignore"), 1),
        (lambda folder: clvp(folder, "strict"), 1),
        (lambda folder: clvp(folder, "replace"), 1),
    ],
    ids=["byt5", "dia", "myt5", "clvp-ignore", "clvp-strict", "clvp-replace"],
)
def test_bytes_are_decoded_as_pythons_replace_does(
    made: Callable[[Path], Any], offset: int, written: bytes, tmp_path: Path
) -> None:
    codec = Codec(made(tmp_path), 400, 64, [0])
    assert codec.decode([byte + offset for byte in written]) == written.decode(errors="replace")


def test_rewritten_bytes_are_written_back_before_they_are_read(tmp_path: Path) -> None:
    codec = Codec(myt5(tmp_path, SWAPPED), 400, 64)
    assert codec.encode("ab\u00e9") == [3 + byte for byte in "ba\u00e9".encode()]
    assert codec.decode([*codec.encode("ab\u00e9"), 3 + 0xC3, *codec.encode("a")]) == "ab\u00e9\ufffda"


@pytest.mark.parametrize("kind", ["ByteLevel", "ByteFallback"])
def test_the_librarys_byte_tokenizers_leave_nothing_out_either(kind: str) -> None:
    if kind == "ByteLevel":
        tokenizer = byte_level_bpe(["a b"], 257)
        own = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
        lone = own.convert_tokens_to_ids("\u00c3")  # byte C3 by its name
    else:
        own = sentencepiece_like(["a b"], 270)
        lone = own.convert_tokens_to_ids("<0xC3>")
    codec = Codec(own, len(own), 64)
    a, b = codec.inside("a"), codec.inside("b")
    assert codec.decode([*a, lone, *b]).strip() == "a\ufffdb"


def test_a_rollout_has_every_byte_that_was_written_in_its_text_and_in_its_pieces() -> None:
    """20 rollouts of a random model over ByT5's table: most bytes make no character, and a reader sees each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=259, n_positions=16, n_embd=16, n_layer=1, n_head=2)
        policy = Policy(transformers.GPT2LMHeadModel(config), transformers.ByT5Tokenizer(), 12)
    rollouts = sample(policy, [Start((policy.start_id,))] * 20, seed=0)
    broken = 0
    for rollout in rollouts:
        written = bytes(token - 3 for token in rollout.tokens if token >= 3)
        if all(token >= 3 for token in rollout.tokens):
            assert rollout.text == written.decode(errors="replace")
            assert all(rollout.pieces)
            broken += "\ufffd" in rollout.text
    assert broken > 10
