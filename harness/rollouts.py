"""Batched sampling with backtracking: the cache is append-only, a `<backspace>` only makes a node invisible.

Every forward pass adds one node to every row that is still writing.  After a `<backspace>` a row's state is an
earlier node whose hidden state is kept, so it samples again at once, without a forward pass.  Each row draws from its
own stream of uniform numbers, so a rollout does not depend on the batch it was sampled in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.actions import ActionSpace
from harness.decoders import AnyDecoder, Decoder
from harness.errors import ConfigError
from harness.policy import Policy
from harness.records import Rollout, Trajectory

CANDIDATES = 5  # likeliest actions that are kept of a state

Stop = Literal["ended", "depth", "budget"]
_Top = list[tuple[int, float]]

Replace = Callable[[int, tuple[int, ...]], int]
"""(row, reduced text so far with its prompt) -> the action that replaces the policy's own."""


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
    token: Tensor  # [M, S] token of each node
    parent: Tensor  # [M, S] node of the state that each node was written in; -1 for the first, and for padding
    visible: Tensor  # [M, S] which nodes survive
    hidden: Tensor  # [M, S, F] hidden state of each node
    cache: Any
    nodes: int = field(default=0)  # nodes so far, the same for every row

    def keep(self, index: Tensor) -> None:
        """Drop the rows that have finished."""
        for name in ("row", "taken", "depth", "boundary", "limit", "node_at", "token", "parent", "visible", "hidden"):
            setattr(self, name, getattr(self, name)[index])
        self.cache.batch_select_indices(index)


@torch.no_grad()
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
        candidates: how many rollouts, from the first on, keep the likeliest actions of each state that they act in.

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
    likeliest: list[list[_Top]] = [[] for _ in range(min(candidates, count))]
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
            offered = _untried(writing, todo, at, logits) if decoder.deterministic else logits
            drawn = decoder.draw(offered, uniform[:, 0], partial(_likeness, policy, writing, todo, at))
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
            all_log_probs = logits.log_softmax(-1)
            chosen = all_log_probs.gather(-1, drawn[:, None])[:, 0]
            who, when = writing.row[todo].cpu(), writing.taken[todo].cpu()
            for i in (who < len(likeliest)).nonzero()[:, 0].tolist():
                likeliest[int(who[i])].append(_top(all_log_probs[i]))
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

    found = [
        _rollout(policy, start, actions[i, : taken[i]].tolist(), log_probs[i, : taken[i]].tolist(), stops[i])
        for i, start in enumerate(starts)
    ]
    return [
        replace(
            rollout,
            candidates=((),) * len(start.given)
            + tuple(tuple((action, policy.piece(action), p) for action, p in top) for top in tops),
        )
        for rollout, start, tops in zip(found, starts, likeliest, strict=False)
    ] + found[len(likeliest) :]


def _top(log_probs: Tensor) -> _Top:
    """The likeliest actions under [V] log-probabilities with their probabilities, the likeliest first."""
    top = log_probs.float().exp().topk(min(CANDIDATES, len(log_probs)))
    return [(a, p) for a, p in zip(top.indices.tolist(), top.values.tolist(), strict=True) if p > 0]


def _random_legal(logits: Tensor, space: ActionSpace, uniform: Tensor) -> Tensor:
    """A legal action, every one alike, [N]; never a token that stands in no text, such as padding."""
    even = torch.where(logits > -torch.inf, 0.0, -torch.inf)
    even[:, list(space.unwritable - {space.end_id, space.backspace_id})] = -torch.inf
    return Decoder().draw(even, uniform)


def _untried(writing: _Writing, todo: Tensor, at: Tensor, logits: Tensor) -> Tensor:
    """The logits [M', V] without the tokens that were written in this very state and have been deleted."""
    row, node = (writing.parent[todo] == at[:, None]).nonzero(as_tuple=True)  # a last state has deleted children only
    logits = logits.clone()
    logits[row, writing.token[todo[row], node]] = -torch.inf
    return logits


def _likeness(policy: Policy, writing: _Writing, todo: Tensor, at: Tensor, candidates: Tensor) -> Tensor:
    """[M', K] cosine of the state after each candidate to the visible state most like it; see `decoders.Contrastive`.

    One forward pass over K further nodes, each of which sees the text and itself; the cache is then as it was.
    """
    width = candidates.shape[1]
    tokens = candidates.new_zeros(len(writing.row), width)  # the cache holds every row, so all take part
    tokens[todo] = candidates
    itself = torch.eye(width, dtype=torch.bool, device=tokens.device)
    visible = torch.cat([writing.visible[:, None].expand(-1, width, -1), itself.expand(len(tokens), -1, -1)], -1)
    position = writing.depth.clamp(max=policy.context - 1)  # a full context has room for a deletion only
    after = policy.extend(writing.cache, tokens, position[:, None].expand(-1, width), visible)[todo]
    writing.cache.crop(-width)

    seen, rows = writing.visible[todo], torch.arange(len(todo), device=tokens.device)
    unit = normalize(writing.hidden[todo].double(), dim=-1)
    alike = normalize(after.double(), dim=-1) @ unit.mT
    alike = alike.masked_fill(~seen[:, None], -torch.inf).amax(-1)
    if policy.space.backspace_id is not None:
        back = writing.node_at[todo, (writing.depth[todo] - 2).clamp(min=0)]
        earlier = seen.clone()
        earlier[rows, at] = earlier[rows, back] = False
        own = (unit @ unit[rows, back][..., None])[..., 0].masked_fill(~earlier, -torch.inf).amax(-1)
        own = torch.where(earlier.any(-1), own, 0.0)
        alike = torch.where(candidates == policy.space.backspace_id, own[:, None], alike)
    return alike


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
        token=ids,
        parent=torch.where(real, index - 1, -1),
        visible=real,
        hidden=hidden,
        cache=cache,
        nodes=longest,
    )


def _append(policy: Policy, writing: _Writing, token: Tensor) -> None:
    """Add one node, [M] tokens, to every row."""
    rows = torch.arange(len(token), device=token.device)
    state = writing.node_at[rows, writing.depth - 1]
    writing.token = torch.cat([writing.token, token[:, None]], 1)
    writing.parent = torch.cat([writing.parent, state[:, None]], 1)
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
