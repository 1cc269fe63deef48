"""The oracle's tables as inputs of the project's losses: rows are packed by `pack`, values looked up per state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from harness.actions.batch import ActionValues, Batch, pack
from harness.actions.space import ActionSpace
from harness.plugins.trainer import Evaluate, Loss, Moment, Trainer
from harness.records import Trajectory
from oracle.cases import GAMMA, KAPPA, Case
from oracle.objective import minimise
from oracle.world import Row, World
from trainers.sequence_match import SequenceMatch

FLOAT = torch.float64
ILLEGAL = 0.7  # the table's logit of <backspace> where it is illegal: only the batch's mask keeps it out


def space(world: World) -> ActionSpace:
    special = frozenset({world.end, world.back, world.prompt})
    return ActionSpace(world.tokens + 3, world.end, world.back if world.backspace else None, special)


def batch(world: World, trainer: Trainer, rows: Sequence[Row], *, is_expert: bool = True, scale: float = 1.0) -> Batch:
    """Rows packed with the weights the trainer asks for; the mean over rows becomes the expectation over them."""
    trajectories = [Trajectory((world.prompt,), row.actions, row.injected) for row in rows]
    packed = pack(trajectories, space(world), trainer.needs.weighting, is_expert=is_expert, scale=scale, dtype=FLOAT)
    mass = torch.tensor([row.mass for row in rows], dtype=FLOAT) * len(rows)
    return replace(packed, weight=packed.weight * mass[:, None], end_weight=packed.end_weight * mass)


@lru_cache(maxsize=64)
def states_of(world: World, packed: Batch) -> Tensor:
    """[N, A + 1] number of each state, read off the tokens and depths of the nodes that its own node sees."""
    base = world.tokens + 2  # digits 1 to tokens + 1: the end is the last one
    spelled = [sum((token + 1) * base**depth for depth, token in enumerate(text, 1)) for text in world.states]
    known, order = torch.tensor(spelled).sort()
    digits = (packed.input_ids + 1) * base**packed.position_ids * (packed.position_ids > 0)  # depth 0: the prompt
    seen = (packed.visible()[:, 0] * digits[:, None]).sum(2).gather(1, packed.states)
    found = torch.searchsorted(known, seen).clamp(max=len(known) - 1)
    assert (known[found] == seen).all(), "a state that the world does not have"
    return order[found]


def evaluator(world: World, logits: Tensor, *, head: Tensor | None = None, frozen: Tensor | None = None) -> Evaluate:
    """The policy of logits [P] as `evaluate`.

    V is the log-sum-exp of the legal logits, or a value of its own for each state (`head`, [S]), or less a frozen
    one (`frozen`, [S]).
    """
    at, action, _ = world.columns
    finished = torch.tensor([text[-1:] == (world.end,) for text in world.states])
    table = torch.full((len(world.states), world.tokens + 2), -torch.inf, dtype=FLOAT)
    table[~finished, world.back] = ILLEGAL
    table = table.index_put((at, action), logits)

    def evaluate(batch: Batch, reference: bool = False) -> ActionValues:
        states = states_of(world, batch)
        back = torch.arange(world.tokens + 2) == world.back
        rows = table[states].masked_fill(back & ~batch.legal[..., None], -torch.inf)
        total = rows.logsumexp(-1)
        chosen = rows[:, :-1].gather(-1, batch.action[..., None])[..., 0]
        absent = chosen == -torch.inf  # only padding may ask for what the table does not have
        assert not (absent & (batch.weight != 0)).any()
        value = total if head is None else head[states]
        value = value if frozen is None else value - frozen[states]
        log_prob = torch.where(absent, 0.0, chosen - total[:, :-1])
        return ActionValues(log_prob, value[:, :-1], value[:, 1:], value[:, -1])

    return evaluate


def loss(trainer: Trainer, evaluate: Evaluate, expert: Batch, rollouts: Batch | None = None) -> Loss:
    """The trainer's own loss at the end of training, where no weight is left on plain cloning."""
    return trainer.loss(evaluate, expert, rollouts, Moment(1.0, torch.Generator().manual_seed(0)))


def sequence_match(name: str, alpha: float, gamma: float = GAMMA) -> SequenceMatch:
    """The trainer of one divergence as the cases' problems pose it."""
    return SequenceMatch(divergence=name, alpha=alpha, gamma=gamma, kappa=KAPPA, value="logsumexp")


def batches(case: Case, trainer: SequenceMatch) -> tuple[Batch, Batch | None]:
    """The case's expert rows, and its buffer with mass Z where the divergence looks at rollouts."""
    expert = batch(case.world, trainer, case.expert)
    if trainer.needs.rollouts is None:
        return expert, None
    return expert, batch(case.world, trainer, case.buffer, is_expert=False, scale=case.Z)


@lru_cache(maxsize=64)
def train(case: Case, name: str, alpha: float) -> tuple[Tensor, float]:
    """Logits [P] at the minimum of the trainer's loss, and that minimum times 1 - gamma."""
    trainer = sequence_match(name, alpha)
    given = batches(case, trainer)
    start = torch.zeros(len(case.world.pairs), dtype=FLOAT)
    return minimise(lambda x: loss(trainer, evaluator(case.world, x), *given).total * (1 - GAMMA), start)
