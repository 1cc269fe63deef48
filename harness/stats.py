"""How sure a mean over seeds is: Student's t interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided confidence interval over `n` values.

    `low` and `high` are None where no interval exists: one value has no spread, and neither has an infinite or
    undefined one.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's length, in the values' unit; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent values and its Student-t interval, `mean +- t(level, n - 1) * sd / sqrt(n)`.

    Over a handful of seeds this keeps its promised coverage; a bootstrap does not (49 % instead of 95 % at n = 2).

    Raises:
        ValueError: no values, or a level outside (0, 1).
    """
    if not values:
        raise ValueError("no values; a mean needs at least one")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not a probability; use a value in (0, 1), such as 0.95")
    n = len(values)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are answers here, not accidents
        mean = float(np.mean(values))
        deviation = float(np.std(values, ddof=1)) if n > 1 else math.nan
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n) if n > 1 else math.nan
    if not math.isfinite(mean) or not math.isfinite(half):
        return Interval(mean, None, None, n)
    return Interval(mean, mean - half, mean + half, n)
