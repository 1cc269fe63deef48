"""Batches for forward passes: texts of similar length, as many as a pass or its logits may hold.

A text's numbers depend in their last bits on the batch around it, so budgets and order are part of a seed's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

BATCH_LOGITS = 2**25  # logits held at once: 128 MiB in float32
BATCH_ROWS = 256  # rows of one forward pass where their lengths are not looked at

T = TypeVar("T")


def batches(texts: Iterable[T], nodes: int, length: Callable[[T], int]) -> Iterator[list[T]]:
    """Consecutive texts with at most `nodes` nodes together, or one longer text; every row is as wide as the longest.

    Texts that come in the order of their `length`, in nodes, have least padding.
    """
    batch: list[T] = []
    width = 0
    for text in texts:
        width = max(width, length(text))
        if batch and (len(batch) + 1) * width > nodes:
            yield batch
            batch, width = [], length(text)
        batch.append(text)
    if batch:
        yield batch


def slices(texts: Sequence[T], rows: int) -> Iterator[Sequence[T]]:
    """Consecutive texts, `rows` at a time."""
    return (texts[begin : begin + rows] for begin in range(0, len(texts), rows))
