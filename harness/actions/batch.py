"""Masked batches: action sequences with deletions laid out so that one forward pass evaluates every action.

A trajectory with deletions is laid out append-only.  Its *nodes* are the prompt's tokens and then every token that
was written, deleted ones included, in the order they were written; node i sees node j when
`j <= i < deleted_at[j]`, so a token is visible until it is deleted.  The state before an action is the node of the
last surviving token, so after a `<backspace>` nothing is computed again: its state is an earlier node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.actions.space import ActionSpace
from harness.actions.weights import Weighting, sizes, step_weights
from harness.records.rollout import Trajectory


@dataclass(frozen=True)
class Batch:
    """Action sequences as one forward pass.  N rows, T nodes, A actions; made by `pack`, checked when made.

    Attributes:
        input_ids: [N, T] token of each node.
        position_ids: [N, T] depth of the node in the reduced text (the prompt's first token is 0).
        deleted_at: [N, T] number of nodes that existed when the node was deleted; the row's node count if it never was.
            A padding node j has j + 1: it sees only itself and no other node sees it.
        action: [N, A] id of each action; 0 where padded.
        states: [N, A + 1] node of the state before each action, then of the last state (repeated where padded).
        legal: [N, A + 1] whether `<backspace>` is legal in that state: never at the prompt boundary.
        weight: [N, A] weight of each step, already divided by the normaliser; 0 for padding and injected steps.
        end_weight: [N] weight of the absorbing term, likewise divided; 0 for a row that was cut.
        ended: [N] whether the row's last action is its end: the end token, or a rollout's own choice of another end.
        gamma: discount that multiplies V(s') in a step's reward.
        is_expert: whether the rows are the expert's (one batch never mixes the two).
        plain: whether no row deletes anything, so that the ordinary causal mask is exact.
        nodes: number of real (not padding) nodes: what a forward pass costs.
    """

    input_ids: Tensor
    position_ids: Tensor
    deleted_at: Tensor
    action: Tensor
    states: Tensor
    legal: Tensor
    weight: Tensor
    end_weight: Tensor
    ended: Tensor
    gamma: float
    is_expert: bool
    plain: bool
    nodes: int

    def __post_init__(self) -> None:
        rows, length = self.input_ids.shape
        actions = self.action.shape[1]
        wanted = {
            "position_ids": (rows, length),
            "deleted_at": (rows, length),
            "action": (rows, actions),
            "states": (rows, actions + 1),
            "legal": (rows, actions + 1),
            "weight": (rows, actions),
            "end_weight": (rows,),
            "ended": (rows,),
        }
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"Batch.{name} has shape {tuple(getattr(self, name).shape)}, wanted {shape}")

    @property
    def rows(self) -> int:
        """Number of rows, N."""
        return int(self.input_ids.shape[0])

    @property
    def state_index(self) -> Tensor:
        """Node of the state in which each action is taken, [N, A]."""
        return self.states[:, :-1]

    @property
    def next_state_index(self) -> Tensor:
        """Node of the state that each action leads to, [N, A]."""
        return self.states[:, 1:]

    @property
    def end_index(self) -> Tensor:
        """Node of the last state, [N]."""
        return self.states[:, -1]

    @property
    def backspace_legal(self) -> Tensor:
        """True where `<backspace>` is legal in the state of the action, [N, A]."""
        return self.legal[:, :-1]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        if self.input_ids.device == device:
            return self
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        tensors: dict[str, Any] = {name: value.to(device) for name, value in values.items() if torch.is_tensor(value)}
        return replace(self, **tensors)

    def visible(self) -> Tensor:
        """Attention mask, bool [N, 1, T, T]: query node i (second to last axis) sees key node j (last axis)."""
        index = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        query, key = index[None, :, None], index[None, None, :]
        return ((key <= query) & (query < self.deleted_at[:, None, :]))[:, None]


@dataclass(frozen=True)
class ActionValues:
    """A policy's log-probabilities and values of a batch's actions, over legal actions only, float32 or wider, in nats.

    Attributes:
        log_prob: [N, A] log pi(a_t | s_t).
        value: [N, A] V(s_t).
        next_value: [N, A] V(s_{t+1}); its gradient is part of the objective and is never detached.
        end_value: [N] V of the last state.
    """

    log_prob: Tensor
    value: Tensor
    next_value: Tensor
    end_value: Tensor

    def reward(self, gamma: float) -> Tensor:
        """Reward r_t = log pi(a_t|s_t) + V(s_t) - gamma V(s_{t+1}), [N, A]; nothing is detached (arXiv 2306.05426)."""
        return self.log_prob + self.value - gamma * self.next_value


@dataclass(frozen=True)
class _Walk:
    """One trajectory's arrays before padding; the letters of `Batch` apply."""

    input_ids: np.ndarray
    position_ids: np.ndarray
    deleted_at: np.ndarray
    action: np.ndarray
    states: np.ndarray
    legal: np.ndarray


def pack(
    trajectories: Sequence[Trajectory],
    space: ActionSpace,
    weighting: Weighting,
    *,
    is_expert: bool = True,
    normalizer: float = 1.0,
    scale: float = 1.0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Lay action sequences out as one masked batch with their weights.

    Args:
        trajectories: N rows; injected steps move the state and weigh nothing.
        space: which ids are the end and `<backspace>`.
        weighting: how steps count (arXiv 2306.05426; restart weights for injected noise, see `step_weights`).
        is_expert: expert rows restart at noise events; rollouts count gamma^t from their first own action.
        normalizer: weights are divided by it: one constant for a whole run, or the loss is not a proper score.
            With `weighting.normalisation = per_sequence` each row is divided by its own size as well.
        scale: weights are multiplied by it (the mass Z of a matched rollout start).
        device: where the tensors go.
        dtype: of the weights.

    Raises:
        ValueError: no rows, `<backspace>` where it is illegal, or an end that is not last.

    >>> space = ActionSpace(size=12, end_id=10, backspace_id=11)
    >>> row = Trajectory((3,), (5, 9, 11, 6, 10), (False, True, False, False, False))
    >>> batch = pack([row], space, Weighting(gamma=0.95))
    >>> batch.deleted_at.tolist(), batch.state_index.tolist()
    ([[5, 5, 3, 5, 5]], [[0, 1, 2, 1, 3]])
    >>> [round(w, 4) for w in batch.weight[0].tolist()], round(batch.end_weight.item(), 4)
    ([1.0, 0.0, 0.95, 1.8525, 1.7599], 33.4376)
    """
    if not trajectories:
        raise ValueError("pack needs at least one trajectory")
    walks = [_walk(row, space) for row in trajectories]
    length = max(len(walk.input_ids) for walk in walks)
    steps = max(len(walk.action) for walk in walks)
    rows = len(walks)
    input_ids = np.zeros((rows, length), np.int64)
    position_ids = np.zeros((rows, length), np.int64)
    deleted_at = np.tile(np.arange(1, length + 1), (rows, 1))
    action = np.zeros((rows, steps), np.int64)
    states = np.zeros((rows, steps + 1), np.int64)
    legal = np.zeros((rows, steps + 1), bool)
    weight = np.zeros((rows, steps))
    end_weight = np.zeros(rows)
    ended = np.zeros(rows, bool)
    for n, (row, walk) in enumerate(zip(trajectories, walks, strict=True)):
        nodes, taken = len(walk.input_ids), len(walk.action)
        input_ids[n, :nodes] = walk.input_ids
        position_ids[n, :nodes] = walk.position_ids
        deleted_at[n, :nodes] = walk.deleted_at
        action[n, :taken] = walk.action
        states[n, : taken + 1], states[n, taken:] = walk.states, walk.states[-1]
        legal[n, : taken + 1], legal[n, taken:] = walk.legal, walk.legal[-1]
        # an expert's text, as a given one, may hold an ordinary token that ends the policy's own
        ends = {space.end_id} if is_expert or row.injected[-1] else space.ends
        ended[n] = row.actions[-1] in ends
        weight[n, :taken], after = step_weights(row, weighting, is_expert=is_expert)
        if ended[n] and weighting.gamma < 1:
            end_weight[n] = after / (1 - weighting.gamma)
    if weighting.normalisation == "per_sequence":
        own = sizes(trajectories, weighting)
        weight, end_weight = weight / own[:, None], end_weight / own

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device=device)

    factor = scale / normalizer
    return Batch(
        input_ids=tensor(input_ids),
        position_ids=tensor(position_ids),
        deleted_at=tensor(deleted_at),
        action=tensor(action),
        states=tensor(states),
        legal=tensor(legal),
        weight=tensor(weight * factor).to(dtype),
        end_weight=tensor(end_weight * factor).to(dtype),
        ended=tensor(ended),
        gamma=weighting.gamma,
        is_expert=is_expert,
        plain=all(space.backspace_id not in row.actions for row in trajectories),
        nodes=sum(len(walk.input_ids) for walk in walks),
    )


def _walk(row: Trajectory, space: ActionSpace) -> _Walk:
    """Lay one trajectory out: its nodes, and the state of each action.

    Raises:
        ValueError: no prompt, `<backspace>` where it is illegal, or an end that is not last.
    """
    prompt, taken = len(row.prompt), len(row.actions)
    if space.end_id in row.actions[:-1]:
        raise ValueError("the end token stands before the last action; a text ends once")
    action = np.asarray(row.actions, np.int64)
    if space.backspace_id is None or space.backspace_id not in row.actions:
        nodes = prompt + taken
        states = np.arange(prompt - 1, nodes)
        return _Walk(
            input_ids=np.asarray((*row.prompt, *(row.seen or row.actions)), np.int64),
            position_ids=np.arange(nodes),
            deleted_at=np.full(nodes, nodes),
            action=action,
            states=states,
            legal=(states >= prompt) & (space.backspace_id is not None),
        )
    written, depth_of = list(row.prompt), list(range(prompt))
    surviving = list(range(prompt))  # nodes of the reduced text
    deletions: list[tuple[int, int]] = []
    states_, legal_ = [], []
    for step in row.actions:
        states_.append(surviving[-1])
        legal_.append(len(surviving) > prompt)
        if step == space.backspace_id:
            if len(surviving) <= prompt:
                raise ValueError("<backspace> at the prompt boundary is illegal: there is nothing to delete")
            deletions.append((surviving.pop(), len(written)))
        else:
            depth_of.append(len(surviving))
            surviving.append(len(written))
            written.append(step)
    deleted_at = np.full(len(written), len(written))
    for node, existed in deletions:
        deleted_at[node] = existed
    return _Walk(
        input_ids=np.asarray(written, np.int64),
        position_ids=np.asarray(depth_of, np.int64),
        deleted_at=deleted_at,
        action=action,
        states=np.asarray([*states_, surviving[-1]], np.int64),
        legal=np.asarray([*legal_, len(surviving) > prompt]),
    )
