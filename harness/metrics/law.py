"""Forbidden actions, and regret at a state: shared by the metrics on known languages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.plugins.metric import Unscorable
from harness.records.data import Example
from harness.records.evaluation import Evaluation, ExactStep
from harness.records.law import Law
from harness.records.rollout import Rollout

NO_LAW = "this benchmark has no exact law; score it on one that has, such as `language`"


def known_law(evaluation: Evaluation) -> Law:
    """The evaluation's law.

    Raises:
        Unscorable: there is none.
    """
    if evaluation.law is None:
        raise Unscorable(NO_LAW)
    return evaluation.law


def regrets(steps: Sequence[ExactStep], renormalise: bool) -> np.ndarray:
    """KL(law(.|s) || policy(.|s)) at each state, [S] nats; infinite if the policy excludes what the law allows.

    The policy's mass on outcomes that the law does not know stays lost.  Its `<backspace>` mass is lost, too, unless
    `renormalise`: then the policy is divided by 1 - pi(<backspace>|s) first.  0 in lost states.

    Raises:
        Unscorable: a probability is NaN, or `<backspace>` has probability 1 and nothing is left to renormalise.
    """
    true = np.array([step.true for step in steps], np.float64)
    policy = np.array([step.policy for step in steps], np.float64)
    deletes = np.array([step.policy_backspace for step in steps], np.float64)
    if np.isnan(true).any() or np.isnan(policy).any() or np.isnan(deletes).any():
        raise Unscorable("a probability in a state of the language is NaN; the training diverged")
    possible = np.isfinite(true)
    gap = np.subtract(true, policy, out=np.zeros_like(true), where=possible)
    kl: np.ndarray = np.sum(np.exp(true) * gap, 1)
    if not renormalise:
        return kl
    if (deletes >= 0).any():
        raise Unscorable("in some state <backspace> has probability 1; nothing is left to renormalise")
    return np.where(possible.any(1), kl + np.log(-np.expm1(deletes)), 0.0)


def forbidden(law: Law, prompt: str, rollout: Rollout) -> list[bool]:
    """True for each character of the rollout's text, and its end if it ended, that the law gives probability 0.

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


def all_forbidden(law: Law, prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> list[list[bool]]:
    """`forbidden` of every rollout; `rollouts[i]` answers `prompts[i]`.

    Raises:
        Unscorable: as `forbidden`, or no text holds a character or an end, or the texts came without their actions.
    """
    if len(rollouts) != len(prompts):
        raise Unscorable(f"there are {len(rollouts)} rollouts for {len(prompts)} prompts: what ended is not known")
    texts = [forbidden(law, example.prompt, rollout) for example, rollout in zip(prompts, rollouts, strict=True)]
    if not any(texts):
        raise Unscorable(f"the {len(texts)} rollouts hold neither a character nor an end to look at")
    return texts


def forbidden_shares(law: Law, prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> tuple[float, float]:
    """Share of characters and ends that the law forbids, and share of texts with at least one; both in [0, 1].

    Raises:
        Unscorable: as `all_forbidden`.
    """
    texts = all_forbidden(law, prompts, rollouts)
    return sum(map(sum, texts)) / sum(map(len, texts)), sum(map(any, texts)) / len(texts)
