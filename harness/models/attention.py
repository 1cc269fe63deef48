"""Attention under deletion masks in blocks of queries, and a cache of keys and values that is written in place.

A kernel that takes any mask computes all T^2 pairs, where the plain causal kernel leaves out the half above the
diagonal.  A mask of deletions is causal, too: the queries of a block see no key after it.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.models.architectures import masks

NAME = "sdpa_in_blocks"
BLOCK = 256  # queries, about; smaller ones compute fewer pairs, but spend more on each of them
CAPACITY = 64  # nodes that a cache can hold at first; it doubles


def in_blocks(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention [N, T, H, D] from [N, H, T, D] under masks in which no query sees a later key.

    attention_mask: [N, 1, T, S], added to the scores; None is the plain causal mask.
    """
    length = query.shape[2]
    if length == 1 and attention_mask is not None and query.device.type == "cpu":
        return _of_one(query, key, value, attention_mask, options["scaling"]), None
    count = round(length / BLOCK)
    if attention_mask is None or count < 2 or key.shape[2] != length:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    found = []
    for begin in range(0, length, size := -(-length // count)):
        end = min(begin + size, length)
        seen = key[:, :, :end], value[:, :, :end], attention_mask[:, :, begin:end, :end]
        found.append(sdpa_attention_forward(module, query[:, :, begin:end], *seen, **options)[0])
    return torch.cat(found, 1), None


def _of_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Attention [N, 1, H, D'] of a single query, whose heads may share keys [N, G, S, D] and values [N, G, S, D'].

    Two batched products.

    A processor's kernel for any number of queries spends more on each pair of row and head than the pair itself takes.
    """
    rows, heads, _, width = query.shape
    shared = key.shape[1]
    scores = torch.bmm((query * scaling).reshape(rows * shared, -1, width), key.flatten(0, 1).mT)
    scores.view(rows, heads, -1).add_(mask[:, 0])
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).view(rows, 1, heads, value.shape[-1])


transformers.AttentionInterface.register(NAME, in_blocks)
masks.register(NAME)


def attend_in_blocks(model: Any) -> None:
    """Make a model attend in blocks, if it would use torch's own attention."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


class _Growing(DynamicLayer):  # type: ignore[misc]
    """Keys and values [N, H, S, D] in buffers that double; transformers' own layer copies them all for every node."""

    _buffers: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append nodes."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self._buffers or end > self._buffers[0].shape[-2]:
            grown = []
            for old, new in ((self.keys, key_states), (self.values, value_states)):
                buffer = new.new_empty(*new.shape[:2], max(CAPACITY, 2 * begin, end), new.shape[-1])
                if begin:
                    buffer[:, :, :begin] = old
                grown.append(buffer)
            self._buffers = tuple(grown)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = new
        self._view(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at `indices`, drop the others."""
        end = self.get_seq_length()
        self._buffers = tuple(buffer[indices] for buffer in self._buffers)
        if self._buffers:
            self._view(end)

    def _view(self, end: int) -> None:
        """Make keys and values the first `end` nodes of the buffers."""
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)


class Nodes(transformers.DynamicCache):  # type: ignore[misc]
    """Keys and values of nodes, and the depth of each in the reduced text.

    A layer with a window keeps every node: deleted nodes and padding are nodes, too, so that the last ones would not
    be those in its window.
    """

    layers: list[Any]

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self._depths: list[Tensor] = []  # of consecutive nodes, joined where they are asked for
        self.layers = [
            _Growing() if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) else layer for layer in self.layers
        ]

    def join(self, depths: Tensor) -> None:
        """Note the depths [N, K] of K new nodes."""
        self._depths.append(depths)

    def depths(self) -> Tensor:
        """Depths [N, S] of all nodes."""
        self._depths = [torch.cat(self._depths, 1)]
        return self._depths[0]

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last nodes, `-tokens_to_remove` of them."""
        super().crop(tokens_to_remove)
        if self._depths:
            self._depths = [self.depths()[:, :tokens_to_remove]]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at `indices`, drop the others."""
        super().batch_select_indices(indices)
        if self._depths:
            self._depths = [self.depths()[indices]]


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """The number added to attention scores: 0 where `visible`, else the lowest of the type."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)
