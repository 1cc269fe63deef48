"""The contract of a metric: named numbers from an evaluation, each with its unit and its better direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.records.evaluation import Evaluation
from harness.records.score import Point

REFERENCE_LM = "reference-lm"  # the featuriser that belongs to a benchmark, trained on its training split


class Unscorable(Exception):
    """A metric has no value; the message is stored as the reason in place of a number."""


@dataclass(frozen=True)
class Measure:
    """One number that a metric reports: its unit, its better direction and a summary of one sentence.

    `reference` as direction: best is closest to the human texts' value.
    """

    unit: str
    direction: Literal["higher", "lower", "reference"]
    summary: str


@dataclass(frozen=True)
class ProfileMeasure(Measure):
    """A measure by position; `axis` names the points' x and its unit, such as `position (tokens)`."""

    axis: str


def measured(parts: Mapping[str, Callable[[], float]]) -> dict[str, float | Unscorable]:
    """Compute several numbers; each is a value or its own reason (texts with 8-grams may have no 16-grams).

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
    """The `references=N` part of a score's name; empty without references, and where each is paired with a text."""
    return {} if evaluation.in_pairs or not evaluation.references else {"references": len(evaluation.references)}


class Metric(Protocol):
    """A computation that turns an evaluation into one or more named numbers.

    `definition` and `parameters` are parts of the stored name.  A metric of texts reads `evaluation.texts` and
    `.references`, which also hold texts that came without a policy; only a metric of actions reads
    `evaluation.rollouts`.
    """

    measures: ClassVar[Mapping[str, Measure]]

    @property
    def definition(self) -> str:
        """Name of this way to compute the metric; a dataclass field where the metric has several."""

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Values that the number depends on beside the texts."""

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts, documents or states that the number is computed from."""

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """One number for each key of `measures`, or the reason why that one has no value.

        Raises:
            Unscorable: there is nothing to measure at all.
        """


@runtime_checkable
class Profiled(Metric, Protocol):
    """A metric that also gives numbers by position, stored with the run as curves."""

    profile_measures: ClassVar[Mapping[str, ProfileMeasure]]

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """Points in order of x, for each key of `profile_measures`; `Unscorable` as `measure`."""
