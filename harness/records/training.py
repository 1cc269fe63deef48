"""What training leaves: its steps, and scores at points of its budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.records.score import Score


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
