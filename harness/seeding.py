"""Randomness by purpose: every use of a seed has its own streams, so that no two uses share their numbers."""

from __future__ import annotations

import numpy as np

from harness.hashing import content_hash


def key(*parts: int | str) -> int:
    """64 bits from a seed and what it is used for: `key(seed, "replay", step)`; equal parts, equal bits."""
    return int(content_hash(list(parts)), 16)


def generator(*parts: int | str) -> np.random.Generator:
    """The stream of random numbers that belongs to these parts."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))
