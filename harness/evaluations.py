"""On which split a policy's final scores are, and at which points of its training it is scored before."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.sampling import Part

Split = Literal["test", "validation"]


class EvaluationConfig(Part):
    """What a run's scores are about.  The default, the test split after training, is in no run's hash."""

    split: Split = Field(
        "test", description="whose texts and prompts the scores are about; validation is for runs that choose"
    )

    @property
    def used(self) -> dict[str, Any]:
        """The fields that are not at their neutral values; empty for a run that is evaluated once, on test texts."""
        neutral = type(self)().model_dump(mode="json")
        return {key: value for key, value in self.model_dump(mode="json").items() if value != neutral[key]}
