"""The optimisation of a run: budget, optimiser, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.config.search_space import Search
from harness.config.section import Part


class TrainingConfig(Part):
    """Minimisation of a trainer's loss: AdamW with warm-up, a schedule and a budget in one of three units."""

    steps: int | None = Field(None, ge=0, description="budget in optimiser steps (default 400 when none is given)")
    tokens: int | None = Field(
        None, ge=1, description="budget in tokens through the model: with gradient, without, and in the sampler"
    )
    seconds: float | None = Field(None, gt=0, description="budget in seconds of training, sampling included")
    rows: int = Field(32, ge=1, description="expert rows per optimiser step")
    accumulation: int = Field(1, ge=1, description="micro-batches a step is computed in; no effect on the result")
    lr: Annotated[float, Search(0.1, 10, log=True, relative=True)] = Field(1e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the budget during which lr rises from 0")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    scope: Literal["full", "head"] = Field(
        "full", description="head trains the output layer (untied first) and the value head only"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_budget(cls, given: Any) -> Any:
        budget = ("steps", "tokens", "seconds")
        if isinstance(given, Mapping) and all(given.get(unit) is None for unit in budget):
            return {**given, "steps": 400}
        return given

    @model_validator(mode="after")
    def _one_budget(self) -> TrainingConfig:
        given = [unit for unit in ("steps", "tokens", "seconds") if getattr(self, unit) is not None]
        if len(given) != 1:
            both, other = " and ".join(given), given[0]
            raise ValueError(f"a budget has one unit, got {both}; keep one, as with training.{other}=null")
        if self.accumulation > self.rows:
            raise ValueError(f"accumulation={self.accumulation} micro-batches cannot share rows={self.rows} rows")
        return self
