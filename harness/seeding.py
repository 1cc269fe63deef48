"""Random streams by purpose: every use of a seed has its own, so that no two uses share random numbers."""

from __future__ import annotations

import numpy as np

from harness.hashing import content_hash


def key(*parts: int | str) -> int:
    """64 bits from a seed and its purpose: `key(seed, "replay", step)`; equal parts give equal bits."""
    return int(content_hash(list(parts)), 16)


def generator(*parts: int | str) -> np.random.Generator:
    """The stream of random numbers that belongs to these parts."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))
