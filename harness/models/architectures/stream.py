"""States in the order of a text, for models that cannot go back to an earlier one: every row grows at once.

The model's own cache holds them where it has one of transformers' common form; else every step computes the whole text
again, which is exact and slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.models.architectures.kinds import BROKEN, Kind, new_cache


class Stream:
    """M rows of equal length, to which tokens are added; rows can be dropped, tokens cannot."""

    def __init__(self, run: Callable[..., Tensor], config: Any, kind: Kind, *, cached: bool) -> None:
        """No tokens yet.

        Args:
            run: hidden states [M, K, F] of `input_ids` [M, K], with the options of the model's base.
            config: the model's.
            kind: the model's abilities.
            cached: True to use the model's cache, False to compute whole texts; see `steps_alike`.
        """
        self._run = run
        self._name, self._positions = kind.cache, kind.positions
        self._cache = new_cache(config) if cached else None
        self._ids: Tensor | None = None
        self._length = 0

    @property
    def cached(self) -> bool:
        """True if the model's cache holds the states."""
        return self._cache is not None

    def extend(self, ids: Tensor) -> Tensor:
        """Hidden states [M, K, F] of K more tokens of each row, [M, K] ids."""
        begin, self._length = self._length, self._length + ids.shape[1]
        if self._cache is None:
            self._ids = ids if self._ids is None else torch.cat([self._ids, ids], 1)
            return self._run(input_ids=self._ids, use_cache=False)[:, begin:]
        options = {str(self._name): self._cache, "use_cache": True}
        if self._positions:  # not every family counts on from its cache
            options["position_ids"] = torch.arange(begin, self._length, device=ids.device).expand(len(ids), -1)
        return self._run(input_ids=ids, **options)

    def batch_select_indices(self, index: Tensor) -> None:
        """Keep the rows at `index`, drop the others."""
        if self._cache is not None:
            self._cache.reorder_cache(index)  # a selection, for states of any form
        if self._ids is not None:
            self._ids = self._ids[index]


@torch.no_grad()
def steps_alike(run: Callable[..., Tensor], config: Any, kind: Kind, ids: Tensor) -> bool:
    """True if tokens one by one, with the model's cache, give what the whole text [1, K] gives, up to rounding.

    Not every cache takes single tokens, and not every family computes them as it computes a text.
    """
    if kind.cache is None:
        return False
    whole = run(input_ids=ids, use_cache=False)
    stream = Stream(run, config, kind, cached=True)
    try:
        steps = [stream.extend(ids[:, :2]), *(stream.extend(ids[:, t : t + 1]) for t in range(2, ids.shape[1]))]
    except BROKEN:
        return False
    rough = 1e-3 if torch.promote_types(whole.dtype, torch.float32) == whole.dtype else 5e-2
    return bool((torch.cat(steps, 1) - whole).abs().max() <= rough * whole.abs().max())
