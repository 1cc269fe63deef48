"""The action space of a run: `<backspace>`, and the mistakes that are injected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from harness.config.search_space import Search
from harness.config.section import Part


class ActionConfig(Part):
    """The action space and the mistakes injected into expert texts (arXiv 2306.05426, section 4.2).

    Without `<backspace>` there is nothing to inject, so the noise fields fall to their neutral values and two
    configurations that differ only there are one run.
    """

    backspace: bool = Field(False, description="add the <backspace> action, which deletes the last token")
    noise_rate: Annotated[float, Search(0.02, 0.3, log=True)] = Field(
        0.05, ge=0, lt=1, description="probability of an injected mistake, per position"
    )
    noise_kind: Literal["uniform", "unigram", "policy", "ground_truth"] = Field(
        "uniform", description="where a wrong token comes from"
    )
    noise_run: int = Field(1, ge=1, description="longest run of mistakes; its length is uniform in 1..noise_run")
    context_noise: Annotated[float, Search(0.02, 0.3, log=True)] = Field(
        0.0, ge=0, lt=1, description="without <backspace>: share of context tokens that are seen wrong, labels clean"
    )

    @model_validator(mode="before")
    @classmethod
    def _neutral(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and _is_false(given.get("backspace", False)):
            kind = {} if given.get("context_noise") else {"noise_kind": "uniform"}
            return {**given, "noise_rate": 0.0, "noise_run": 1, **kind}
        return given

    @model_validator(mode="after")
    def _one_noise(self) -> ActionConfig:
        if self.backspace and self.context_noise:
            raise ValueError(
                f"context_noise={self.context_noise:g} is the control without <backspace>; with it mistakes are "
                "injected and mended: use noise_rate, or backspace: false"
            )
        return self


def _is_false(value: Any) -> bool:
    """True if pydantic reads the value as False: `no` and `off` among them."""
    try:
        return TypeAdapter(bool).validate_python(value) is False
    except ValidationError:
        return False  # the field's own check says what is wrong with it
