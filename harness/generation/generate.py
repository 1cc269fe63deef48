"""One rollout for each prompt or start of any number, in batches; evaluation and `harness generate` both use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.config.sampling import SamplingConfig
from harness.config.sampling import sampling_of as sampling_of
from harness.errors import ConfigError
from harness.generation.best_of import chosen
from harness.generation.decoders import decoder_of
from harness.generation.prompts import prompt_tokens
from harness.generation.rollouts import Replace, Start, sample
from harness.models.batching import BATCH_ROWS, slices
from harness.models.policy import Policy
from harness.records.data import Example
from harness.records.progress import Report, unreported
from harness.records.rollout import Rollout
from harness.seeding import key


def continuations(
    policy: Policy, prompts: Sequence[str], sampling: SamplingConfig, *, seed: int, n: int = 1
) -> Iterator[Rollout]:
    """`n` continuations of each prompt, those of the first prompt first.

    Continuation i draws from stream i of `seed`, independently of its batch.

    Raises:
        ConfigError: a prompt fills the context, or `sampling` has a bias on a `<backspace>` that the policy lacks.
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
    """A continuation as JSON values: prompt, text, ids of the kept tokens, all actions as pieces of text, stop."""
    return {
        "prompt": prompt,
        "text": rollout.text,
        "tokens": list(rollout.tokens),
        "actions": list(rollout.pieces),
        "stop": rollout.stop,
    }


def sample_prompts(
    policy: Policy,
    prompts: Sequence[Example],
    sampling: SamplingConfig,
    seed: int,
    epsilon: float = 0.0,
    force: Replace | None = None,
    candidates: int = 0,
    report: Report = unreported,
) -> Iterator[Rollout]:
    """One rollout for each prompt, in order, as `sample_starts`."""
    starts = [Start(prompt_tokens(policy, example.prompt)) for example in prompts]
    return sample_starts(policy, starts, sampling, seed, epsilon, force, candidates, report)


def sample_starts(
    policy: Policy,
    starts: Sequence[Start],
    sampling: SamplingConfig,
    seed: int,
    epsilon: float = 0.0,
    force: Replace | None = None,
    candidates: int = 0,
    report: Report = unreported,
) -> Iterator[Rollout]:
    """One rollout from each start, in order; start i draws from stream i of `seed`, independently of its batch.

    `epsilon` is the chance that an action is replaced by that of `force`, or by a uniformly random legal one; the other
    actions are drawn from the same streams as with epsilon = 0, so that a policy is compared with itself.
    The first `candidates` rollouts keep the likeliest actions of each state.  For best-of-n and rejection see `chosen`.
    `report` gets the share of the rollouts that is done; once for each try of those that are written several times.
    """
    decoder = decoder_of(sampling, policy.space.backspace_id)

    def write(which: Sequence[int], again: int) -> Iterator[Rollout]:
        stream = key(seed, "evaluation", again) if again else key(seed, "evaluation")
        done = 0

        def inside(share: float) -> None:
            report((done + share * len(rows)) / len(which))

        for rows in slices(which, BATCH_ROWS):
            yield from sample(
                policy,
                [starts[row] for row in rows],
                seed=stream,
                rows=rows,
                decoder=decoder,
                epsilon=epsilon,
                force=force,
                max_length=sampling.length,
                candidates=sum(row < candidates for row in rows),
                report=inside,
            )
            done += len(rows)

    if sampling.best_of == 1 and not sampling.reject:
        return write(range(len(starts)), 0)
    return iter(chosen(lambda which, again: list(write(which, again)), len(starts), sampling))
