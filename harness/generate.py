"""Continuations of whatever prompts somebody has, by the sampler that evaluation uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from harness.errors import ConfigError, did_you_mean
from harness.evaluate import prompt_tokens, sample_starts
from harness.policy import Policy
from harness.records import Rollout
from harness.rollouts import Start
from harness.sampling import SamplingConfig


def sampling_of(**options: Any) -> SamplingConfig:
    """How to write, from the options that a run's `sampling` takes.

    Raises:
        ConfigError: an unknown option, a value out of its domain, or one that only a run with its splits has.
    """
    known = set(SamplingConfig.model_fields) - {"rollouts"}
    for name in options:
        if name not in known:
            raise ConfigError(f"no sampling option is called {name!r}; {did_you_mean(name, known)}")
    try:
        found = SamplingConfig.model_validate(options)
    except ValidationError as error:
        first, *others = error.errors()
        name = str(first["loc"][0]) if first["loc"] else ""
        given = f"{name}={first['input']!r}: " if name else ""
        said = [e["msg"].removeprefix("Value error, ") for e in (first, *others) if e["loc"][:1] == first["loc"][:1]]
        raise ConfigError(f"{given}{'; or '.join(said)}") from error
    if found.temperature == "best":
        raise ConfigError("temperature=best is chosen on a benchmark's validation split; write a number")
    return found


def continuations(
    policy: Policy, prompts: Sequence[str], sampling: SamplingConfig, *, seed: int, n: int = 1
) -> Iterator[Rollout]:
    """`n` continuations of each prompt, those of the first prompt first.

    Continuation i draws from stream i of `seed`, in whatever batch it is written.

    Raises:
        ConfigError: a prompt leaves no room in the context, or `sampling` moves a `<backspace>` that is not there.
    """
    if sampling.backspace_bias and policy.space.backspace_id is None:
        raise ConfigError(
            f"backspace_bias={sampling.backspace_bias}: this policy has no <backspace>, or none any more; remove it"
        )
    starts = []
    for number, prompt in enumerate(prompts, start=1):
        tokens = prompt_tokens(policy, prompt)
        if len(tokens) >= policy.context:
            raise ConfigError(
                f"prompt {number}, {prompt!r:.60}, has {len(tokens)} tokens with the start token, and this policy "
                f"holds {policy.context}; shorten it"
            )
        starts += [Start(tokens)] * n
    yield from sample_starts(policy, starts, sampling, seed)


def as_row(prompt: str, rollout: Rollout) -> dict[str, Any]:
    """A continuation as JSON: prompt, text, the kept tokens' ids, every action as what it writes, why it stopped."""
    return {
        "prompt": prompt,
        "text": rollout.text,
        "tokens": list(rollout.tokens),
        "actions": list(rollout.pieces),
        "stop": rollout.stop,
    }
