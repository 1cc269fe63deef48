"""Text <-> token ids: a tokenizer with the action space that its ids span and the context that they must fit into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.actions.space import BACKSPACE, END_PIECE, ActionSpace
from harness.config.model import ModelConfig
from harness.errors import ConfigError
from harness.hashing import content_hash
from harness.models import pretrained
from harness.models.tokenizers import own_vocabulary, wordless
from harness.plugins.metric import Unscorable


class Codec:
    """Texts as token ids and back; every policy is one.

    Attributes:
        tokenizer: transformers' tokenizer; `<backspace>` is never part of a text, even if the tokenizer has that name.
        context: tokens that a reduced text may hold, prompt and end included.
        end_id: *the* end: the token after every text that is trained on or scored.  It is the tokenizer's; where that
            has none, the first that the model's config.json declares, else the first of its generation_config.json.  A
            policy ends its own text with this or any other declared one (`space.ends`).
        start_id: the token before a text; the end token where the tokenizer has no other.
        space: the action space; its `size` counts the rows of the model's vocabulary, padding rows included.
    """

    def __init__(self, tokenizer: Any, size: int, context: int, declared: Sequence[Any] = ()) -> None:
        """A codec without `<backspace>` over `size` vocabulary rows.

        `declared` are the model's own `eos_token_id`s.  One that is no row is never drawn, and is left out.

        Raises:
            ConfigError: there is no end token, that of the tokenizer is no row, or a declared one is no token id.
        """
        self.tokenizer = tokenizer
        if getattr(tokenizer, "errors", "replace") != "replace":  # plain Python's: else bytes vanish, or decoding fails
            tokenizer.errors = "replace"
        self.context = context
        self.end_id, *others = _ends(tokenizer.eos_token_id, declared, size)
        self._others = frozenset(others)
        self.start_id = int(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else self.end_id)
        self.space = self.space_of(size)
        self._pieces: dict[int, str] = {}

    def space_of(self, size: int, backspace_id: int | None = None) -> ActionSpace:
        """The action space of a vocabulary of `size` rows, all special and padding rows unwritable."""
        special = {int(token) for token in self.tokenizer.all_special_ids} | {self.end_id, self.start_id}
        named = set(self.tokenizer.get_vocab().values())  # not `len`: ids may have gaps
        nameless = (set(range(size)) - named) | wordless(self.tokenizer)
        special |= nameless
        special -= {token for token in special if token >= size}  # an exported `<backspace>` whose row was dropped
        return ActionSpace(
            size=size,
            end_id=self.end_id,
            backspace_id=backspace_id,
            unwritable=frozenset(special if backspace_id is None else special | {backspace_id}),
            other_ends=self._others - {backspace_id},
            nameless=frozenset(nameless & special) - {backspace_id, self.start_id, self.end_id} - self._others,
        )

    @property
    def tokenizer_id(self) -> str:
        """Eight hex digits: the hash of the vocabulary, `<backspace>` and padding rows left out."""
        return content_hash(own_vocabulary(self.tokenizer))[:8]

    # ------------------------------------------------------------------------------------------- text to tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without start or end."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def follow(self, prompt: str, text: str) -> list[int]:
        """Token ids that write `text` after the tokens of `prompt`.

        Some tokenizers put a space before every text that they are given; in the middle of one they do not.
        """
        before, whole = self.encode(prompt), self.encode(prompt + text) if prompt else []
        return whole[len(before) :] if prompt and whole[: len(before)] == before else self.encode(text)

    def whole(self, prompt: str, text: str) -> list[int]:
        """Token ids of `follow`, then the end.

        Raises:
            ConfigError: the text holds the end itself.
        """
        tokens = self.follow(prompt, text)
        if self.end_id in tokens:
            raise ConfigError(
                f"model.tokenizer: the text {text!r:.60} holds {self.tokenizer.decode(self.end_id)!r}, token "
                f"{self.end_id}, which ends every text to this model; leave such texts out, or choose another model"
            )
        return [*tokens, self.end_id]

    def inside(self, text: str) -> list[int]:
        """Token ids that write `text` in the middle of another: after a mark that no tokenizer joins with letters."""
        return self.follow("?", text)

    def token_ends(self, text: str) -> list[int]:
        """Number of characters that are complete after each token of `encode(text)`.

        Raises:
            Unscorable: a tokenizer in plain Python, which does not report the offsets of its tokens.
        """
        if not self.tokenizer.is_fast:
            raise Unscorable("this featuriser's tokenizer gives no token offsets; use length=free")
        options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
        spans = self.tokenizer(text, **options)["offset_mapping"]
        # a character of several tokens is complete with the last of them, which is where the next token begins later
        following = [start for start, _ in spans[1:]] + [len(text)]
        return [min(end, after) for (_, end), after in zip(spans, following, strict=False)]

    # ------------------------------------------------------------------------------------------- tokens to text

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; start, ends and `<backspace>` are left out.

        Other unwritable ids are U+FFFD, as bytes that make no character are.
        """
        silent = {self.start_id, self.space.backspace_id, *self.space.ends}
        parts: list[list[int]] = [[]]
        for token in tokens:
            if token not in self.space.unwritable:
                parts[-1].append(token)
            elif token not in silent:
                parts.append([])
        return "\ufffd".join(_text(self.tokenizer, part) for part in parts)

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The text that `tokens` add to the prompt's: some tokenizers decode a leading space only in context."""
        before, whole = self.decode(prompt), self.decode((*prompt, *tokens))
        return whole[len(before) :] if whole.startswith(before) else self.decode(tokens)

    def piece(self, action: int) -> str:
        """The text of one action for a reader: a token's own, spaces included; half of a character is U+FFFD."""
        if action not in self._pieces:
            named = {self.space.backspace_id: BACKSPACE, self.end_id: END_PIECE}
            own = self.continuation(self.encode("a"), (action,))  # after "a" no tokenizer swallows a leading space
            self._pieces[action] = named.get(action, own)
        return self._pieces[action]


