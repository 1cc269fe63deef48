"""Attention masks by position in the reduced text: windows and chunks count what is left of a text, not its nodes.

transformers describes the mask of each kind of layer as a rule on the positions of a query and a key.  Inside
`seeing(...)` the rules are applied to depths in the reduced text, beside what is visible at all; outside of it masks
are transformers' own.  The rule of every layer comes from the model's own code, so that no family is listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.masking_utils import causal_mask_function, eager_mask, sdpa_mask

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(row, head, query's position, key's position) -> True where a layer looks; arguments broadcast to [N, 1, K, S]."""


@dataclass(frozen=True)
class Seen:
    """The nodes that K queries see among S keys, and how deep in the reduced text all of them stand."""

    added: Tensor  # [N, 1, K, S] added to attention scores: 0 where visible, else the lowest number of its type
    query: Tensor  # [N, K] depth of each query
    keys: Callable[[], Tensor]  # gives the depth of each key, [N, S]; asked only where a layer does not look everywhere
    asked: list[bool] = field(default_factory=list)  # True for each mask that a model asked for and that is `added`

    def within(self, rule: Rule) -> Tensor:
        """The mask [N, 1, K, S] of layers with this rule, to be added."""
        self.asked.append(rule is causal_mask_function)
        if rule is causal_mask_function:  # a visible key is never deeper than its query
            return self.added
        row = torch.arange(len(self.query), device=self.query.device)[:, None, None, None]
        looks = rule(row, torch.zeros_like(row[:1]), self.query[:, None, :, None], self.keys()[:, None, None, :])
        return self.added.masked_fill(~looks, torch.finfo(self.added.dtype).min)


_SEEN: ContextVar[Seen | None] = ContextVar("seen", default=None)


@contextmanager
def seeing(seen: Seen) -> Iterator[None]:
    """Make models that run inside see this and nothing else."""
    token = _SEEN.set(seen)
    try:
        yield
    finally:
        _SEEN.reset(token)


def seen_now() -> Seen | None:
    """The innermost `seeing`, for a layer that uses its depths; None outside of any."""
    if (seen := _SEEN.get()) is not None:
        seen.asked.append(False)
    return seen


def _ours_inside(theirs: Callable[..., Any]) -> Callable[..., Any]:
    """A maker of masks that is `theirs` outside of `seeing`, and inside gives the mask of the rule by depth."""

    def make(*args: Any, mask_function: Rule = causal_mask_function, **options: Any) -> Any:
        seen = _SEEN.get()
        return theirs(*args, mask_function=mask_function, **options) if seen is None else seen.within(mask_function)

    return make


def register(name: str) -> None:
    """Let models with the attention implementation `name` have masks by depth."""
    transformers.AttentionMaskInterface.register(name, _ours_inside(eager_mask if name == "eager" else sdpa_mask))


for _name in ("sdpa", "eager"):
    register(_name)
