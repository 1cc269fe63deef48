"""Scores and profiles, with the full names that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True)
class Score:
    """One final number with its definition, or None with the reason why there is none.

    `n` is the number of texts (or documents, or states) it is computed from; `direction` is `higher`, `lower` or
    `reference` (closest to the human reference's value, which the same metric gives on the references).
    """

    metric: str
    definition: str
    parameters: Mapping[str, Any]
    value: float | None
    reason: str | None
    n: int
    unit: str
    direction: Literal["higher", "lower", "reference"]
    texts_hash: str

    @property
    def name(self) -> str:
        """The full name, `metric@definition[parameter=value,...]`: scores of different names never share a column."""
        return full_name(self.metric, self.definition, self.parameters)


class Point(NamedTuple):
    """One point of a profile: where, how much, and from how many texts or states."""

    x: float
    value: float
    n: int


@dataclass(frozen=True)
class Profile:
    """A number by position, length or strength of a disturbance, with its definition: the curves that a run leaves.

    `axis` says what `x` is, with its unit; the rest is as in `Score`.
    """

    metric: str
    definition: str
    parameters: Mapping[str, Any]
    axis: str
    unit: str
    direction: Literal["higher", "lower", "reference"]
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """The full name, as a score's."""
        return full_name(self.metric, self.definition, self.parameters)


def full_name(metric: str, definition: str, parameters: Mapping[str, Any]) -> str:
    """`metric@definition[parameter=value,...]`, parameters in alphabetical order."""
    inside = ",".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    return f"{metric}@{definition}" + (f"[{inside}]" if inside else "")
