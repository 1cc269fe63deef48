"""Which characters and ends of a finished text a known law gives probability 0."""

from __future__ import annotations

from collections.abc import Sequence

from harness.plugins import Unscorable
from harness.records import Example, Law, Rollout

NO_LAW = "this benchmark has no exact law; score it on one that has, such as `language`"


def forbidden(law: Law, prompt: str, rollout: Rollout) -> list[bool]:
    """For each character of the rollout's text, and its end if it ended: does the law give it probability 0?

    After the first point from which no text of the language can go on, every later action is forbidden.

    Raises:
        Unscorable: the prompt itself is not the beginning of a text of the language.
    """
    state = law.start
    for symbol in prompt:
        after = law.advance(state, symbol)
        if after is None:
            raise Unscorable(
                f"no text of the language begins with the prompt {prompt!r}; take prompts from the language"
            )
        state = after
    flags = []
    alive = True
    symbols = [*rollout.text, ""] if rollout.stop == "ended" else list(rollout.text)
    for symbol in symbols:
        flags.append(not alive or law.next(state).get(symbol, 0.0) <= 0)
        if alive and symbol:
            after = law.advance(state, symbol)
            alive = after is not None
            state = state if after is None else after
    return flags


def forbidden_shares(law: Law, prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> tuple[float, float]:
    """Share of characters and ends that the law forbids, and share of texts with at least one; both in [0, 1].

    `rollouts[i]` answers `prompts[i]`.

    Raises:
        Unscorable: as `forbidden`, or no text holds a character or an end, or the texts came without their actions.
    """
    if len(rollouts) != len(prompts):
        raise Unscorable(f"there are {len(rollouts)} rollouts for {len(prompts)} prompts: what ended is not known")
    texts = [forbidden(law, example.prompt, rollout) for example, rollout in zip(prompts, rollouts, strict=True)]
    actions = sum(map(len, texts))
    if not actions:
        raise Unscorable(f"the {len(texts)} rollouts hold neither a character nor an end to look at")
    return sum(map(sum, texts)) / actions, sum(map(any, texts)) / len(texts)
