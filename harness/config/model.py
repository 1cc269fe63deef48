"""The causal LM from which a run starts: built small and trained from scratch, or loaded, whole or beside a LoRA.

This file imports no torch, so that listing and planning stay quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.config.section import Part, Scalar

ARCHITECTURES = ("gpt2", "llama")
WHOLE: Mapping[str, Scalar] = dict.fromkeys(("lora_r", "lora_alpha", "lora_targets", "quantised"))
"""Values of the LoRA fields for a model that is trained in all its weights, or not at all."""
LATER_FIELDS = ("revision", *WHOLE)  # in a run's hash only where used


class ModelConfig(Part):
    """A causal LM: `gpt2` or `llama` built small and trained from scratch, or a local directory or Hub id.

    A from-scratch model starts as the *base*: `base_steps` of MLE that every cell of a grid shares, as the paper
    fine-tunes one pretrained model.
    """

    name: str = Field("gpt2", min_length=1, description="gpt2 | llama (from scratch), a directory, or a Hub id")
    layers: int | None = Field(None, ge=1, description="from scratch only; default 2")
    width: int | None = Field(None, ge=8, description="from scratch only; default 64")
    heads: int | None = Field(None, ge=1, description="from scratch only; default 4; must divide width")
    tokenizer: Literal["bpe", "characters"] | None = Field(None, description="from scratch only; default bpe")
    vocab_size: int | None = Field(None, ge=258, description="from scratch with bpe only; default 2048")
    base_steps: int | None = Field(None, ge=0, description="from scratch only; MLE steps of the shared base; 400")
    base_lr: float | None = Field(None, gt=0, description="from scratch only; default 3e-3")
    base_rows: int | None = Field(None, ge=1, description="from scratch only; rows per step of the base; 32")
    base_seed: int | None = Field(None, ge=0, description="from scratch only; default 0")
    context: int = Field(128, ge=4, description="tokens a row may hold, prompt and end included")
    dtype: Literal["float32", "bfloat16", "float64"] = Field(
        "float32", description="bfloat16 computes under autocast and keeps float32 weights of all that is trained"
    )
    revision: str | None = Field(
        None, min_length=1, description="of a Hub id the commit; of a directory the hash of its content, by default"
    )
    lora_r: int | None = Field(
        None, ge=1, description="rank of LoRA matrices (arXiv 2106.09685), beside which only the <backspace> row and "
        "the value head are trained; default: all weights are"
    )  # fmt: skip
    lora_alpha: float | None = Field(None, gt=0, description="with lora_r only; LoRA's scale is this / r; default r")
    lora_targets: str | None = Field(
        None, min_length=1, description="with lora_r only; layers by name, q_proj+v_proj; default all-linear"
    )
    quantised: Literal["nf4"] | None = Field(
        None, description="with lora_r only: 4-bit weights of the base (QLoRA, arXiv 2305.14314); needs CUDA"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute blocks twice to hold less in memory; no effect on the result"
    )

    @property
    def from_scratch(self) -> bool:
        """True if the harness builds and trains this model itself."""
        return self.name in ARCHITECTURES

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        if given.get("lora_r") is not None:
            defaults = {"lora_alpha": given["lora_r"], "lora_targets": "all-linear"}
            given = {**given, **{key: value for key, value in defaults.items() if given.get(key) is None}}
        if given.get("name", "gpt2") not in ARCHITECTURES:
            return given
        filled = {**_FROM_SCRATCH, **{key: value for key, value in given.items() if value is not None}}
        if filled["tokenizer"] == "characters" and given.get("vocab_size") is None:
            filled["vocab_size"] = None
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        for key in WHOLE:
            if self.lora_r is None and getattr(self, key) is not None:
                raise ValueError(f"{key}={getattr(self, key)} is about training a LoRA; set lora_r, or remove {key}")
        for key in ("revision", "quantised"):
            if self.from_scratch and getattr(self, key) is not None:
                raise ValueError(f"{key} is about a loaded model, but {self.name} is built from scratch; remove it")
        if not self.from_scratch:
            extra = [key for key in _FROM_SCRATCH if getattr(self, key) is not None]
            if extra:
                raise ValueError(
                    f"{', '.join(extra)} describe a model built from scratch, but {self.name!r} is loaded as it is; "
                    f"remove them, or use one of {', '.join(ARCHITECTURES)}"
                )
            return self
        if self.width is not None and self.heads is not None and self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")
        if self.name == "llama" and self.width is not None and self.heads and (self.width // self.heads) % 2:
            raise ValueError(f"llama needs an even width per head, got {self.width}/{self.heads}")
        if self.name == "llama" and self.heads is not None and self.heads > 1 and self.heads % 2:
            raise ValueError(f"llama shares each key head between two heads; heads={self.heads} must be even (or 1)")
        if self.tokenizer == "characters" and self.vocab_size is not None:
            raise ValueError("vocab_size is set by the characters of the training split; remove it")
        return self


_FROM_SCRATCH: dict[str, Scalar] = {
    "layers": 2,
    "width": 64,
    "heads": 4,
    "tokenizer": "bpe",
    "vocab_size": 2048,
    "base_steps": 400,
    "base_lr": 3e-3,
    "base_rows": 32,
    "base_seed": 0,
}
