"""Log-sum-exps and chosen logits of a batch's states, without ever holding the [N, T, V] logits of all of them.

States go through the output layer in blocks.  Where the probabilities of all of them are few they are kept for the
backward pass; otherwise only the log-sum-exp is, and a block's logits are computed once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.actions.batch import Batch

KEPT = 2**25  # probabilities that may be kept for the backward pass: 128 MiB in float32
BLOCK = 2**19  # logits in work at once: 2 MiB in float32, which a processor's cache holds
LEAST = 256  # states in a block at least, or its matrix products would be slivers


@dataclass(frozen=True)
class States:
    """The K distinct states of a batch; a state reached again after `<backspace>` counts once, padding never."""

    hidden: Tensor  # [K, F]
    legal: Tensor  # [K] bool, True if `<backspace>` is legal there
    where: Tensor  # [N, A + 1] index in 0..K-1 of each state

    @classmethod
    def of(cls, hidden: Tensor, batch: Batch) -> States:
        """The states of `batch`, from the hidden states [N, T, F] of all nodes."""
        rows = torch.arange(batch.rows, device=hidden.device)[:, None] * hidden.shape[1]
        nodes, where = torch.unique(batch.states + rows, return_inverse=True)
        legal = torch.zeros_like(nodes, dtype=torch.bool)
        legal[where] = batch.legal
        return cls(hidden.flatten(0, 1).index_select(0, nodes), legal, where)

    def spread(self, value: Tensor) -> Tensor:
        """Numbers [K] of the distinct states, spread to [N, A + 1]."""
        return value.index_select(0, self.where.flatten()).view(self.where.shape)


def sums_and_chosen(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    legal: Tensor,
    backspace: int | None,
    state: Tensor,
    action: Tensor,
    *,
    cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp [S] of each state's legal logits, and the logits [P] of P actions in their states.

    Both in float32 or wider, and of the very same logits: their difference is a log-probability at any precision.
    Differentiable once, in the first three.

    Args:
        hidden: [S, F].
        weight: [V, F], of the same type, as is `bias`.
        bias: [V].
        legal: [S] bool, True if `backspace` is legal.
        backspace: the index of `<backspace>`, or None.
        state: [P] indices of states; a state may come often, and with the same action again.
        action: [P].
        cap: logits are cap * tanh(logits / cap), if given.
    """
    needed = torch.is_grad_enabled() and any(
        given is not None and given.requires_grad for given in (hidden, weight, bias)
    )
    keep = needed and len(hidden) * len(weight) <= KEPT
    order = state.argsort()
    found: tuple[Tensor, Tensor] = _Head.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, legal, backspace, state[order], action[order], keep, cap
    )
    total, chosen = found
    return total, torch.empty_like(chosen).index_put((order,), chosen)


class _Head(torch.autograd.Function):
    """The output layer in blocks of states, forward and backward; see `sums_and_chosen`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        legal: Tensor,
        backspace: int | None,
        state: Tensor,
        action: Tensor,
        keep: bool,
        cap: float | None,
    ) -> tuple[Tensor, Tensor]:
        """As `sums_and_chosen`, with `state` in order; `keep` holds all probabilities for the backward pass.

        With a cap those are multiplied by its slopes.
        """
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total, chosen = hidden.new_empty(len(hidden), dtype=wide), hidden.new_empty(len(state), dtype=wide)
        kept = hidden.new_empty(len(hidden) if keep else 0, len(weight), dtype=wide)
        ctx.blocks = _blocks(len(weight), len(hidden), state)
        for part, pairs in ctx.blocks:
            logits = _logits(hidden[part], weight, bias, kept[part] if keep else None)
            slopes = _cap(logits, cap, slopes=keep)
            _forbid(logits, legal[part], backspace)
            chosen[pairs] = logits[state[pairs] - part.start, action[pairs]]
            most = logits.amax(-1, keepdim=True)
            mass = logits.sub_(most).exp_().sum(-1, keepdim=True)
            total[part] = (most + mass.log())[:, 0]
            if keep:
                logits.div_(mass)
            if slopes is not None:
                logits.mul_(slopes)
        ctx.backspace, ctx.keep, ctx.cap = backspace, keep, cap
        ctx.save_for_backward(hidden, weight, bias, legal, state, action, total, kept, chosen if cap else None)
        return total, chosen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, of_chosen: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `hidden`, `weight` and `bias` from those of the sums [S] and the chosen logits [P]."""
        hidden, weight, bias, legal, state, action, total, kept, chosen = ctx.saved_tensors
        if ctx.cap is not None:
            of_chosen = of_chosen * _slope(chosen, ctx.cap)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=total.dtype) if wants_weight else None
        bias_grad = torch.zeros_like(bias, dtype=total.dtype) if wants_bias else None
        for part, pairs in ctx.blocks:
            if ctx.keep:
                grad = kept[part] * of_total[part, None]
            else:
                grad = _logits(hidden[part], weight, bias, None)
                slopes = _cap(grad, ctx.cap, slopes=True)
                _forbid(grad, legal[part], ctx.backspace)
                grad.sub_(total[part, None]).exp_().mul_(of_total[part, None])
                if slopes is not None:
                    grad.mul_(slopes)
            grad.index_put_((state[pairs] - part.start, action[pairs]), of_chosen[pairs], accumulate=True)
            narrow = grad.to(hidden.dtype)
            if hidden_grad is not None:
                torch.mm(narrow, weight, out=hidden_grad[part])
            if weight_grad is not None:
                if narrow is grad:
                    weight_grad.addmm_(narrow.T, hidden[part])
                else:  # sums over many blocks need more than half precision
                    weight_grad += narrow.T @ hidden[part]
            if bias_grad is not None:
                bias_grad += grad.sum(0)
        narrowed = weight_grad if weight_grad is None else weight_grad.to(weight.dtype)
        narrowed_bias = bias_grad if bias_grad is None else bias_grad.to(bias.dtype)
        return hidden_grad, narrowed, narrowed_bias, None, None, None, None, None, None


def _blocks(size: int, states: int, state: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of states for V = `size`, each with its slice of the pairs, which are in the order of their states."""
    length = max(LEAST, BLOCK // size)
    bounds = torch.arange(0, states + length, length, device=state.device).clamp(max=states)
    first, pairs = bounds.tolist(), torch.searchsorted(state, bounds).tolist()
    return [(slice(*first[i : i + 2]), slice(*pairs[i : i + 2])) for i in range(len(first) - 1)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    """Sums [B, V] of the output layer in a block, in float32 or wider, in `out` where that is given."""
    if out is None or hidden.dtype != out.dtype:
        found = torch.mm(hidden, weight.T)
        logits = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
        logits = logits if out is None else out.copy_(logits)
    else:
        logits = torch.mm(hidden, weight.T, out=out)
    if bias is not None:
        logits += bias
    return logits


def _forbid(logits: Tensor, legal: Tensor, backspace: int | None) -> None:
    """Make an illegal `<backspace>` -inf, in place."""
    if backspace is not None:
        logits[:, backspace].masked_fill_(~legal, -torch.inf)


def _cap(logits: Tensor, cap: float | None, *, slopes: bool) -> Tensor | None:
    """Cap logits, in place; their derivatives by the uncapped ones, if wanted."""
    if cap is None:
        return None
    logits.div_(cap).tanh_().mul_(cap)
    return _slope(logits, cap) if slopes else None


def _slope(capped: Tensor, cap: float) -> Tensor:
    """Derivative of y = cap tanh(x / cap) by x, from y: 1 - (y / cap)^2."""
    return 1 - (capped / cap).square_()
