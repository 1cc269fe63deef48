"""Token scorers: log-probabilities of single actions under the exact law, or under the base of the training."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.models.batching import BATCH_LOGITS, batches
from harness.models.policy import Policy
from harness.records.evaluation import TokenScorer
from harness.records.law import Law
from harness.records.rollout import Trajectory
from harness.system.model_files import model_id

BATCH_NODES = 2**13  # nodes of one forward pass


def choose_token_scorer(policy: Policy, law: Law | None, base: Path | None, model: ModelConfig) -> TokenScorer:
    """The law if it is known, else the base (without one, the pretrained model), loaded at the first use.

    `policy` may be in any state: its tokenizer and device are used.  A base in a directory is named by its content.

    Raises:
        EnvironmentProblem: a file of the model's directory cannot be read.
    """
    if law is not None:
        return LawScorer(law, policy)
    return ModelScorer(base, f"base:{base.name if base else model_id(model.name)}", model, policy.device)


class LawScorer:
    """The exact law over characters, for a policy whose tokens are single characters."""

    name = "law"

    def __init__(self, law: Law, policy: Policy) -> None:
        self._law = law
        self._policy = policy

    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        """Log-probabilities [n] in nats; -inf for forbidden actions, NaN in states from which no text goes on."""
        return np.array([self._log_prob(state, token) for state, token in zip(states, tokens, strict=True)])

    def _log_prob(self, tokens: tuple[int, ...], token: int) -> float:
        state = self._law.start
        for symbol in self._policy.decode(tokens[1:]):
            after = self._law.advance(state, symbol)
            if after is None:
                return np.nan
            state = after
        symbol = "" if token in self._policy.space.ends else self._policy.decode([token])
        chance = self._law.next(state).get(symbol, 0.0)
        return float(np.log(chance)) if chance > 0 else -np.inf


class ModelScorer:
    """A causal LM as it was before training; texts that begin alike share forward passes."""

    def __init__(self, base: Path | None, name: str, config: ModelConfig, device: torch.device) -> None:
        """The base in a directory, or (None) the pretrained model that `config` names."""
        self.name = name
        self._base = base
        self._config = config
        self._device = device

    @cached_property
    def _policy(self) -> Policy:
        return Policy.start(self._config, self._base).to(self._device)

    @torch.no_grad()
    def __call__(self, states: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> np.ndarray:
        """Log-probabilities [n] in nats; NaN from a model that diverged."""
        ordered = sorted(set(states))
        # in lexicographic order a beginning of any other text is a beginning of the next one
        whole = [state for state, after in zip_longest(ordered, ordered[1:]) if (after or ())[: len(state)] != state]
        within: list[list[int]] = [[] for _ in whole]
        for i, state in enumerate(states):
            within[bisect_left(whole, state)].append(i)
        found = np.full(len(states), np.nan)
        shortest_first = sorted(range(len(whole)), key=lambda text: len(whole[text]))
        for chunk in batches(shortest_first, BATCH_NODES, lambda text: len(whole[text]) + 1):  # the end's node is one
            rows = [(row, i) for row, text in enumerate(chunk) for i in within[text]]
            found[[i for _, i in rows]] = self._log_probs([whole[text] for text in chunk], rows, states, tokens)
        return found

    def _log_probs(
        self,
        texts: Sequence[tuple[int, ...]],
        rows: Sequence[tuple[int, int]],
        states: Sequence[tuple[int, ...]],
        tokens: Sequence[int],
    ) -> np.ndarray:
        """log p(tokens[i] | states[i]) for each (row, i), states[i] a beginning of texts[row]."""
        policy = self._policy
        # the end as the last action makes a row of the start token alone valid; its node is not looked at
        batch = pack(
            [Trajectory(text[:1], (*text[1:], policy.end_id)) for text in texts],
            policy.space,
            Weighting(kind="uniform"),
        ).to(policy.device)
        nodes = policy.hidden(batch)
        hidden = nodes[[row for row, _ in rows], [len(states[i]) - 1 for _, i in rows]]
        token = torch.tensor([tokens[i] for _, i in rows], device=policy.device)
        parts = []
        size = max(1, BATCH_LOGITS // policy.space.size)
        for states_now, now in zip(torch.split(hidden, size), torch.split(token, size), strict=True):
            legal = torch.ones(len(now), dtype=torch.bool, device=policy.device)
            log_probs = policy.logits(states_now, legal).double().log_softmax(-1)
            parts.append(log_probs.gather(-1, now[:, None])[:, 0].cpu().numpy())
        return np.concatenate(parts)