def codec_of(model: ModelConfig) -> Codec:
    """The codec of a loaded model that is here, without its weights and `<backspace>`.

    Raises:
        EnvironmentProblem: it is not here, or cannot be read.
        ConfigError: as `Codec`.
    """
    outline, tokenizer = pretrained.outline(model.name, model.revision)
    size = int(outline.get_input_embeddings().weight.shape[0])
    return Codec(tokenizer, size, model.context, pretrained.declared_ends(outline))


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of writable token ids; each maximal run of bytes that begins a character and makes none is U+FFFD.

    transformers' own byte tokenizers in plain Python (ByT5, MyT5, Dia) leave such bytes out of a text.
    """
    if not hasattr(tokenizer, "_utf_vocab_size"):
        return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
    pieces, added = tokenizer.convert_ids_to_tokens(list(tokens)), tokenizer.added_tokens_encoder
    if hasattr(tokenizer, "morphological_decode"):  # MyT5 rewrites its bytes, in hexadecimal
        pieces = [one if one in added else chr(int(one, 16)) for one in tokenizer.morphological_decode(pieces)]
    written = b"".join(one.encode() if one in added else bytes([ord(one)]) for one in pieces)
    return written.decode(errors="replace")


def _ends(own: int | None, declared: Sequence[Any], size: int) -> tuple[int, ...]:
    """The ends among `size` rows, each once: the tokenizer's `own`, then those that the model declares.

    Raises:
        ConfigError: there is none, `own` is no row, or a declared one is no token id.
    """
    for one in declared:
        if isinstance(one, bool) or not isinstance(one, int):
            raise ConfigError(
                f"model.name: eos_token_id={one!r} in its config.json or generation_config.json is no token id; write "
                "an integer, or a list of integers"
            )
    if own is not None and not 0 <= own < size:
        raise ConfigError(
            f"model.name: the tokenizer's end is token {own}, and the model has rows 0 to {size - 1}; give it the "
            "tokenizer that it was trained with"
        )
    found = dict.fromkeys([*([] if own is None else [int(own)]), *(one for one in declared if 0 <= one < size)])
    if not found:
        none = f"; its eos_token_id={list(declared)} is outside of rows 0 to {size - 1}" if declared else ""
        raise ConfigError(
            "model.name: this tokenizer has no end token; choose a model that has one, or declare one as eos_token_id "
            f"in its config.json{none}"
        )
    return tuple(found)
