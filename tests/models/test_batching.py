"""Batches by a budget of nodes, and by a number of rows."""

from __future__ import annotations

import pytest

from harness.models.batching import batches, slices


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([2, 2, 3, 4, 5], [[2, 2, 3], [4, 5]]),  # 3 x 3 = 9 nodes, 4 x 4 = 16 are too many; 2 x 5 = 10
        ([5, 4, 3, 2, 2], [[5, 4], [3, 2, 2]]),  # 3 x 5 = 15 are too many
        ([1, 9, 1], [[1], [9], [1]]),  # 2 x 9 = 18: the short one would be padded to 9
        ([11, 12], [[11], [12]]),  # longer than the budget: alone
    ],
)
def test_a_batch_holds_at_most_ten_nodes_with_its_padding(lengths: list[int], expected: list[list[int]]) -> None:
    assert list(batches(lengths, 10, lambda length: length)) == expected


def test_slices_hold_so_many_rows() -> None:
    assert list(slices("abcde", 2)) == ["ab", "cd", "e"]
    assert list(slices("", 2)) == []
