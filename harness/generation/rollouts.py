"""Batched sampling with backtracking: every row takes one action in each pass, a `<backspace>` among them.

What the rows hold meanwhile is in `writing.py`.  Finished rows stay in the batch until they are many, and are then
dropped together.  Each row draws from its own stream of uniform numbers, so a rollout does not depend on the batch it
was sampled in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.actions.space import END_PIECE, ActionSpace
from harness.errors import ConfigError
from harness.generation.decoders import AnyDecoder, Decoder
from harness.generation.writing import Writing, append, begin
from harness.models.attention import additive
from harness.models.policy import Policy
from harness.records.progress import Report, unreported
from harness.records.rollout import Rollout, Trajectory

CANDIDATES = 5  # likeliest actions that are kept of a state
DROPPED = 1 / 4  # share of the rows that have finished when they are dropped: dropping copies the cache of the others

Stop = Literal["ended", "depth", "budget"]
_STOPS: tuple[Stop, ...] = ("depth", "ended", "budget")  # by their numbers while sampling

Replace = Callable[[int, tuple[int, ...]], int]
"""(row, reduced text so far with its prompt) -> the action that replaces the policy's own."""


@dataclass(frozen=True)
class Start:
    """The start of a rollout: a prompt, which is never deleted, and given tokens after it, which may be."""

    prompt: tuple[int, ...]
    given: tuple[int, ...] = ()


def uniforms(seed: int, row: int, count: int) -> np.ndarray:
    """The stream of `count` uniform numbers in [0, 1) that belongs to one row of one seed."""
    return np.random.Generator(np.random.Philox(key=[seed, row])).random(count)


