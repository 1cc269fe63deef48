"""What the output layer says about a batch's states, without ever holding the [N, T, V] logits of all of them.

States go through the output layer in blocks.  Where the probabilities of all of them are few they are kept for the
backward pass; otherwise only the log-sum-exp is, and a block's logits are computed once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding

from harness.actions import Batch

KEPT = 2**25  # probabilities that may be kept for the backward pass: 128 MiB in float32
BLOCK = 2**19  # logits in work at once: 2 MiB in float32, which a processor's cache holds
LEAST = 256  # states in a block at least, or its matrix products would be slivers


@dataclass(frozen=True)
class States:
    """The K nodes of a batch that are states: after a `<backspace>` a state comes again, and padding is none."""

    hidden: Tensor  # [K, F]
    legal: Tensor  # [K] whether `<backspace>` is legal there
    where: Tensor  # [N, A + 1] which of them each state is

    @classmethod
    def of(cls, hidden: Tensor, batch: Batch) -> States:
        """From the hidden states [N, T, F] of all nodes."""
        rows = torch.arange(batch.rows, device=hidden.device)[:, None] * hidden.shape[1]
        nodes, where = torch.unique(batch.states + rows, return_inverse=True)
        legal = torch.zeros_like(nodes, dtype=torch.bool)
        legal[where] = batch.legal
        return cls(hidden.flatten(0, 1).index_select(0, nodes), legal, where)

    def spread(self, value: Tensor) -> Tensor:
        """[N, A + 1] from a number for each node, [K]."""
        return value.index_select(0, self.where.flatten()).view(self.where.shape)

    def chosen_logit(self, weight: Tensor, bias: Tensor | None, action: Tensor) -> Tensor:
        """[N, A] logits, in float32 or wider, of the actions [N, A] that were taken, all of them legal."""
        wide = torch.promote_types(self.hidden.dtype, torch.float32)
        state = self.hidden.index_select(0, self.where[:, :-1].flatten()).to(wide)
        logit = (state * embedding(action.flatten(), weight).to(wide)).sum(-1)
        return (logit if bias is None else logit + bias[action.flatten()]).view(action.shape)


def log_sum_exp(hidden: Tensor, weight: Tensor, bias: Tensor | None, legal: Tensor, backspace: int | None) -> Tensor:
    """Log-sum-exp of the legal logits, [S], in float32 or wider.

    hidden: [S, F]; weight: [V, F] and bias: [V], of the same type; legal: [S] whether `backspace` is.
    Differentiable once, in the first three.
    """
    found: Tensor = _LogSumExp.apply(hidden, weight, bias, legal, backspace)  # type: ignore[no-untyped-call]
    return found


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, legal: Tensor, backspace: int | None
    ) -> Tensor:
        states, size = len(hidden), len(weight)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_empty(states, dtype=wide)
        keep = states * size <= KEPT and any(ctx.needs_input_grad)
        kept = hidden.new_empty(states if keep else 0, size, dtype=wide)
        for part in _blocks(states, size):
            logits = _logits(hidden[part], weight, bias, legal[part], backspace, kept[part] if keep else None)
            most = logits.amax(-1, keepdim=True)
            mass = logits.sub_(most).exp_().sum(-1, keepdim=True)
            total[part] = (most + mass.log())[:, 0]
            if keep:
                logits.div_(mass)
        ctx.backspace, ctx.keep = backspace, keep
        ctx.save_for_backward(hidden, weight, bias, legal, total, kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, legal, total, kept = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=total.dtype) if wants_weight else None
        bias_grad = torch.zeros_like(bias, dtype=total.dtype) if wants_bias else None
        for part in _blocks(len(hidden), len(weight)):
            if ctx.keep:
                grad = kept[part] * of_total[part, None]
            else:
                grad = _logits(hidden[part], weight, bias, legal[part], ctx.backspace, None)
                grad.sub_(total[part, None]).exp_().mul_(of_total[part, None])
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
        return hidden_grad, narrowed, bias_grad if bias_grad is None else bias_grad.to(bias.dtype), None, None


def _blocks(states: int, size: int) -> list[slice]:
    length = max(LEAST, BLOCK // size)
    return [slice(begin, min(begin + length, states)) for begin in range(0, states, length)]


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, legal: Tensor, backspace: int | None, out: Tensor | None
) -> Tensor:
    """[B, V] legal logits of a block, in float32 or wider, in `out` where that is given."""
    if out is None or hidden.dtype != out.dtype:
        found = torch.mm(hidden, weight.T)
        logits = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
        logits = logits if out is None else out.copy_(logits)
    else:
        logits = torch.mm(hidden, weight.T, out=out)
    if bias is not None:
        logits += bias
    if backspace is not None:
        logits[:, backspace].masked_fill_(~legal, -torch.inf)
    return logits
