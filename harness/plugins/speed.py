"""Timed comparisons of two ways to do one thing, in turn in one process: the ratio of their times and its range.

The speed of a shared machine drifts, so that single times are unreliable.  Ours and theirs take turns (A B A B), each
pair gives a ratio, and the median of the ratios is the result.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.errors import UnknownName, did_you_mean
from harness.registry import SPEED

ROUNDS = 5

Turn = Callable[[], float]
"""One measurement: do the thing once and return the number in the comparison's unit."""


@dataclass(frozen=True)
class Environment:
    """A comparison's environment: a torch device, and a folder that is deleted afterwards."""

    device: str
    folder: Path


class Unavailable(Exception):
    """A comparison that this machine cannot make; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class SpeedComparison:
    """Two ways to do one thing and a bound on the ratio of their numbers: one row of `benchmarks/speed`'s table.

    Attributes:
        what: ours, in a few words.
        against: theirs; empty where the target is a bound on our own number.
        unit: of both numbers.
        target: bound on ours / theirs, or on ours.
        better: `higher` where the target is the least value that meets it, `lower` where it is the most.
        prepare: makes the two turns (theirs None where there is nothing to compare with); its own time is not counted.
        devices: where it can be made.
        warmup: whether a first round is left out.
    """

    what: str
    against: str
    unit: str
    target: float
    better: Literal["higher", "lower"]
    prepare: Callable[[Environment], tuple[Turn, Turn | None]]
    devices: tuple[str, ...] = ("cpu",)
    warmup: bool = True


@dataclass(frozen=True)
class SpeedRow:
    """A comparison's result: medians over the rounds, and the median ratio of a round's pair with its range.

    Where nothing is compared, `ratio`, `low` and `high` are None.  `ours` and `met` are None where it could not be
    measured; `reason` has the cause.
    """

    name: str
    what: str
    against: str
    unit: str
    target: float
    better: Literal["higher", "lower"]
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    met: bool | None = None
    rounds: int = 0
    device: str = ""
    reason: str = ""


def time_comparisons(names: Sequence[str], device: str, rounds: int = ROUNDS) -> Iterator[SpeedRow]:
    """Make the named comparisons, or every registered one; one row each, as it is done.

    Raises:
        UnknownName: no comparison has that name.
    """
    for name in names:
        if name not in SPEED:
            raise UnknownName(f"unknown row {name!r}; {did_you_mean(name, SPEED)}")
    for name in names or SPEED:
        yield time_comparison(name, SPEED[name], device, rounds)


def time_comparison(name: str, comparison: SpeedComparison, device: str, rounds: int) -> SpeedRow:
    """Make one comparison, on `device` or, where it is about another device, on that one."""
    row = SpeedRow(name, comparison.what, comparison.against, comparison.unit, comparison.target, comparison.better)
    device = device if device in comparison.devices else comparison.devices[0]
    row = replace(row, device=device)
    with tempfile.TemporaryDirectory() as folder:
        try:
            ours, theirs = comparison.prepare(Environment(device, Path(folder)))
            turns = [ours] if theirs is None else [ours, theirs]
            if comparison.warmup:
                for turn in turns:
                    turn()
            found = [[turn() for turn in turns] for _ in range(rounds)]
        except Unavailable as why:
            return replace(row, reason=str(why))
        except Exception as error:  # such as too little memory: the other rows can still be measured
            return replace(row, reason=f"{type(error).__name__}: {error}")
    own, others = (statistics.median(pair[i] for pair in found) for i in (0, -1))
    if theirs is None:
        return replace(row, ours=own, met=_met(own, comparison), rounds=rounds)
    ratios = [pair[0] / pair[1] for pair in found]
    ratio = statistics.median(ratios)
    return replace(
        row,
        ours=own,
        theirs=others,
        ratio=ratio,
        low=min(ratios),
        high=max(ratios),
        met=_met(ratio, comparison),
        rounds=rounds,
    )


def _met(value: float, comparison: SpeedComparison) -> bool:
    return value >= comparison.target if comparison.better == "higher" else value <= comparison.target