@dataclass
class _Taken:
    """Actions of N rows; one column beside the budget receives the discarded actions of finished rows."""

    action: Tensor  # [N, budget + 1]
    log_prob: Tensor  # [N, budget + 1] float32
    count: Tensor  # [N] actions
    stop: Tensor  # [N] index into _STOPS
    top: Tensor  # [C, budget + 1, CANDIDATES] likeliest actions of the first C rows
    chance: Tensor  # [C, budget + 1, CANDIDATES] their probabilities

    @classmethod
    def none(cls, rows: int, budget: int, candidates: int, device: torch.device) -> _Taken:
        """No actions yet."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return cls(
            action=zeros(rows, budget + 1),
            log_prob=zeros(rows, budget + 1, dtype=torch.float32),
            count=zeros(rows),
            stop=zeros(rows),
            top=zeros(candidates, budget + 1, CANDIDATES),
            chance=zeros(candidates, budget + 1, CANDIDATES, dtype=torch.float32),
        )


@torch.inference_mode()
def sample(
    policy: Policy,
    starts: Sequence[Start],
    *,
    seed: int,
    rows: Sequence[int] | None = None,
    decoder: AnyDecoder | None = None,
    epsilon: float = 0.0,
    force: Replace | None = None,
    max_length: int | None = None,
    max_actions: int | None = None,
    candidates: int = 0,
    report: Report = unreported,
) -> list[Rollout]:
    """One rollout from each start.

    Args:
        policy: the policy; with a `<backspace>` row its rollouts may backtrack.
        starts: N starts.
        seed: of the uniform numbers, together with `rows` (default 0..N-1), the identity of each row.
        decoder: default ancestral; from the policy's distribution without `space.nameless`.
        epsilon: chance that an action is replaced before it is executed.
        force: the replacing action; by default a uniformly random legal one: a writable token, the end, or
            `<backspace>` where there is a token to delete.
        max_length: tokens that the reduced text may hold after the prompt, at most (default) the rest of the context.
        max_actions: budget of actions of each row, default twice the context.
        candidates: number of rollouts, from the first on, that keep the likeliest actions of each state they act in.
        report: gets the share that is done, after every action: of the rows, or of the budget where that is more.

    Returns:
        N rollouts in order; `stop` is "ended", "depth" (the longest text) or "budget" (of actions).

    Raises:
        ConfigError: a start does not fit into the context.
    """
    if not starts:
        return []
    budget = max_actions or 2 * policy.context
    decoder = decoder or Decoder()
    identity = rows or range(len(starts))
    draws = torch.from_numpy(np.stack([uniforms(seed, row, 3 * budget).reshape(3, budget) for row in identity]))
    draws = draws.to(policy.device)
    done = _Taken.none(len(starts), budget, min(candidates, len(starts)), policy.device)
    texts = [(*start.prompt, *start.given) for start in starts]
    nameless = torch.tensor(sorted(policy.space.nameless), dtype=torch.long, device=policy.device)
    writing = begin(policy, texts, [len(start.prompt) for start in starts], max_length or policy.context, budget)
    active = len(starts)
    for passes in itertools.count(1):
        legal = writing.depth > writing.boundary
        logits = policy.logits(writing.state, legal)
        uniform = draws[writing.row, :, writing.taken.clamp(max=budget - 1)]
        offered = logits.index_fill(-1, nameless, -torch.inf) if len(nameless) else logits
        offered = _untried(writing, offered) if decoder.deterministic else offered
        drawn = decoder.draw(offered, uniform[:, 0], partial(_likeness, policy, writing))
        if epsilon > 0:
            forced = ((uniform[:, 1] < epsilon) & writing.acting).nonzero()[:, 0]
            if force is None:
                drawn[forced] = _random_legal(logits[forced], policy.space, uniform[forced, 2])
            else:
                for i in forced.tolist():
                    n = int(writing.row[i])
                    own = (*starts[n].given, *done.action[n, : done.count[n]].tolist())
                    drawn[i] = force(identity[n], (*starts[n].prompt, *policy.space.reduce(own)))
        writes = _take(writing, done, drawn, logits.log_softmax(-1), policy.space, budget)
        active = int(writing.live.sum())
        if active and active <= (1 - DROPPED) * len(drawn):
            index = writing.live.nonzero()[:, 0]
            writing.keep(index)
            drawn, writes = drawn[index], writes[index]
        report(max(1 - active / len(starts), min(1.0, passes / budget)))
        if not active:
            break
        append(policy, writing, drawn, writes)
    return _rollouts(policy, starts, done)


def _take(writing: Writing, done: _Taken, drawn: Tensor, log_probs: Tensor, space: ActionSpace, budget: int) -> Tensor:
    """Carry out the drawn action [M] of every live row; returns the rows that write a token, [M] bool.

    log_probs: [M, V] log pi in the states where the actions were drawn.
    """
    deletes = torch.zeros_like(writing.live) if space.backspace_id is None else drawn == space.backspace_id
    acting = writing.acting
    # a start may fill the context: a deletion is then possible, any other action cuts the row
    acts = acting & (deletes | (writing.depth < writing.limit))
    place = torch.where(acts, writing.taken, budget)
    done.action[writing.row, place] = drawn
    done.log_prob[writing.row, place] = log_probs.gather(-1, drawn[:, None])[:, 0].float()
    shown = int((writing.row < len(done.top)).sum()) if len(done.top) else 0
    if shown:  # they come first: rows keep their order
        top = log_probs[:shown].float().exp().topk(min(CANDIDATES, log_probs.shape[-1]))
        done.top[writing.row[:shown], place[:shown], : top.indices.shape[-1]] = top.indices
        done.chance[writing.row[:shown], place[:shown], : top.indices.shape[-1]] = top.values
    writing.taken += acts
    done.count[writing.row] = writing.taken

    ends = drawn == space.end_id
    for other in space.other_ends:
        ends |= drawn == other
    deletes, ends = deletes & acts, ends & acts
    spent = (writing.taken >= budget) & acts & ~ends
    done.stop[writing.row] = torch.where(ends, 1, torch.where(spent, 2, done.stop[writing.row]))
    last = writing.node_at.gather(1, writing.depth[:, None] - 1)
    # a last node is visible, so that its mask is 0
    writing.mask.scatter_(1, last, additive(~deletes[:, None], writing.mask.dtype))
    writing.depth -= deletes.long()
    # a row is cut once the text with this token is as long as it may be
    goes_on = acts & ~ends & ~spent & (deletes | (writing.depth + 1 < writing.limit))
    writing.live = goes_on if writing.start is None else goes_on | (writing.live & ~acting)
    return goes_on & ~deletes


def _random_legal(logits: Tensor, space: ActionSpace, uniform: Tensor) -> Tensor:
    """Uniformly random legal actions [M], without unwritable tokens such as padding."""
    even = torch.where(logits > -torch.inf, 0.0, -torch.inf)
    even[:, list(space.unwritable - {space.end_id, space.backspace_id})] = -torch.inf
    return Decoder().draw(even, uniform)


def _untried(writing: Writing, logits: Tensor) -> Tensor:
    """The logits [M, V], -inf for tokens that were written in this very state and have been deleted."""
    at = writing.node_at.gather(1, writing.depth[:, None] - 1)
    row, node = (writing.parent == at).nonzero(as_tuple=True)  # a last state has deleted children only
    logits = logits.clone()
    logits[row, writing.token[row, node]] = -torch.inf
    return logits


def _likeness(policy: Policy, writing: Writing, candidates: Tensor) -> Tensor:
    """Cosines [M, K] of the state after each candidate to the visible state most like it; see `decoders.Contrastive`.

    One forward pass over K further nodes, each of which sees the text and itself; the cache is restored.

    Raises:
        ConfigError: the model cannot go back.
    """
    if policy.kind.keeps is not None:
        raise ConfigError(
            f"sampling.decoder=contrastive: {policy.kind.family} {policy.kind.keeps}, and cannot try candidates; use "
            "another decoder, or a model that attends by position, such as gpt2, llama, mistral or qwen"
        )
    count, width = candidates.shape
    itself = torch.eye(width, dtype=torch.bool, device=candidates.device)
    seen = writing.mask[:, None, : writing.nodes].expand(-1, width, -1)
    mask = torch.cat([seen, additive(itself, seen.dtype).expand(count, -1, -1)], -1)
    position = writing.depth.clamp(max=policy.context - 1)  # in a full context only a deletion is possible
    after = policy.extend(writing.cache, candidates, position[:, None].expand(-1, width), mask)
    writing.cache.crop(-width)

    depths = torch.arange(writing.hidden.shape[1], device=candidates.device)
    unit = normalize(writing.hidden.double(), dim=-1)
    alike = normalize(after.double(), dim=-1) @ unit.mT
    alike = alike.masked_fill(depths >= writing.depth[:, None, None], -torch.inf).amax(-1)
    if policy.space.backspace_id is not None:
        back = (writing.depth - 2).clamp(min=0)[:, None]
        earlier = depths < back
        own = (unit @ unit.gather(1, back[..., None].expand(-1, -1, unit.shape[-1])).mT)[..., 0]
        own = torch.where(earlier.any(-1), own.masked_fill(~earlier, -torch.inf).amax(-1), 0.0)
        alike = torch.where(candidates == policy.space.backspace_id, own[:, None], alike)
    return alike


def _piece(policy: Policy, action: int) -> str:
    """The text of an action that the policy may choose: every end of a rollout has the end's name."""
    return END_PIECE if action in policy.space.ends else policy.piece(action)


