"""The evaluation of a run: the split of its final scores, and the points of its training at which it is scored too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.config.section import Part

Split = Literal["test", "validation"]
POINTS = ("at_steps", "at_tokens", "at_seconds")


class EvaluationConfig(Part):
    """The split and the points of a run's scores.  The default, the test split after training, is in no run's hash.

    A run with points is scored there while it trains, and at its end, on the validation split; neither the time nor the
    tokens of it are part of the training budget, and the run's weights are the same as without points.
    """

    split: Split = Field(
        "test", description="split whose texts and prompts are used for the scores; validation is for runs that choose"
    )
    at_steps: tuple[int, ...] | None = Field(None, description="points in optimiser steps at which it is scored, too")
    at_tokens: tuple[int, ...] | None = Field(None, description="or in tokens, counted as training.tokens are")
    at_seconds: tuple[float, ...] | None = Field(None, description="or in seconds of training")
    at_metrics: tuple[str, ...] | None = Field(
        None, description="metrics at these points, of the run's own; default all of them"
    )

    @model_validator(mode="before")
    @classmethod
    def _single(cls, given: Any) -> Any:
        """Accept one point, or one metric, without its list."""
        if not isinstance(given, Mapping):
            return given
        lone = {key: given[key] for key in ("at_metrics", *POINTS) if isinstance(given.get(key), str | int | float)}
        return {**given, **{key: [value] for key, value in lone.items()}}

    @model_validator(mode="after")
    def _points(self) -> EvaluationConfig:
        units = [key for key in POINTS if getattr(self, key) is not None]
        if len(units) > 1:
            raise ValueError(f"points have one unit, got {' and '.join(units)}; keep one of them")
        for key in units:
            points = getattr(self, key)
            if not points or min(points) <= 0 or list(points) != sorted(set(points)):
                raise ValueError(f"{key}={list(points)} are no points; write rising positive numbers, as [1, 2]")
        if self.at_metrics is not None and not units:
            raise ValueError(f"at_metrics={list(self.at_metrics)} without points; add one of {', '.join(POINTS)}")
        return self

    @property
    def while_training(self) -> bool:
        """True if there are points."""
        return any(getattr(self, key) is not None for key in POINTS)

    @property
    def used(self) -> dict[str, Any]:
        """The fields that are not at their neutral values; empty for a run that is evaluated once, on test texts."""
        neutral = type(self)().model_dump(mode="json")
        return {key: value for key, value in self.model_dump(mode="json").items() if value != neutral[key]}
