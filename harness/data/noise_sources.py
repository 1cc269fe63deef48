"""Sources of injected mistakes, by `actions.noise_kind`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.actions.batch import pack
from harness.actions.noise import Propose, Slot, ground_truth, uniform, unigram
from harness.actions.weights import Weighting
from harness.config.actions import ActionConfig
from harness.errors import ConfigError
from harness.generation.decoders import Decoder
from harness.models.policy import Policy
from harness.records.data import Mistake
from harness.records.rollout import Trajectory


class FromPolicy:
    """Mistakes sampled from the current policy in the state of each slot.

    Attributes:
        nodes: nodes of all forward passes so far.
    """

    def __init__(self, policy: Policy) -> None:
        """A source that has proposed nothing yet."""
        self.policy, self.nodes = policy, 0

    @torch.no_grad()
    def __call__(self, slots: Sequence[Slot]) -> list[int]:
        """One token for each slot, as in `Propose`: never the expert's, never an unwritable one."""
        if not slots:
            return []
        policy = self.policy
        # the end as an extra action: its state is the one the wrong token is written in
        rows = [Trajectory(slot.prefix[:1], (*slot.prefix[1:], policy.end_id)) for slot in slots]
        batch = pack(rows, policy.space, Weighting(kind="uniform")).to(policy.device)
        self.nodes += batch.nodes
        hidden = policy.hidden(batch)
        last = torch.tensor([len(row.actions) - 1 for row in rows], device=policy.device)
        which = torch.arange(len(rows), device=policy.device)
        logits = policy.logits(hidden[which, batch.state_index[which, last]], last > 0)
        logits[:, list(policy.space.never_injected)] = -torch.inf
        for row, slot in enumerate(slots):
            if slot.expert is not None:
                logits[row, slot.expert] = -torch.inf
        uniform = torch.tensor([slot.rng.random() for slot in slots], device=policy.device)
        return [int(token) for token in Decoder().draw(logits, uniform)]


def proposals(
    noise: ActionConfig, policy: Policy, rows: Sequence[Trajectory], mistake: Mistake | None
) -> Propose | None:
    """The source of mistakes that `noise_kind` names; None if nothing is injected.

    Raises:
        ConfigError: ground-truth noise for a benchmark without it.
    """
    if not (noise.noise_rate if noise.backspace else noise.context_noise):
        return None
    if noise.noise_kind == "ground_truth":
        if mistake is None:
            raise ConfigError(
                "actions.noise_kind=ground_truth: this benchmark has no ground truth; use uniform, unigram or policy"
            )
        return ground_truth(mistake, policy.decode, policy.inside)
    if noise.noise_kind == "policy":
        return FromPolicy(policy)
    return uniform(policy.space) if noise.noise_kind == "uniform" else unigram(rows, policy.space)
