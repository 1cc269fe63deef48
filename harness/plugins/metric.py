"""What a metric is: named numbers from an evaluation, each with unit and direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.records.evaluation import Evaluation
from harness.records.score import Point


class Unscorable(Exception):
    """A metric has no value here; its message is stored as the reason and no number is invented."""


@dataclass(frozen=True)
class Measure:
    """One number that a metric reports: its unit, which way is better, and what it says in one sentence."""

    unit: str
    direction: Literal["higher", "lower", "reference"]
    summary: str


@dataclass(frozen=True)
class ProfileMeasure(Measure):
    """A measure by position: `axis` says what the points' x is, such as `position (tokens)`."""

    axis: str


def measured(parts: Mapping[str, Callable[[], float]]) -> dict[str, float | Unscorable]:
    """Each number, or why that one has none: 16-grams may be missing from texts that hold 8-grams.

    Raises:
        Unscorable: none has a value; the first one's reason.
    """
    found: dict[str, float | Unscorable] = {}
    for name, compute in parts.items():
        try:
            found[name] = compute()
        except Unscorable as reason:
            found[name] = reason
    first = next(iter(found.values()))
    if isinstance(first, Unscorable) and all(isinstance(value, Unscorable) for value in found.values()):
        raise first
    return found


def against(evaluation: Evaluation) -> dict[str, Any]:
    """How many references there are, as it stands in the name of what looks at them; those in pairs are the texts'."""
    return {} if evaluation.in_pairs or not evaluation.references else {"references": len(evaluation.references)}


class Metric(Protocol):
    """A definition that turns an evaluation into one or more named numbers that one computation yields.

    `definition` names how it is computed (a dataclass field where a metric has several), `parameters` what the
    number depends on; both stand in the stored name.  `measure` raises `Unscorable` with a reason where there is
    nothing to measure, and gives one in place of a number that alone has no value.  What looks at texts reads
    `evaluation.texts` and `.references`, which also hold texts that came without a policy; only what looks at actions
    reads `evaluation.rollouts`.
    """

    measures: ClassVar[Mapping[str, Measure]]

    @property
    def definition(self) -> str:
        """The name of this way to compute the metric."""

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """What the number depends on beside the texts."""

    def count(self, evaluation: Evaluation) -> int:
        """How many texts, documents or states the number is computed from."""

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """One number for each key of `measures`, or the reason why that one alone has no value."""


@runtime_checkable
class Profiled(Metric, Protocol):
    """A metric that also gives numbers by position, stored with the run as curves."""

    profile_measures: ClassVar[Mapping[str, ProfileMeasure]]

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """Points in order of x, for each key of `profile_measures`; `Unscorable` as `measure`."""
