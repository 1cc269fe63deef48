"""Batched sampling with backtracking: the cache is append-only, a `<backspace>` only makes a node invisible.

Every forward pass adds one node to every row that is still writing.  After a `<backspace>` a row's state is an
earlier node whose hidden state is kept, so it samples again at once, without a forward pass.  Each row draws from its
own stream of uniform numbers, so a rollout does not depend on the batch it was sampled in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from harness.actions import ActionSpace
from harness.errors import ConfigError, HarnessError
from harness.policy import Policy
from harness.records import Rollout, Trajectory

Stop = Literal["ended", "depth", "budget"]

Replace = Callable[[int, tuple[int, ...]], int]
"""(row, reduced text so far with its prompt) -> the action that replaces the policy's own."""


@dataclass(frozen=True)
class Decoder:
    """How an action is drawn from the policy.  The default is ancestral: the distribution itself, nothing cut."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Actions [N] by inverse CDF from logits [N, V] (illegal ones -inf) and uniform numbers [N] in [0, 1)."""
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            kept = logits.topk(self.top_k, dim=-1)
            logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
        probs = logits.softmax(-1)
        if torch.isnan(probs).any():
            raise HarnessError("the policy's probabilities are not numbers: its training diverged; lower training.lr")
        if self.top_p < 1:
            ordered, index = probs.sort(dim=-1, descending=True, stable=True)
            before = ordered.cumsum(-1) - ordered  # mass of what is likelier: the first action is always kept
            probs = torch.zeros_like(probs).scatter(-1, index, ordered.masked_fill(before >= self.top_p, 0.0))
        total = probs.cumsum(-1)
        point = uniform.to(total.dtype)[:, None] * total[:, -1:]
        drawn = torch.searchsorted(total, point, right=True)[:, 0]
        # rounding can push the point onto the total itself: then the last action with any mass
        last = probs.shape[-1] - 1 - (probs > 0).flip(-1).int().argmax(-1)
        return torch.minimum(drawn, last)


@dataclass(frozen=True)
class Start:
    """Where a rollout begins: a prompt, which is never deleted, and tokens given after it, which may be."""

    prompt: tuple[int, ...]
    given: tuple[int, ...] = ()


def uniforms(seed: int, row: int, count: int) -> np.ndarray:
    """The stream of `count` uniform numbers in [0, 1) that belongs to one row of one seed."""
    return np.random.Generator(np.random.Philox(key=[seed, row])).random(count)


@dataclass
class _Writing:
    """The rows that are still writing; every tensor has them as its first axis."""

    row: Tensor  # [M] which start each one answers
    taken: Tensor  # [M] own actions so far
    depth: Tensor  # [M] length of the reduced text, prompt included
    boundary: Tensor  # [M] length of the prompt
    limit: Tensor  # [M] longest reduced text, prompt included
    node_at: Tensor  # [M, D] node of each depth of the reduced text
    visible: Tensor  # [M, S] which nodes survive
    hidden: Tensor  # [M, S, F] hidden state of each node
    cache: Any
    nodes: int = field(default=0)  # nodes so far, the same for every row

    def keep(self, index: Tensor) -> None:
        """Drop the rows that have finished."""
        for name in ("row", "taken", "depth", "boundary", "limit", "node_at", "visible", "hidden"):
            setattr(self, name, getattr(self, name)[index])
        self.cache.batch_select_indices(index)


