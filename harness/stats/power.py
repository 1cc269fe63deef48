"""Power of the permutation test: the smallest difference that n seeds detect, and the seeds that a difference needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from harness.seeding import generator
from harness.stats.intervals import ROUNDING, check_share
from harness.stats.permutation import EXACT_UP_TO, _largest, _signs, _unit, smallest_p

COARSE = 10
"""Number of patterns within the level below which their discreteness decides the power, and it is simulated."""
POWER_BUDGET = 100_000_000
"""Statistics computed at most for the simulated families of one power: between 50 and `TRIALS` families."""
TRIALS = 2_000
"""Simulated comparisons behind a power; families are reused where the budget allows fewer."""


@lru_cache(maxsize=1024)
def detectable_effect(n: int, comparisons: int, power: float = 0.8, level: float = 0.05) -> float | None:
    """The smallest true difference that n seeds separate with this power, in sds of the paired differences.

    Assumes one true difference in a family of `comparisons` of which the others are equal, independent of it and
    normal; where comparisons share a group, as against one baseline, the power is a little larger.  From about 9 seeds
    on, the largest |t| has Sidak's quantile and the power is the noncentral t's; below, where few patterns of signs lie
    within the level, the flip test itself is simulated (fixed seed, +-2 %).  None where no n flips reach the level.
    The sd of a pair's differences is sqrt(2) of a group's where their noise is independent.

    Raises:
        ValueError: no comparison, a level outside (0, 1), or a power outside (level, 1).
    """
    check_share("level", level)
    if comparisons < 1 or not level < power < 1:
        raise ValueError(
            f"comparisons={comparisons}, power={power}; use at least 1 comparison and a power in ({level}, 1), say 0.8"
        )
    if n < 2 or smallest_p(n) > level:
        return None
    coarse = n <= EXACT_UP_TO and level * 2 ** (n - 1) < COARSE
    reach = _simulated_power(n, comparisons, level) if coarse else _t_power(n, comparisons, level)
    high = 1.0
    while reach(high) < power:
        high *= 2
    return float(optimize.bisect(lambda effect: reach(effect) - power, 0.0, high, xtol=1e-4))


def seeds_needed(
    effect: float, comparisons: int, power: float = 0.8, level: float = 0.05, cap: int = 100
) -> int | None:
    """The smallest n at which a true difference of `effect` is separated with this power (see `detectable_effect`).

    Never below the n where 2 / 2^n <= level, however large the effect (6 at 5 %).  None where more than `cap` seeds are
    needed, and for an undefined effect or one of 0.  An effect observed over few seeds (`Separation.effect`) is a rough
    guess, and so is what follows from it.

    Raises:
        ValueError: as `detectable_effect`.
    """
    for n in range(1, cap + 1):
        detectable = detectable_effect(n, comparisons, power, level)
        if detectable is not None and detectable <= abs(effect):
            return n
    return None


def _t_power(n: int, comparisons: int, level: float) -> Callable[[float], float]:
    """Power by effect of a t test at Sidak's level, in the direction of the effect."""
    critical = float(stats.t.isf((1 - (1 - level) ** (1 / comparisons)) / 2, n - 1))
    return lambda effect: float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))


def _simulated_power(n: int, comparisons: int, level: float) -> Callable[[float], float]:
    """Power by effect of the flip test itself, over the same simulated families at every effect."""
    draw, signs = generator("power", n, comparisons), _signs(n)
    noise = draw.normal(size=(TRIALS, n))
    families = np.zeros((min(TRIALS, max(50, POWER_BUDGET // (len(signs) * comparisons))), len(signs)))
    for family in families if comparisons > 1 else ():
        family[:] = _largest(_unit(draw.normal(size=(comparisons - 1, n))), signs)
    others = np.resize(families, (TRIALS, len(signs)))

    def power(effect: float) -> float:
        own = np.abs(_unit(noise + effect) @ signs.T)
        as_large = np.maximum(own, others) >= own[:, :1] - ROUNDING
        return float((as_large.mean(axis=1) <= level).mean())

    return power
