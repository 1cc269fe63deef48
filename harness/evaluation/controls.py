"""The control policies: a second sample of expert texts (the ceiling), and unigrams (the floor)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.actions.batch import Batch
from harness.config.model import ModelConfig
from harness.config.run import Control, RunConfig
from harness.data.windows import training_rows
from harness.errors import ConfigError
from harness.evaluation.evaluate import evaluate, of_texts
from harness.evaluation.features import Features
from harness.generation.prompts import choose_prompts, prompt_tokens
from harness.models import pretrained
from harness.models.architectures.head import Head
from harness.models.attention import Nodes
from harness.models.initial import untrained
from harness.models.policy import Policy
from harness.records.data import Example, Splits
from harness.records.evaluation import Evaluation
from harness.records.rollout import Rollout, Trajectory
from harness.seeding import generator


def control_policy(config: RunConfig, splits: Splits, device: torch.device) -> Policy:
    """The policy that gives a control its tokenizer and context; its weights are never used."""
    if config.model.from_scratch:
        return untrained(config.model, splits, device)
    policy = WeightlessPolicy(config.model, device)
    policy.drop_backspace()
    return policy


class WeightlessPolicy(Policy):
    """The tokenizer, context and action space of a pretrained model, of which no weight is read or held.

    `device` is the device of its batches.
    """

    def __init__(self, model: ModelConfig, device: torch.device) -> None:
        self._device = device
        super().__init__(*pretrained.outline(model.name, model.revision), model.context, model.dtype)

    def _head_of(self) -> Head:
        """Any output layer: no logits are computed."""
        return Head()

    @property
    def device(self) -> torch.device:
        """Device of its batches."""
        return self._device


# ---------------------------------------------------------------------------------------------------- the ceiling


def expert(
    policy: Policy, splits: Splits, prompts: tuple[Example, ...], config: RunConfig, features: Features
) -> Evaluation:
    """A second sample of expert texts against the references, one for each.

    Fresh texts, if the benchmark can draw them.  If a text is the answer to a question, the answers themselves, so that
    every metric shows its best value.  Else other passages than the references, of validation and of test documents
    alike, in a random order; they answer prompts of their own.  If they are fewer than the references, some references
    are left out, and n says so.
    """
    rng = generator(config.seeds.sample, "second sample")
    if splits.fresh is not None:
        pool, ends = list(splits.fresh(len(prompts), rng)), True
    elif splits.whole:
        pool, ends = list(prompts), True
    else:
        taken = {(example.prompt, example.text) for example in splits.prompts[: _last(splits.prompts, prompts)]}
        others = [e for e in (*splits.tuning_prompts, *splits.prompts) if (e.prompt, e.text) not in taken]
        pool, ends = [others[i] for i in rng.permutation(len(others))], False
    chosen = choose_prompts(policy, pool, config.sampling)
    length = config.sampling.length
    rollouts = tuple(expert_rollout(policy, example, ends=ends, length=length) for example in chosen[: len(prompts)])
    return of_texts(prompts[: len(rollouts)], rollouts, policy.space, splits, config, features)


def _last(every: Sequence[Example], chosen: Sequence[Example]) -> int:
    """Number of prompts up to the last chosen one."""
    return 1 + max(index for index, example in enumerate(every) if example.prompt == chosen[-1].prompt)


def expert_rollout(policy: Policy, example: Example, *, ends: bool, length: int | None) -> Rollout:
    """An expert text as a rollout of the actions that write it; their probabilities are unknown (NaN).

    With `ends` the text is a whole one: its end is an action, too, if a rollout of at most `length` tokens has room for
    it.  Without, it is a passage of a longer document and is cut off.

    Raises:
        ConfigError: the tokenizer does not know a character of it.
    """
    prompt, tokens = prompt_tokens(policy, example.prompt), tuple(policy.follow(example.prompt, example.text))
    if policy.space.unwritable.intersection(tokens):
        raise ConfigError(
            f"model.tokenizer: the expert text {example.text!r:.60} holds a character that no training text has, so no "
            "policy could write it; use tokenizer: bpe, or switch the controls off with `controls: false`"
        )
    ended = not tokens or (ends and len(tokens) < min(length or policy.context, policy.context - len(prompt)))
    actions = (*tokens, policy.end_id) if ended else tokens
    return Rollout(
        trajectory=Trajectory(prompt, actions),
        log_probs=(float("nan"),) * len(actions),
        stop="ended" if ended else "depth",
        text=example.text,
        tokens=tokens,
        pieces=tuple(map(policy.piece, actions)),
    )


# ------------------------------------------------------------------------------------------------------ the floor


class Unigram(Policy):
    """A policy without memory: in each state, the training split's token frequencies, the end included.

    It has the tokenizer and context of `policy`, and no `<backspace>`.  Every token that can stand in a text is counted
    once more than it occurs, so that no text is impossible.
    """

    def __init__(self, policy: Policy, rows: Sequence[Trajectory]) -> None:
        vars(self).update(vars(policy))
        self.kind = replace(policy.kind, keeps=None)  # it has no states, whatever the model has
        count = np.bincount([action for row in rows for action in row.actions], minlength=policy.space.size)
        writable = np.ones(policy.space.size, bool)
        writable[list(policy.space.unwritable - {policy.end_id})] = False
        count = np.where(writable, count + 1.0, 0.0)
        self.log_probs = torch.from_numpy(count / count.sum()).log().to(policy.device)

    @property
    def device(self) -> torch.device:
        """Device of the frequencies."""
        return self.log_probs.device

    def new_cache(self) -> Nodes:
        """A cache of nothing."""
        cache = super().new_cache()
        cache.layers = []
        return cache

    def hidden(self, batch: Batch) -> Tensor:
        """Zeros, [N, T, 1]: there is no hidden state."""
        return torch.zeros(*batch.input_ids.shape, 1, device=self.device)

    def extend(self, cache: Any, input_ids: Tensor, position_ids: Tensor, visible: Tensor) -> Tensor:
        """Zeros, [N, K, 1]: there is no hidden state."""
        return torch.zeros(*input_ids.shape, 1, device=self.device)

    def logits(self, hidden: Tensor, legal: Tensor) -> Tensor:
        """The same log-probabilities [..., V] in every state."""
        return self.log_probs.expand(*hidden.shape[:-1], -1)


def unigram(
    policy: Policy, splits: Splits, prompts: tuple[Example, ...], config: RunConfig, features: Features
) -> Evaluation:
    """Tokens drawn one by one from their frequencies, with the likelihood that such a model gives the test split."""
    return evaluate(Unigram(policy, training_rows(splits, policy)), splits, prompts, config, features)


CONTROLS: dict[Control, Callable[[Policy, Splits, tuple[Example, ...], RunConfig, Features], Evaluation]] = {
    "expert": expert,
    "unigram": unigram,
}
