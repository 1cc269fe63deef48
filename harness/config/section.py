"""The base of every section of a configuration, and the name of a plug-in with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Scalar: TypeAlias = bool | int | float | str | None


class Part(BaseModel):
    """A frozen section of a configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Plugin(Part):
    """The name of a plug-in and the options it declares, written `{name: ..., option: value}` or just `name`."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given, "options": {}}
        if isinstance(given, Mapping):
            if "name" not in given:
                raise ValueError("a plug-in needs a name: write {name: NAME, option: value}")
            options = given.get("options")
            if isinstance(options, Mapping) and set(given) == {"name", "options"}:
                return dict(given)
            return {"name": given["name"], "options": {k: v for k, v in given.items() if k != "name"}}
        raise ValueError("write the plug-in's name, or {name: NAME, option: value}")

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}