def _rollouts(policy: Policy, starts: Sequence[Start], done: _Taken) -> list[Rollout]:
    """The rows' actions as rollouts."""
    counts = done.count.tolist()
    columns = (
        done.action.tolist(),
        done.log_prob.tolist(),
        done.stop.tolist(),
        done.top.tolist(),
        done.chance.tolist(),
    )
    actions, log_probs, stops, tops, chances = columns
    found = []
    for n, (start, count) in enumerate(zip(starts, counts, strict=True)):
        given = len(start.given)
        trajectory = Trajectory(
            prompt=start.prompt,
            actions=(*start.given, *actions[n][:count]),
            injected=(True,) * given + (False,) * count,
        )
        written = trajectory.actions[:-1] if _STOPS[stops[n]] == "ended" else trajectory.actions
        tokens = policy.space.reduce(written)
        likely: tuple[tuple[tuple[int, str, float], ...], ...] = ()
        if n < len(tops):
            pairs = (zip(tops[n][t], chances[n][t], strict=True) for t in range(count))
            likely = ((),) * given + tuple(tuple((a, _piece(policy, a), p) for a, p in pair if p > 0) for pair in pairs)
        found.append(
            Rollout(
                trajectory=trajectory,
                log_probs=(0.0,) * given + tuple(log_probs[n][:count]),
                stop=_STOPS[stops[n]],
                text=policy.continuation(start.prompt, tokens),
                tokens=tokens,
                pieces=(*map(policy.piece, written), *[END_PIECE] * (len(trajectory.actions) - len(written))),
                candidates=likely,
            )
        )
    return found
