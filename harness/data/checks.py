"""Checks that a benchmark's texts fit the tokenizer and the context, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.records.data import Example, Splits
from harness.records.law import Law

if TYPE_CHECKING:
    from harness.models.codec import Codec


def check_whole(splits: Splits, config: RunConfig, codec: Codec | None = None) -> None:
    """Check, where texts count only as a whole, that every one can be written and none has to be cut.

    A tokenizer that is trained here must be of characters; a loaded model's is checked once its `codec` is given.

    Raises:
        ConfigError: the tokenizer cannot write a text, or the context or the length of rollouts is too short.
    """
    if not splits.whole or (codec is None and not config.model.from_scratch):
        return
    examples = (*splits.train, *splits.validation, *splits.test)
    if config.model.from_scratch and config.model.tokenizer != "characters":
        raise ConfigError("model.tokenizer: this benchmark is about characters; use tokenizer: characters")
    if codec is not None:
        tokens = {e: (codec.encode(e.prompt), codec.follow(e.prompt, e.text)) for e in (*examples, *splits.prompts)}
        for example, (prompt, text) in tokens.items():
            if (found := codec.continuation(prompt, text)) != example.text:
                raise ConfigError(
                    f"model.name={config.model.name!r}: its tokens would write {found!r} after {example.prompt!r:.60}, "
                    f"not {example.text!r}; use a model of characters or bytes"
                )

    def size(example: Example) -> tuple[int, int]:
        prompt, text = (example.prompt, example.text) if codec is None else tokens[example]
        return len(prompt), len(text)

    context, length = config.model.context, config.sampling.length
    most = max(sum(size(example)) for example in examples) + 2
    wanted = max(most, 2 * (1 + max(size(example)[0] for example in splits.prompts)))
    if context < wanted:
        raise ConfigError(
            f"model.context={context}: the longest text has {most} tokens with start and end, and prompts may fill "
            f"half of the context; raise it to {wanted}"
        )
    longest = max(size(example)[1] for example in splits.prompts) + 1
    if length is not None and length < longest:
        raise ConfigError(
            f"sampling.length={length}: the longest test text has {longest} tokens with its end; raise it to that, "
            "or remove it"
        )


def check_characters(codec: Codec, law: Law, examples: Sequence[Example]) -> None:
    """Check that every character of an exact law is one token, and that whole texts fit into the context.

    Raises:
        ConfigError: a character is several tokens, or a text is too long.
    """
    texts = {example.text for example in examples}
    if any(len(codec.encode(text)) != len(text) for text in (*law.alphabet, *texts)):
        raise ConfigError("model.tokenizer: this benchmark's law is over characters; use tokenizer: characters")
    longest = max(map(len, texts)) + 2
    if longest > codec.context:
        raise ConfigError(f"model.context={codec.context}: texts need {longest} with start and end; raise it to that")
