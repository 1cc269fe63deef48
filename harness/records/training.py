"""Records of training: its steps, what they spent, and interim scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.records.score import Score


@dataclass(frozen=True)
class Spent:
    """Budget spent by training so far: optimiser steps, nodes through the model, seconds."""

    step: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Interim:
    """Scores at one point of a run's training, and what training had spent by then, scoring excluded.

    `before` is what it had spent a step earlier: a run with a larger budget than that would have reached this point,
    too, since training ends with the first step at or over its budget.
    """

    spent: Spent
    before: Spent
    scores: tuple[Score, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values that JSON holds exactly, NaN and infinities included."""
        scores = [dataclasses.asdict(score) for score in self.scores]
        rows = [score | {"value": None if score["value"] is None else repr(score["value"])} for score in scores]
        return {"spent": dataclasses.asdict(self.spent), "before": dataclasses.asdict(self.before), "scores": rows}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Interim:
        """The value that `as_json` was called on."""
        scores = [
            score | {"value": None if score["value"] is None else float(score["value"])} for score in given["scores"]
        ]
        return cls(Spent(**given["spent"]), Spent(**given["before"]), tuple(Score(**score) for score in scores))


@dataclass(frozen=True)
class Step:
    """One optimiser step of a run.

    Attributes:
        step: optimiser steps so far, this one included.
        tokens: nodes through the model so far, without gradient and in the sampler included.
        seconds: time in training so far, sampling of the replay buffer included.
        loss: nats per (weighted) token.
        lr: learning rate of this step.
        terms: named parts of the loss and the trainer's diagnostics.
        progress: share of the budget used, in [0, 1].
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    lr: float
    terms: Mapping[str, float]
    progress: float = 0.0
