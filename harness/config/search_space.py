"""The values among which tuning draws a setting: declared beside the field that holds it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel

DIGITS = 3  # significant digits of a drawn number: short enough to type again


@dataclass(frozen=True)
class Search:
    """A search space of one setting, in the field's annotation: `Annotated[float, Field(gt=0), Search(1e-3, 1)]`.

    Attributes:
        low: smallest value, or with `choices` unused.
        high: largest value.
        log: uniform in the logarithm, for settings whose order of magnitude matters.
        relative: `low` and `high` multiply the value that the configuration has, for settings whose right size depends
            on the model.
        choices: the values themselves, all alike; then there are no bounds.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    relative: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            return
        if not self.low < self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}; swap them, or give choices")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} has no logarithm; give a positive one, or log=False")

    def draw(self, rng: np.random.Generator, written: Any) -> Any:
        """One value; `written` is the one in the configuration."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        share = float(rng.random())
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value * (written if self.relative else 1.0):.{DIGITS}g}")

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        scale, times = ", by its logarithm" if self.log else "", " times the written value" if self.relative else ""
        return f"{self.low:g} to {self.high:g}{times}{scale}"


def searches(declaring: type[BaseModel] | Callable[..., Any]) -> dict[str, Search]:
    """The fields of a configuration section or of a plug-in that declare what may be tuned, in their order."""
    if isinstance(declaring, type) and issubclass(declaring, BaseModel):
        metadata = {name: field.metadata for name, field in declaring.model_fields.items()}
    elif dataclasses.is_dataclass(declaring):
        hints = get_type_hints(declaring, include_extras=True)
        names = [field.name for field in dataclasses.fields(declaring)]
        metadata = {name: list(getattr(hints[name], "__metadata__", ())) for name in names}
    else:
        return {}
    return {name: one for name, given in metadata.items() for one in given if isinstance(one, Search)}
