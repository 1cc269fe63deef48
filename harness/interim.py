"""A policy's scores while it trains: at stated points of its budget and at its end, on the validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config import RunConfig
from harness.records import Score


@dataclass(frozen=True)
class Spent:
    """What training has taken so far: optimiser steps, nodes through the model, seconds."""

    step: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Interim:
    """Scores at one point of a run's training, and what training had taken by then; the scoring itself is not in it.

    `before` is what it had taken a step earlier: a run whose budget is above that would have come here, too, since a
    budget ends with the first step at or over it.
    """

    spent: Spent
    before: Spent
    scores: tuple[Score, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values that JSON holds exactly, NaN and infinities included."""
        scores = [dataclasses.asdict(score) for score in self.scores]
        told = [score | {"value": None if score["value"] is None else repr(score["value"])} for score in scores]
        return {"spent": dataclasses.asdict(self.spent), "before": dataclasses.asdict(self.before), "scores": told}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Interim:
        """The value that `as_json` was called on."""
        scores = [
            score | {"value": None if score["value"] is None else float(score["value"])} for score in given["scores"]
        ]
        return cls(Spent(**given["spent"]), Spent(**given["before"]), tuple(Score(**score) for score in scores))


def due(config: RunConfig, before: Spent, now: Spent, *, finished: bool) -> bool:
    """Whether a point at which the run is to be scored lies in (before, now]; where there are any, the end is one."""
    at = config.evaluation
    passed = (
        any(before.step < point <= now.step for point in at.at_steps or ()),
        any(before.tokens < point <= now.tokens for point in at.at_tokens or ()),
        any(before.seconds < point <= now.seconds for point in at.at_seconds or ()),
    )
    return any(passed) or (finished and at.while_training)
