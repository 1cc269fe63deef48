"""The sampling of a run: the decoder, and what shapes the distribution from which it draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.config.section import Part, Scalar
from harness.errors import ConfigError, did_you_mean

LATER_FIELDS = frozenset(  # in a run's hash only where used
    {"decoder", "min_p", "typical_p", "eta", "penalty_alpha", "backspace_bias", "best_of", "reject"}
)
_SHAPING = ("backspace_bias", "temperature", "top_k", "top_p", "min_p", "typical_p", "eta")
_CHOOSING = ("best_of", "reject")


class SamplingConfig(Part):
    """Sampling of the rollouts that metrics see.  The default is ancestral: nothing truncated.

    The fields that shape the distribution apply in this order: backspace_bias, then transformers' own: temperature,
    top_k, top_p, min_p, typical_p, eta.
    """

    rollouts: int = Field(256, ge=2, description="texts sampled for the metrics, at most one per prompt")
    decoder: Literal["sample", "greedy", "contrastive"] = Field(
        "sample", description="draw; take the likeliest action; or contrastive search, arXiv 2202.06417"
    )
    temperature: float | Literal["best"] = Field(
        1.0, description="> 0; best: chosen on the validation split by the benchmark's selection metric"
    )
    top_k: int = Field(
        0, ge=0, description="keep the k likeliest actions; 0 keeps all; for contrastive its candidates, default 4"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="keep the smallest set of actions with this mass")
    min_p: float = Field(0.0, ge=0, le=1, description="keep actions at least this times as likely as the likeliest")
    typical_p: float = Field(
        1.0, gt=0, le=1, description="keep this mass of the actions whose surprise is nearest to the entropy"
    )
    eta: float = Field(
        0.0, ge=0, lt=1, description="drop actions below min(eta, sqrt(eta) exp(-entropy)), arXiv 2210.15191"
    )
    penalty_alpha: float | None = Field(
        None, gt=0, le=1, description="contrastive only: weight of the likeness to earlier states; default 0.6"
    )
    backspace_bias: float | Literal["masked"] = Field(
        0.0, description="added to the logit of <backspace>; masked: it is never drawn"
    )
    best_of: int = Field(
        1,
        ge=1,
        description="texts written per prompt, of which the likeliest per action is kept",
    )
    reject: float = Field(
        0.0, ge=0, lt=1, description="share of texts, the least likely per action, thrown away and written once more"
    )
    length: int | None = Field(None, ge=1, description="longest reduced text after the prompt, in tokens; "
                               "default: what the context holds")  # fmt: skip

    @property
    def decoding(self) -> dict[str, Scalar]:
        """The fields that shape the rollouts and are not at their neutral values; empty for ancestral sampling."""
        values = {key: getattr(self, key) for key in ("decoder", *_SHAPING, "penalty_alpha", *_CHOOSING)}
        return {key: value for key, value in values.items() if value != type(self).model_fields[key].default}

    @field_validator("temperature", mode="plain")
    @classmethod
    def _positive_or_best(cls, given: Any) -> float | str:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if given != "best" and not (number and given > 0):
            greedy = "; the likeliest action every time is decoder=greedy, without a temperature"
            raise ValueError(f"write a number greater than 0, or best{greedy if number and given == 0 else ''}")
        return float(given) if number else "best"

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("decoder") != "contrastive":
            return given
        filled = {key: value for key, value in given.items() if value is not None}
        return {"penalty_alpha": 0.6, **filled, "top_k": filled.get("top_k") or 4}

    @model_validator(mode="after")
    def _consistent(self) -> SamplingConfig:
        used = {"sample": (*_SHAPING, *_CHOOSING), "greedy": (), "contrastive": ("top_k", "penalty_alpha")}
        for key, value in self.decoding.items():
            if key not in ("decoder", *used[self.decoder]):
                users = " or ".join(name for name, keys in used.items() if key in keys)
                raise ValueError(
                    f"{key}={value} belongs to decoder={users}, but the decoder is {self.decoder}; "
                    f"remove {key}, or set sampling.decoder"
                )
        if self.decoder == "contrastive" and self.top_k < 2:
            raise ValueError(f"top_k={self.top_k} leaves contrastive search no choice; use greedy, or top_k >= 2")
        if self.best_of > 1 and self.reject:
            raise ValueError(f"best_of={self.best_of} and reject={self.reject:g} are two ways to choose; keep one")
        return self


def sampling_of(**options: Any) -> SamplingConfig:
    """The sampling configuration of keyword options, which are those of a run's `sampling`.

    Raises:
        ConfigError: an unknown option, a value out of its domain, or `temperature=best`, which needs a run's splits.
    """
    known = set(SamplingConfig.model_fields) - {"rollouts"}
    for name in options:
        if name not in known:
            raise ConfigError(f"no sampling option is called {name!r}; {did_you_mean(name, known)}")
    try:
        found = SamplingConfig.model_validate(options)
    except ValidationError as error:
        first, *others = error.errors()
        name = str(first["loc"][0]) if first["loc"] else ""
        given = f"{name}={first['input']!r}: " if name else ""
        reasons = [e["msg"].removeprefix("Value error, ") for e in (first, *others) if e["loc"][:1] == first["loc"][:1]]
        raise ConfigError(f"{given}{'; or '.join(reasons)}") from error
    if found.temperature == "best":
        raise ConfigError("temperature=best is chosen on a benchmark's validation split; write a number")
    return found
