"""Tokenizers for models that are built from scratch, and the names of a model's rows in an exported tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.actions.space import BACKSPACE
from harness.errors import ConfigError

END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
_ROW = "<row {}>"  # an exported tokenizer's name for a row without a token
_OURS = re.compile(r"<backspace>|<row \d+>")


def byte_level_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer as GPT-2's, with `vocab_size` entries; `END` is id 0 and also starts a text.

    Every text can be encoded, and decoding gives it back byte for byte.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def characters(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer with one token per character of the training texts, in code-point order after `END` and `UNKNOWN`."""
    alphabet = sorted({character for text in texts for character in text})
    vocabulary = {token: index for index, token in enumerate([END, UNKNOWN, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END, UNKNOWN])
    return tokenizer


def with_backspace(tokenizer: Any, row: int) -> None:
    """Add the special token `<backspace>` to a tokenizer, in place, with the id `row`, its model's last row.

    Rows that pad the vocabulary, or fill gaps between its own tokens, get names, so that the ids are the rows'.

    Raises:
        ConfigError: the tokenizer has a `<backspace>` of its own, or cannot give the token that id.
    """
    gaps = _fill_gaps(tokenizer)
    names = [*gaps, *(_ROW.format(index) for index in range(len(tokenizer), row)), BACKSPACE]
    tokenizer.add_tokens([_special(name) for name in names])
    if tokenizer.convert_tokens_to_ids(BACKSPACE) != row:
        raise ConfigError(
            f"this tokenizer calls token {tokenizer.convert_tokens_to_ids(BACKSPACE)} {BACKSPACE!r}, and the model's "
            f"row is {row}; a tokenizer that has this token from elsewhere cannot be exported"
        )


def _fill_gaps(tokenizer: Any) -> list[str]:
    """Name the ids between its tokens that a tokenizer leaves out, in place; the names.

    The libraries count tokens to number a new one: it would have the id of another, or one inside of a gap.
    """
    vocabulary = tokenizer.get_vocab()
    missing = sorted(set(range(max(vocabulary.values(), default=0))) - set(vocabulary.values()))
    names = {_ROW.format(index): index for index in missing}
    if names and not tokenizer.is_fast:
        tokenizer.added_tokens_decoder = {index: _special(name) for name, index in names.items()}
    elif names:  # the library takes an id from nothing but the model's own vocabulary
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        own = state["model"]["vocab"]
        last = max(own.values())
        own |= {token: index for token, index in {**vocabulary, **names}.items() if index < last}
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return list(names)


def _special(name: str) -> AddedToken:
    return AddedToken(name, special=True, normalized=False)


def wordless(tokenizer: Any) -> set[int]:
    """The tokens that `with_backspace` added."""
    return {index for token, index in tokenizer.get_added_vocab().items() if _OURS.fullmatch(token)}


def own_vocabulary(tokenizer: Any) -> dict[str, int]:
    """The vocabulary (token -> id) without the tokens that `with_backspace` added."""
    return {token: index for token, index in tokenizer.get_vocab().items() if not _OURS.fullmatch(token)}
