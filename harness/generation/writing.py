"""Rows while they are written: their texts, their nodes, and the states that sampling needs of them.

The cache is append-only: a deletion only makes a node invisible.  The state after it is an earlier node, whose hidden
state is kept, so that nothing is computed again; in the pass where a row deletes, its new node is never visible.

A model that carries a recurrent state cannot go back, and no padding may enter its state: all rows advance by one token
together, and a row that is still inside its start is given the start's next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness.errors import ConfigError
from harness.models.attention import additive
from harness.models.policy import Policy


@dataclass
class Writing:
    """The M rows in the batch; every tensor has them as its first axis."""

    row: Tensor  # [M] index of each row's start
    live: Tensor  # [M] bool, False once it has finished
    taken: Tensor  # [M] own actions so far
    depth: Tensor  # [M] length of the reduced text, prompt included
    boundary: Tensor  # [M] length of the prompt
    limit: Tensor  # [M] longest reduced text, prompt included
    node_at: Tensor  # [M, D] node of each depth of the reduced text
    hidden: Tensor  # [M, D', F] hidden state at each depth of the reduced text, D' as far as any row has been
    token: Tensor  # [M, S] token of each node
    parent: Tensor  # [M, S] node of the state that each node was written in; -1 for the first, and for padding
    mask: Tensor  # [M, S] added to a node's attention score: 0, or the lowest number where it is deleted or padding
    cache: Any
    nodes: int  # nodes so far, the same for every row
    start: Tensor | None = None  # [M, L] tokens of each row's start, where rows advance together and none is deleted

    @property
    def acting(self) -> Tensor:
        """[M] bool, True for a live row whose start has been read."""
        return self.live if self.start is None else self.live & (self.depth <= self.nodes)

    @property
    def state(self) -> Tensor:
        """[M, F] hidden state after the reduced text."""
        if self.start is not None:
            return self.hidden[:, -1]
        last = (self.depth - 1)[:, None, None].expand(-1, -1, self.hidden.shape[-1])
        return self.hidden.gather(1, last)[:, 0]

    def keep(self, index: Tensor) -> None:
        """Keep the rows at `index`, drop the others."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[index])
        self.cache.batch_select_indices(index)


def begin(
    policy: Policy, texts: Sequence[tuple[int, ...]], prompts: Sequence[int], max_length: int, budget: int
) -> Writing:
    """The rows before their first action.

    Args:
        policy: the policy.
        texts: tokens of each row's start.
        prompts: length of each row's prompt, beyond which a start may be deleted.
        max_length: tokens that a text may hold after its prompt.
        budget: actions of each row.

    Raises:
        ConfigError: a start does not fit into the context.
    """
    longest = max(len(text) for text in texts)
    if longest > policy.context:
        raise ConfigError(f"model.context={policy.context}: a start of {longest} tokens does not fit; raise it")
    device, count = policy.device, len(texts)
    lengths = torch.tensor([len(text) for text in texts]).to(device)
    ids = torch.tensor([(*text, *(0,) * (longest - len(text))) for text in texts]).to(device)
    boundary = torch.tensor(prompts, device=device)
    shared: dict[str, Tensor] = {
        "row": torch.arange(count, device=device),
        "live": torch.ones(count, dtype=torch.bool, device=device),
        "taken": torch.zeros(count, dtype=torch.long, device=device),
        "depth": lengths,
        "boundary": boundary,
        "limit": (boundary + max_length).clamp(max=policy.context),
    }
    if policy.kind.keeps is not None:
        return _read_together(policy, ids, int(lengths.min()), shared)
    return _prefill(policy, ids, lengths, budget, shared)


def _prefill(policy: Policy, ids: Tensor, lengths: Tensor, budget: int, shared: dict[str, Tensor]) -> Writing:
    """The rows after one forward pass over starts [N, L], padded at the right; padding is never visible."""
    count, longest = ids.shape
    device = policy.device
    index = torch.arange(longest, device=device)
    real = index < lengths[:, None]
    visible = (index[:, None] >= index) & (real[:, None] | torch.eye(longest, dtype=torch.bool, device=device))
    cache = policy.new_cache()
    hidden = policy.extend(cache, ids, index.expand(count, -1), additive(visible, policy.compute_dtype))
    node_at = torch.zeros(count, policy.context, dtype=torch.long, device=device)
    node_at[:, :longest] = index
    return Writing(
        **shared,
        node_at=node_at,
        hidden=hidden,
        token=pad(ids, (0, budget)),
        parent=pad(torch.where(real, index - 1, -1), (0, budget), value=-1),
        mask=pad(additive(real, policy.compute_dtype), (0, budget)),
        cache=cache,
        nodes=longest,
    )


def _read_together(policy: Policy, ids: Tensor, nodes: int, shared: dict[str, Tensor]) -> Writing:
    """The rows after the first `nodes` tokens of their starts, which all have; no row has padding, now or later."""
    stream = policy.new_stream()
    hidden = stream.extend(ids[:, :nodes])
    nothing = torch.zeros(len(ids), 1, dtype=torch.long, device=policy.device)  # nothing is deleted or tried again
    return Writing(
        **shared,
        node_at=nothing.expand(-1, policy.context),
        hidden=hidden,
        token=nothing,
        parent=nothing - 1,
        mask=nothing.to(policy.compute_dtype),
        cache=stream,
        nodes=nodes,
        start=ids,
    )


def append(policy: Policy, writing: Writing, token: Tensor, writes: Tensor) -> None:
    """Add one node, [M] tokens, to every row; that of a row that does not write is never visible."""
    if writing.start is not None:
        reading = writing.depth > writing.nodes
        read = writing.start[:, min(writing.nodes, writing.start.shape[1] - 1)]
        writing.hidden = writing.cache.extend(torch.where(reading, read, token)[:, None])
        writing.depth += writes
        writing.nodes += 1
        return
    new, depth = writing.nodes, writing.depth.clamp(max=policy.context - 1)[:, None]
    writing.token[:, new] = token
    writing.parent[:, new] = torch.where(writes, writing.node_at.gather(1, depth - 1)[:, 0], -1)
    writing.mask[:, new] = additive(writes, writing.mask.dtype)
    hidden = policy.extend(writing.cache, token[:, None], depth, writing.mask[:, None, : new + 1])
    # entries beyond a row's depth are never read, so rows that do not write need no special case
    if (longest := int(depth.max()) + 1) > writing.hidden.shape[1]:
        room = min(policy.context, 2 * longest) - writing.hidden.shape[1]
        writing.hidden = pad(writing.hidden, (0, 0, 0, room))
    writing.hidden.scatter_(1, depth[..., None].expand(-1, -1, hidden.shape[-1]), hidden)
    writing.node_at.scatter_(1, depth, new)
    writing.depth += writes
    writing.nodes += 1
