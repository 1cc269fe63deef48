"""Abilities of a causal language model, from its configuration and its code: can it delete, and has it a cache."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import transformers
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from harness.errors import ConfigError
from harness.models.architectures.known import RECURRENT, no_backspace

BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of transformers for an architecture that it cannot build or run."""

UNBOUNDED = 2048  # tokens of context by default, where an architecture has no limit of its own
_LIMITS = ("max_position_embeddings", "max_seq_len", "context_length", "seq_length")
# The states of these are in no cache of transformers' common form: their modules or a class of their own hold them.
_OWN_STATES = ("recurrent_gemma", "rwkv", "xlstm")
_ALIBI = ("bloom", "mpt")


@dataclass(frozen=True)
class Kind:
    """Abilities of a model.

    Attributes:
        family: its class, for messages.
        keeps: None if a deletion is exact, by masks and positions; else the reason that it is not, for messages.
        cache: the argument of its base that takes a cache; None if it has none of the common form, or is known to
            compute a single token with one otherwise than a whole text.
        positions: True if its base takes the positions of its tokens.
    """

    family: str
    keeps: str | None
    cache: str | None
    positions: bool

    def check_backspace(self) -> None:
        """Refuse `<backspace>` where a deletion would not be exact.

        Raises:
            ConfigError: with the reason.
        """
        if self.keeps is not None:
            raise ConfigError(no_backspace(self.family, self.keeps))


def base_of(model: Any) -> Any:
    """The part of a causal LM that gives hidden states.

    Raises:
        ConfigError: there is none.
    """
    if (base := model.base_model) is not model:
        inner = getattr(base, "decoder", None)  # a wrapper around it, as opt's and bart's
        return inner if isinstance(inner, transformers.PreTrainedModel) else base
    inner = [child for child in model.children() if isinstance(child, transformers.PreTrainedModel)]
    if len(inner) != 1:
        raise ConfigError(
            f"model.name: {type(model).__name__} has no part of its own that gives hidden states, which is not "
            "supported; use an architecture such as gpt2, llama, mistral or qwen"
        )
    return inner[0]


def kind_of(model: Any) -> Kind:
    """The abilities of a causal LM."""
    base, config = base_of(model), model.config
    arguments = inspect.signature(base.forward).parameters
    cache = next((name for name in ("past_key_values", "cache_params") if name in arguments), None)
    keeps = None
    alibi = config.model_type in _ALIBI or bool(getattr(config, "alibi", False))
    if config.model_type in _OWN_STATES:
        cache, keeps = None, RECURRENT
    elif cache is not None and _recurrent(config):
        keeps = RECURRENT
        cache = None if any(map(_clamps, model.modules())) else cache
    elif cache is None:
        keeps = "keeps no cache of keys and values by position"
    elif "position_ids" not in arguments and not alibi:
        keeps = "counts positions itself and takes no position_ids"
    return Kind(type(model).__name__, keeps, cache, "position_ids" in arguments)


def _recurrent(config: Any) -> bool:
    """True if a layer keeps more than keys and values."""
    layers = transformers.DynamicCache(config=config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def _clamps(module: Any) -> bool:
    """True if time steps have bounds: transformers keeps them in whole texts and leaves them out of single tokens."""
    least, most = getattr(module, "time_step_limit", None) or (0.0, math.inf)
    return bool(least > 0 or most < math.inf)


def new_cache(config: Any) -> Any:
    """An empty cache of transformers' own for a model of this configuration."""
    if _recurrent(config):
        return transformers.DynamicCache(config=config)
    return transformers.DynamicCache()  # a decoder beside an encoder counts other layers than its configuration


def longest(config: Any) -> int:
    """Number of tokens that a model of this configuration holds, and beyond which it would be another function.

    Rotary factors that change with the length of the text bound it: in a batch the longest row's would be those of all.
    """
    text = config.get_text_config(decoder=True)  # of a model that sees images, too, the part that writes
    found = [limit for name in _LIMITS if isinstance(limit := getattr(text, name, None), int) and limit > 0]
    limit = found[0] if found else UNBOUNDED
    return min([limit, *(bound for bound, _ in bounds(config))])


def bounds(config: Any) -> list[tuple[int, str]]:
    """Tokens up to which a model stays one function of the text, each with the reason in words."""
    config = config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    found = []
    for one in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if one.get("rope_type") == "longrope":
            change = int(one["original_max_position_embeddings"])
            found.append((change, f"its rotary factors change for texts of more than {change} tokens (longrope)"))
        if "dynamic" in str(one.get("rope_type")) and getattr(config, "max_position_embeddings", None):
            change = int(config.max_position_embeddings)
            found.append((change, f"its rotary base grows for texts of more than {change} tokens (dynamic NTK)"))
    if getattr(config, "attn_temperature_tuning", False) and (scale := getattr(config, "floor_scale", None)):
        change = int(scale) // 4  # a text with deletions has up to three times as many nodes as tokens, and a prompt
        found.append((change, f"its attention is scaled by a count of tokens, deleted ones too, from {scale} on"))
    if config.model_type == "xlstm":
        change = int(config.max_inference_chunksize)
        found.append((change, f"texts of more than {change} tokens (max_inference_chunksize) pass no gradient"))
    return found