@torch.no_grad()
def sample(
    policy: Policy,
    starts: Sequence[Start],
    *,
    seed: int,
    rows: Sequence[int] | None = None,
    decoder: Decoder | None = None,
    epsilon: float = 0.0,
    force: Replace | None = None,
    max_length: int | None = None,
    max_actions: int | None = None,
) -> list[Rollout]:
    """One rollout from each start.

    Args:
        policy: where actions come from; with its `<backspace>` row, backtracking.
        starts: N starts.
        seed: of the uniform numbers, together with `rows` (default 0..N-1), the identity of each row.
        decoder: default ancestral.
        epsilon: chance that an action is replaced before it is executed.
        force: what it is replaced by; default a uniformly random legal action: a token that can stand in a text, the
            end, or `<backspace>` where there is something to delete.
        max_length: tokens that the reduced text may hold after the prompt, at most (default) what the context holds.
        max_actions: budget of actions of each row, default twice the context.

    Returns:
        N rollouts in order; each says whether it ended, met the depth, or spent its budget.
    """
    budget = max_actions or 2 * policy.context
    decoder = decoder or Decoder()
    count, device, space = len(starts), policy.device, policy.space
    identity = rows or range(count)
    stream = np.stack(
        [uniforms(seed, row, 3 * budget).reshape(3, budget) for row in identity]
    ) if count else np.zeros((0, 3, budget))  # fmt: skip
    draws = torch.from_numpy(stream).to(device)
    actions = torch.zeros(count, budget, dtype=torch.long)
    log_probs = torch.zeros(count, budget)
    taken = torch.zeros(count, dtype=torch.long)
    stops: list[Stop] = ["depth"] * count
    writing = _prefill(policy, starts, max_length or policy.context)

    while writing.row.numel():
        live = torch.ones(len(writing.row), dtype=torch.bool, device=device)
        token = torch.zeros(len(writing.row), dtype=torch.long, device=device)
        todo = torch.arange(len(writing.row), device=device)
        while todo.numel():  # rows without an action; those that delete come round again
            at = writing.node_at[todo, writing.depth[todo] - 1]
            legal = writing.depth[todo] > writing.boundary[todo]
            logits = policy.logits(writing.hidden[todo, at], legal)
            uniform = draws[writing.row[todo], :, writing.taken[todo]]
            drawn = decoder.draw(logits, uniform[:, 0])
            if epsilon > 0:
                forced = uniform[:, 1] < epsilon
                if force is None:
                    drawn = torch.where(forced, _random_legal(logits, space, uniform[:, 2]), drawn)
                else:
                    for i in forced.nonzero()[:, 0].tolist():
                        n = int(writing.row[todo[i]])
                        own = (*starts[n].given, *actions[n, : taken[n]].tolist())
                        drawn[i] = force(identity[n], (*starts[n].prompt, *space.reduce(own)))
            # a start may fill the context: there is room for a deletion only, anything else cuts the row
            cut = writing.depth[todo] >= writing.limit[todo]
            if space.backspace_id is not None:
                cut &= drawn != space.backspace_id
            if cut.any():
                live[todo[cut]] = False
                todo, at, legal, logits, drawn = (x[~cut] for x in (todo, at, legal, logits, drawn))
            chosen = logits.log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
            who, when = writing.row[todo].cpu(), writing.taken[todo].cpu()
            actions[who, when] = drawn.cpu()
            log_probs[who, when] = chosen.float().cpu()
            taken[who] += 1
            writing.taken[todo] += 1

            deletes = drawn == space.backspace_id if space.backspace_id is not None else torch.zeros_like(legal)
            ends = drawn == space.end_id
            writing.visible[todo[deletes], at[deletes]] = False
            writing.depth[todo[deletes]] -= 1
            token[todo] = drawn
            spent = (writing.taken[todo] >= budget) & ~ends
            live[todo[ends | spent]] = False
            for row in writing.row[todo[ends]].tolist():
                stops[row] = "ended"
            for row in writing.row[todo[spent]].tolist():
                stops[row] = "budget"
            todo = todo[deletes & ~spent]

        live &= writing.depth + 1 < writing.limit  # the text with this token is as long as it may be
        if not live.all():
            index = live.nonzero()[:, 0]
            writing.keep(index)
            token = token[index]
        if writing.row.numel():
            _append(policy, writing, token)

    return [
        _rollout(policy, start, actions[i, : taken[i]].tolist(), log_probs[i, : taken[i]].tolist(), stops[i])
        for i, start in enumerate(starts)
    ]


def _random_legal(logits: Tensor, space: ActionSpace, uniform: Tensor) -> Tensor:
    """A legal action, every one alike, [N]; never a token that stands in no text, such as padding."""
    even = torch.where(logits > -torch.inf, 0.0, -torch.inf)
    even[:, list(space.unwritable - {space.end_id, space.backspace_id})] = -torch.inf
    return Decoder().draw(even, uniform)


def _prefill(policy: Policy, starts: Sequence[Start], max_length: int) -> _Writing:
    """One forward pass over prompts and given tokens, padded at the right; padding is never visible."""
    device, count = policy.device, len(starts)
    texts = [(*start.prompt, *start.given) for start in starts]
    longest = max((len(text) for text in texts), default=1)
    if longest > policy.context:
        raise ConfigError(f"model.context={policy.context}: a start of {longest} tokens does not fit; raise it")
    ids = torch.zeros(count, longest, dtype=torch.long)
    real = torch.zeros(count, longest, dtype=torch.bool)
    for n, text in enumerate(texts):
        ids[n, : len(text)] = torch.tensor(text)
        real[n, : len(text)] = True
    ids, real = ids.to(device), real.to(device)
    index = torch.arange(longest, device=device)
    causal = index[:, None] >= index[None]
    visible = causal[None] & (real[:, None, :] | torch.eye(longest, dtype=torch.bool, device=device)[None])
    cache = policy.new_cache()
    hidden = policy.extend(cache, ids, index.expand(count, -1), visible)
    boundary = torch.tensor([len(start.prompt) for start in starts], device=device)
    node_at = torch.zeros(count, policy.context, dtype=torch.long, device=device)
    node_at[:, :longest] = index
    return _Writing(
        row=torch.arange(count, device=device),
        taken=torch.zeros(count, dtype=torch.long, device=device),
        depth=real.sum(1),
        boundary=boundary,
        limit=(boundary + max_length).clamp(max=policy.context),
        node_at=node_at,
        visible=real,
        hidden=hidden,
        cache=cache,
        nodes=longest,
    )


def _append(policy: Policy, writing: _Writing, token: Tensor) -> None:
    """Add one node, [M] tokens, to every row."""
    rows = torch.arange(len(token), device=token.device)
    visible = torch.cat([writing.visible, torch.ones_like(writing.visible[:, :1])], 1)
    hidden = policy.extend(writing.cache, token[:, None], writing.depth[:, None], visible[:, None])
    writing.node_at[rows, writing.depth] = writing.nodes
    writing.depth += 1
    writing.nodes += 1
    writing.visible = visible
    writing.hidden = torch.cat([writing.hidden, hidden], 1)


def _rollout(policy: Policy, start: Start, actions: list[int], log_probs: list[float], stop: Stop) -> Rollout:
    given = len(start.given)
    trajectory = Trajectory(
        prompt=start.prompt,
        actions=(*start.given, *actions),
        injected=(True,) * given + (False,) * len(actions),
    )
    tokens = policy.space.reduce(trajectory.actions)
    return Rollout(
        trajectory=trajectory,
        log_probs=(0.0,) * given + tuple(log_probs),
        stop=stop,
        text=policy.continuation(start.prompt, tokens),
        tokens=tokens,
        pieces=tuple(policy.piece(action) for action in trajectory.actions),
    )
