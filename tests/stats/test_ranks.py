"""Rows are ranked as far as the seeds that they share allow, and no further."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.permutation import rank_intervals
from harness.stats.ranks import RANKED_ROWS, SEEDS_NEEDED, differences, pair, rank


def rows(*values: list[float]) -> dict[int, dict[int, float]]:
    """Row i's values at seeds 0, 1, ..."""
    return {i: dict(enumerate(row)) for i, row in enumerate(values)}


def test_six_seeds_can_separate_two_rows_and_five_cannot() -> None:
    """Always one better: p = 2 / 2**6 = .03125 <= .05, and 2 / 2**5 = .0625 > .05."""
    low, high = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    assert SEEDS_NEEDED == 6
    found = rank(rows(low, high), higher_is_better=True)
    assert found is not None
    assert (found.ranks, found.wins) == ({0: (2, 2), 1: (1, 1)}, ((1, 0),))
    lower = rank(rows(low, high), higher_is_better=False)
    assert lower is not None
    assert (lower.ranks, lower.wins) == ({0: (1, 1), 1: (2, 2)}, ((0, 1),))
    five = rank(rows(low[:5], high[:5]), higher_is_better=True)
    assert five is not None
    assert (five.ranks, five.wins) == ({0: (1, 2), 1: (1, 2)}, ())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ranks_are_those_of_the_statistics(data: st.DataObject) -> None:
    """Complete tables, with ties, up to large shifts: the same intervals as `stats.rank_intervals`, which counts."""
    groups, n = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 7))
    number = st.integers(-3, 3)
    table = [
        [data.draw(number) + shift for _ in range(n)]
        for shift in data.draw(st.lists(st.sampled_from([0.0, 2.0, 40.0]), min_size=groups, max_size=groups))
    ]
    better = data.draw(st.booleans())
    found = rank(rows(*table), better)
    assert found is not None
    assert [found.ranks[i] for i in range(groups)] == rank_intervals(table, better)


def test_an_unfinished_row_does_not_take_the_others_their_seeds() -> None:
    """Two rows with 6 seeds are separated; the third has 2 of them: its rank is 1 to 3, and theirs count it."""
    found = rank(rows([0.0] * 6, [1.0] * 6, [9.0, 9.0]), higher_is_better=True)
    assert found is not None
    assert (found.pairing.members, found.pairing.apart) == ((0, 1), (2,))
    assert found.ranks == {0: (2, 3), 1: (1, 2), 2: (1, 3)}


def test_seeds_that_not_all_rows_have_are_left_out_and_counted() -> None:
    found = pair({0: dict.fromkeys(range(8), 0.0), 1: dict.fromkeys(range(1, 8), 0.0), 2: {}})
    assert (found.members, found.seeds, found.apart, found.unused) == ((0, 1), tuple(range(1, 8)), (), 1)


def test_where_nobody_can_be_separated_nobody_is_set_apart() -> None:
    found = pair(rows([1.0] * 4, [1.0] * 2))
    assert (found.members, found.seeds, found.unused) == ((0, 1), (0, 1), 2)
    assert pair({0: {}, 1: {}}).members == ()
    disjoint = rank({0: {0: 1.0}, 1: {1: 2.0}}, True)
    assert disjoint is not None
    assert disjoint.ranks == {0: (1, 2), 1: (1, 2)}


def test_a_diverged_row_ties_with_all_and_harms_nobody() -> None:
    found = rank(rows([0.0] * 6, [1.0] * 6, [math.inf, *[0.5] * 5]), higher_is_better=False)
    assert found is not None
    assert found.ranks == {0: (1, 2), 1: (2, 3), 2: (1, 3)}


def test_one_row_and_very_many_have_no_ranks() -> None:
    assert rank(rows([1.0] * 6), True) is None
    assert rank({i: {0: 1.0} for i in range(RANKED_ROWS)}, True) is not None
    assert rank({i: {0: 1.0} for i in range(RANKED_ROWS + 1)}, True) is None


def test_differences_are_row_minus_base_with_the_familys_p() -> None:
    """Row 1 is one more at each of 6 seeds; row 2 is equal; the family has two comparisons, and p stays 2 / 64."""
    base = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = differences(rows(base, [value + 1 for value in base], base), 0)
    assert set(found) == {1, 2}
    one = found[1]
    assert one.interval.mean == pytest.approx(1)
    assert (one.found.n, one.found.p, one.family, one.separated) == (6, 2 / 64, 2, True)
    assert (found[2].interval.mean, found[2].found.p, found[2].seeds_needed) == (0, 1, None)


def test_a_row_that_shares_too_little_with_the_base_is_not_separated_from_it() -> None:
    """A row that is 5 more at both seeds it has, and still p = 1."""
    found = differences(rows([0.0] * 6, [1.0] * 6, [5.0, 5.0]), 0)
    assert (found[2].interval.mean, found[2].found.n, found[2].found.p) == (5, 2, 1.0)
    assert found[1].separated
    assert differences(rows([], [1.0] * 6), 0) == {}


def test_how_many_seeds_a_difference_takes_is_said_for_families_of_usual_size() -> None:
    """Alternately 1 and 0 more: mean .5, sd .53, an effect of .83: one comparison takes more than 8 seeds for that."""
    seeds = differences(rows([0.0] * 8, [1.0, 0.0] * 4), 0)[1].seeds_needed
    assert seeds is not None
    assert 8 < seeds < 30
    large = {i: dict(enumerate([1.0, 0.0] * 4)) for i in range(1, 600)}
    assert differences({0: dict.fromkeys(range(8), 0.0), **large}, 0)[1].seeds_needed is None
