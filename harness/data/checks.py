"""Checks that a benchmark's texts fit the tokenizer and the context, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.generation.prompts import Coding, choose_prompts
from harness.records.data import Example, Splits
from harness.records.law import Law


@dataclass(frozen=True)
class Letters:
    """The coding of a tokenizer of characters before it is trained: one token each, of any number."""

    context: int
    start_id: int = 0

    def encode(self, text: str) -> list[int]:
        """A token a character."""
        return [ord(character) for character in text]

    def follow(self, prompt: str, text: str) -> list[int]:
        """As `encode`, whatever the prompt."""
        return self.encode(text)

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The characters."""
        return "".join(map(chr, tokens))


def check_texts(splits: Splits, config: RunConfig, codec: Coding | None = None) -> None:
    """Check that a run's tokenizer fits what its benchmark knows of texts: exact laws, and texts that count as a whole.

    Without a `codec` what can be said before there is one: all of it for a tokenizer that is trained here, and of a
    loaded model nothing yet.

    Raises:
        ConfigError: it does not fit, or the context or the length of rollouts is too short.
    """
    check_whole(splits, config, codec)
    if splits.law is not None and (codec is not None or config.model.from_scratch):
        check_characters(codec or _letters(config), splits.law, (*splits.test, *splits.validation))


def check_room(splits: Splits, config: RunConfig, codec: Coding | None = None) -> None:
    """Check that prompts leave room for texts, as far as `codec`, or a tokenizer of characters, tells their tokens.

    Prompts of the training split, which may be many, are looked at for a tokenizer of characters alone.

    Raises:
        ConfigError: a prompt fills the context, or too few are short enough.
    """
    letters = _letters(config)
    if (coding := codec or letters) is None:
        return
    best, evaluation = config.sampling.temperature == "best", config.evaluation
    if evaluation.split == "test":
        choose_prompts(coding, splits.prompts, config.sampling)
    if best or evaluation.while_training or evaluation.split == "validation":
        choose_prompts(coding, splits.tuning_prompts, config.sampling)
    if coding is letters and not config.untrained:
        check_prompt(1 + max((len(example.prompt) for example in splits.train), default=0), config.model.context)


def _letters(config: RunConfig) -> Letters | None:
    """The coding of a tokenizer of characters that a run trains; None if it has another one."""
    model = config.model
    return Letters(model.context) if model.from_scratch and model.tokenizer == "characters" else None


def check_prompt(tokens: int, context: int) -> None:
    """Refuse a prompt of so many tokens, the start among them, that fills the context.

    Raises:
        ConfigError: it leaves no room for a text.
    """
    if tokens >= context:
        raise ConfigError(f"model.context={context}: a prompt of {tokens} tokens leaves no room; raise it")


def check_whole(splits: Splits, config: RunConfig, codec: Coding | None = None) -> None:
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


def check_characters(codec: Coding | None, law: Law, examples: Sequence[Example]) -> None:
    """Check that every character of an exact law is one token, and that whole texts fit into the context.

    None is a tokenizer that will be trained here to join characters.

    Raises:
        ConfigError: a character is several tokens, or a text is too long.
    """
    texts = {example.text for example in examples}
    if codec is None or any(len(codec.encode(text)) != len(text) for text in (*law.alphabet, *texts)):
        raise ConfigError("model.tokenizer: this benchmark's law is over characters; use tokenizer: characters")
    longest = max(map(len, texts)) + 2
    if longest > codec.context:
        raise ConfigError(f"model.context={codec.context}: texts need {longest} with start and end; raise it to that")
