"""Families whose windows or positions are not in transformers' common form, changed in place to follow depths.

Outside of `seeing(...)` each computes what it computed before.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import causal_mask_function, sliding_window_overlay

from harness.models.architectures.masks import Rule, Seen, seen_now


def prepare(model: Any) -> None:
    """Change a freshly made model, in place, where its family needs it."""
    kind, config = model.config.model_type, model.config
    if kind == "gpt_neo":
        for block in model.transformer.h:
            inner = block.attn.attention
            inner._attn = partial(_open_attention, inner)
            inner.window = config.window_size
            block.register_forward_pre_hook(_local, with_kwargs=True)
    elif kind == "bloom":
        base = model.transformer
        base.build_alibi_tensor = partial(_bloom_alibi, base.build_alibi_tensor)
    elif kind == "falcon" and config.alibi:
        for block in model.transformer.h:
            block.register_forward_pre_hook(_falcon_alibi, with_kwargs=True)
    elif kind == "mpt":
        for block in model.transformer.blocks:
            block.attn.forward = partial(_mpt_attention, block.attn)
            block.register_forward_pre_hook(_mpt_alibi, with_kwargs=True)
    elif kind == "rwkv":  # it would divide its weights in place at the first use, and be saved so
        config.rescale_every = 0


def _by_index(mask: Tensor) -> Seen:
    """The nodes of a plain text, from its causal mask [N, 1, K, S]."""
    total = torch.arange(mask.shape[-1], device=mask.device).expand(len(mask), -1)
    return Seen(mask, total[:, -mask.shape[-2] :], lambda: total)


# -------------------------------------------------------------------------------------- windows of GPT-Neo


def _local(block: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give a block the mask of its own layer, where the model gives all the causal one."""
    inner, mask = block.attn.attention, options["attention_mask"]
    rule: Rule = causal_mask_function
    if inner.attention_type == "local":
        rule = sliding_window_overlay(inner.window)
    return args, options | {"attention_mask": (seen_now() or _by_index(mask)).within(rule)}


def _open_attention(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """GPT-Neo's attention, whose scores are unscaled and float32, without the mask by node that its modules hold."""
    scores = query.float() @ key.float().transpose(-1, -2) + mask
    chances = module.attn_dropout(scores.softmax(-1).to(value.dtype))
    return chances @ value, chances


# ----------------------------------------------------------------------------------- ALiBi (arXiv 2108.12409)


def _at(table: Tensor, seen: Seen) -> Tensor:
    """The biases [N, H, 1, S] of keys at their depths, from those [H, L] at each depth."""
    return table[:, seen.keys()].transpose(0, 1)[:, :, None]


def _length(seen: Seen) -> int:
    """One more than the largest depth."""
    return int(seen.keys().max()) + 1


def _bloom_alibi(theirs: Any, mask: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Bloom's biases [N * H, 1, S]."""
    if (seen := seen_now()) is None:
        return theirs(mask, heads, dtype)  # type: ignore[no-any-return]
    table = theirs(mask.new_ones(1, _length(seen)), heads, dtype)[:, 0]
    return _at(table, seen).flatten(0, 1)


def _falcon_alibi(block: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give a block of Falcon a mask with the biases of its keys' depths."""
    if (seen := seen_now()) is None:
        return args, options
    hidden, heads = args[0], block.self_attention.num_heads
    make = sys.modules[type(block).__module__].build_alibi_tensor
    table = make(torch.ones(1, _length(seen), dtype=torch.long, device=hidden.device), heads, hidden.dtype)[:, 0]
    bias = _at(table, seen) / math.sqrt(block.self_attention.head_dim)
    low = torch.finfo(bias.dtype).min
    return args, options | {"attention_mask": bias.masked_fill(seen.added < -1, low)}


def _mpt_alibi(_: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give a block of MPT the biases [N, H, 1, S] of its keys' depths."""
    if (seen := seen_now()) is None:
        return args, options
    slopes = options["position_bias"][:, :, -1:] - options["position_bias"][:, :, -2:-1]  # [H, 1, 1]
    depth = torch.arange(_length(seen), device=slopes.device)
    return args, options | {"position_bias": _at(slopes[:, 0] * depth, seen)}


def _mpt_attention(
    module: Any,
    hidden_states: Tensor,
    position_bias: Tensor,
    past_key_values: Any = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """MPT's attention with a bias [N, H, 1, S], or its own [H, 1, L], whose last S are meant.

    attention_mask: [N, 1, K, S] bool, True where hidden.
    """
    rows, length = hidden_states.shape[:2]
    mixed = module.Wqkv(hidden_states)
    if module.clip_qkv:
        mixed = mixed.clamp(min=-module.clip_qkv, max=module.clip_qkv)
    query, key, value = (
        part.reshape(rows, length, module.n_heads, module.head_dim).transpose(1, 2) for part in mixed.chunk(3, dim=2)
    )
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, module.layer_idx)
    bias = position_bias if position_bias.ndim == 4 else position_bias[None, :, :, -key.shape[2] :]
    bias = bias.to(query.dtype)
    if attention_mask is not None:
        bias = bias.masked_fill(attention_mask, torch.finfo(query.dtype).min)
    found = scaled_dot_product_attention(query, key, value, bias, scale=module.softmax_scale)
    return module.out_proj(found.transpose(1, 2).flatten(2)), None
