"""Prompts for evaluation: short enough for the context, with human continuations cut to the length of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.config.sampling import SamplingConfig
from harness.errors import ConfigError
from harness.records.data import Example


class Coding(Protocol):
    """The part of a `Codec` that prompts are chosen with."""

    @property
    def context(self) -> int:
        """Tokens that a text may hold, prompt and end included."""

    @property
    def start_id(self) -> int:
        """The token before a text."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def follow(self, prompt: str, text: str) -> list[int]:
        """Token ids that write a text after a prompt."""

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The text that tokens add to a prompt's."""


def choose_prompts(codec: Coding, prompts: Sequence[Example], sampling: SamplingConfig) -> tuple[Example, ...]:
    """The first `sampling.rollouts` prompts that leave half of the context free, with their human continuations.

    A human continuation is cut to the tokens that a rollout may write there: without the cut, texts of unequal length
    would be compared, and the longer side would seem more varied.  Policies of one tokenizer and context get the same
    prompts.

    Raises:
        ConfigError: fewer than two prompts are short enough.
    """
    chosen: list[Example] = []
    for example in prompts:
        start = prompt_tokens(codec, example.prompt)
        if len(chosen) == sampling.rollouts or len(start) > codec.context // 2:
            continue
        tokens = codec.follow(example.prompt, example.text)
        room = min(sampling.length or codec.context, codec.context - len(start))
        text = example.text if len(tokens) <= room else codec.continuation(start, tokens[:room])
        chosen.append(Example(text=text, prompt=example.prompt))
    if len(chosen) < 2:
        raise ConfigError(
            f"model.context={codec.context}: {len(chosen)} of {len(prompts)} prompts leave half of it free, wanted at "
            "least 2; raise it, or shorten the prompts (benchmark.prompt_words)"
        )
    return tuple(chosen)


def prompt_tokens(codec: Coding, prompt: str) -> tuple[int, ...]:
    """Token ids of a prompt as the policy sees it: the start token, then the prompt's own."""
    return (codec.start_id, *codec.encode(prompt))
