"""Tied ranks of a column's rows over shared seeds, and differences from one row.

Rows are paired by their seeds: the comparison uses the seeds that all rows share.  A row that shares too few to be
separated from anything would take the others' seeds away; it stays in the count of rows, and ties with every row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from harness.stats.intervals import Interval
from harness.stats.permutation import Separation, separations, smallest_p
from harness.stats.power import seeds_needed
from harness.stats.simultaneous import LEVEL, simultaneous_intervals

SEEDS_NEEDED = next(n for n in itertools.count(1) if smallest_p(n) <= LEVEL)
"""The fewest seeds whose sign flips can reach p <= .05."""
RANKED_ROWS = 200
"""Most rows that are ranked: every pair is compared."""

TELLING = 3
"""Fewest seeds on which a standardised effect is worth mentioning: two give it no digits at all."""
LARGE_FAMILY = 500
"""Comparisons beyond which no power is stated: simulating it would take seconds."""

BySeeds: TypeAlias = Mapping[int, float]


@dataclass(frozen=True)
class Pairing:
    """Rows of a table that can be compared, and the seeds that they share.

    Attributes:
        members: indices of the rows that share `seeds`.
        seeds: what all members have.
        apart: rows with numbers, but at too few of the seeds to be separated from anything.
        unused: how many seeds of members are left out because not every member has them.
    """

    members: tuple[int, ...]
    seeds: tuple[int, ...]
    apart: tuple[int, ...]
    unused: int


@dataclass(frozen=True)
class Ranking:
    """A column's ranks: `ranks[row]` is (best, worst), and `wins` holds (better, worse) for each separated pair."""

    pairing: Pairing
    ranks: Mapping[int, tuple[int, int]]
    wins: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Difference:
    """A row minus another over the seeds that both have, as one comparison of a family of so many.

    `interval` is the mean, in the score's unit, with the simultaneous 95 % interval of the family: it leaves 0 out
    exactly where the two are separated.  `found.difference` has the single one.
    """

    found: Separation
    family: int
    interval: Interval

    @property
    def separated(self) -> bool:
        """True if the data support that the two differ: p, adjusted for the family, is at most .05."""
        return self.found.p <= LEVEL

    @property
    def seeds_needed(self) -> int | None:
        """About how many seeds separate the two with probability .8, if the true effect is the observed one.

        None where that is unknown, out of reach or, in a family beyond `LARGE_FAMILY`, slow to say; on fewer than
        `TELLING` seeds; and without any spread, whose effect is infinite.  On few seeds it is a rough guess.
        """
        effect = self.found.effect
        if effect is None or not math.isfinite(effect) or self.found.n < TELLING or self.family > LARGE_FAMILY:
            return None
        return seeds_needed(effect, self.family)


def pair(values: Mapping[int, BySeeds], keep: int | None = None) -> Pairing:
    """Choose rows and shared seeds; `values[row]` holds the row's number at each of its seeds.

    All rows are members, unless they share fewer than `SEEDS_NEEDED` seeds and those rows that have the most do
    share enough.  `keep` is a member in any case.
    """
    rows = [row for row, found in values.items() if found]
    if not rows:
        return Pairing((), (), (), 0)
    for fewest in sorted({len(values[row]) for row in rows}):
        members = [row for row in rows if len(values[row]) >= fewest or row == keep]
        shared = _shared(values, members)
        if len(shared) >= SEEDS_NEEDED and len(members) > 1:
            break
    else:  # no row can be separated, so no row is left out for the others' sake
        members, shared = rows, _shared(values, rows)
    known = {seeds for row in members for seeds in values[row]}
    chosen = set(members)
    apart = tuple(row for row in rows if row not in chosen)
    return Pairing(tuple(members), tuple(sorted(shared)), apart, len(known - shared))


def rank(values: Mapping[int, BySeeds], higher_is_better: bool) -> Ranking | None:
    """Tied ranks of the rows that have numbers; None where there is nothing to rank, or too much (`RANKED_ROWS`).

    A row's rank is [1 + rows significantly better, rows - rows significantly worse]; the family is all pairs.
    """
    pairing = pair(values)
    members = pairing.members
    count = len(members) + len(pairing.apart)
    if not 2 <= count <= RANKED_ROWS:
        return None
    wins = []
    if len(pairing.seeds) >= SEEDS_NEEDED:
        pairs = list(itertools.combinations(range(len(members)), 2))
        table = [[values[row][seeds] for seeds in pairing.seeds] for row in members]
        for (a, b), found in zip(pairs, separations(table, pairs), strict=True):
            if found.p <= LEVEL:
                first_wins = (found.difference.mean > 0) == higher_is_better
                wins.append((members[a], members[b]) if first_wins else (members[b], members[a]))
    ranks = dict.fromkeys((*members, *pairing.apart), (1, count))
    for better, worse in wins:
        ranks[better] = (ranks[better][0], ranks[better][1] - 1)
        ranks[worse] = (ranks[worse][0] + 1, ranks[worse][1])
    return Ranking(pairing, ranks, tuple(wins))


def differences(values: Mapping[int, BySeeds], base: int) -> dict[int, Difference]:
    """Every row minus the base row; the family is these pairs.

    A row that shares too few seeds with the others has p = 1 and the interval over the seeds it shares with the base.
    """
    pairing = pair(values, keep=base)
    others = [row for row in pairing.members if row != base]
    if base not in pairing.members or not (others or pairing.apart):
        return {}
    family = len(others) + len(pairing.apart)
    rows = [[values[row][seeds] for seeds in pairing.seeds] for row in (base, *others)]
    found = separations(rows, [(i + 1, 0) for i in range(len(others))])
    for row in pairing.apart:
        shared = sorted(_shared(values, [base, row]))
        (one,) = separations([[values[i][seeds] for seeds in shared] for i in (base, row)], [(1, 0)])
        found.append(replace(one, p=1.0))
    intervals = simultaneous_intervals(found)
    compared = zip((*others, *pairing.apart), found, intervals, strict=True)
    return {row: Difference(one, family, interval) for row, one, interval in compared}


def _shared(values: Mapping[int, BySeeds], rows: Sequence[int]) -> set[int]:
    first = values[rows[0]].keys()
    if all(values[row].keys() == first for row in rows):  # as is usual, and quick for long tables
        return set(first)
    return set.intersection(*(set(values[row]) for row in rows))
