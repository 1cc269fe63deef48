"""Scores and profiles, with the full names that distinguish them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True)
class Score:
    """A final number with its definition, or None with the reason why there is none.

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
    """A point of a profile: the position, the value, and the number of texts or states it is computed from."""

    x: float
    value: float
    n: int


@dataclass(frozen=True)
class Profile:
    """A curve over position, length or strength of a perturbation, with its definition.

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
        """The full name, written like a score's."""
        return full_name(self.metric, self.definition, self.parameters)


def full_name(metric: str, definition: str, parameters: Mapping[str, Any]) -> str:
    """`metric@definition[parameter=value,...]`, parameters in alphabetical order."""
    inside = ",".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    return f"{metric}@{definition}" + (f"[{inside}]" if inside else "")
