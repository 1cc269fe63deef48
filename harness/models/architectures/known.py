"""Refusals that a model's config.json gives alone, in words, before torch is loaded.

The probe (`harness/generation/probe.py`) is the law: what stands here was measured by it, with the `MEASURED` version
of transformers, and is left to it under any other; the tests hold the two against each other.  A model type that is not
named here is not known, and goes to the probe.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from harness.records.verdict import Verdict

MEASURED = "5.23.0"
ADVICE = "use an architecture such as gpt2, llama, mistral or qwen"
RECURRENT = "carries a recurrent state along the text"

_AHEAD = "looks at tokens that follow"
_HEAD = "computes logits from hidden states in a way that is not supported"
_NOT_RUN = "cannot be run as a causal language model"
_ENCODERS = (
    "bert", "bert-generation", "big_bird", "electra", "ernie", "megatron-bert", "rembert", "roc_bert", "roformer",
)  # fmt: skip
_OWN_HEADS = (
    "camembert", "data2vec-text", "rembert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
)  # fmt: skip
_ALL_RECURRENT = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "recurrent_gemma", "rwkv", "xlstm")
_SOURCE = "transformers/models/auto/modeling_auto.py"
_LAYERS = ("layer_types", "layers_block_type")
_STATES = {"conv", "hybrid", "hybrid_sliding", "linear_attention", "mamba", "recurrent"}


def known(text: str) -> Verdict | None:
    """The refusal of a model with this config.json, with `keeps` alone where only deleting is; None if not known."""
    try:
        config = json.loads(text)
    except ValueError:
        return None
    kind = config.get("model_type") if isinstance(config, dict) else None
    classes = _classes()
    if not isinstance(kind, str) or not classes:
        return None
    if kind not in classes:
        return _unheard_of(kind, config)
    if version("transformers") != MEASURED:
        return None
    family = classes[kind]
    if (reason := _reason(kind, config)) is not None:
        return Verdict(family, f"{family} {reason}; {ADVICE}")
    return Verdict(family, keeps=no_backspace(family, RECURRENT)) if _recurrent(kind, config) else None


def no_backspace(family: str, reason: str) -> str:
    """The sentence with which `<backspace>` is refused, where a deletion would not be exact."""
    return (
        f"actions.backspace=true: {family} {reason}, so that a deleted token would leave its trace; set "
        "actions.backspace=false, or use a model that attends by position, such as gpt2, llama, mistral or qwen"
    )


def _reason(kind: str, config: Mapping[str, Any]) -> str | None:
    """The reason why a model of this type is no causal language model here, after its name; None if not known."""
    if kind in _ENCODERS and not config.get("is_decoder", False):
        return f"{_AHEAD}: is_decoder is not set in its config.json, so that it is no causal language model"
    if kind in _OWN_HEADS:
        return _HEAD
    if kind == "xlnet":
        return f"{_AHEAD}, so that it is no causal language model"
    if kind == "xlm":
        return f"{_NOT_RUN}: it hides padding by length, and has no mask that follows a text"
    if kind == "reformer" and not config.get("is_decoder", False):
        return f"{_NOT_RUN}: is_decoder is not set in its config.json"
    if kind == "reformer" and config.get("pad_token_id", 0) is None:
        return f"{_NOT_RUN}: it fills texts up to whole chunks, and its config.json has no pad_token_id"
    return None


def _recurrent(kind: str, config: Mapping[str, Any]) -> bool:
    """True if a layer of this configuration carries a state; hybrids that do not name their layers are not known."""
    if kind in _ALL_RECURRENT:
        return True
    if kind == "jamba":
        return int(config.get("attn_layer_period") or 1) > 1
    if kind == "bamba":
        return len(config.get("attn_layer_indices") or ()) < int(config.get("num_hidden_layers") or 0)
    named = (layers for name in _LAYERS if isinstance(layers := config.get(name), list))
    return any(isinstance(layer, str) and layer in _STATES for layers in named for layer in layers)


def _unheard_of(kind: str, config: Mapping[str, Any]) -> Verdict | None:
    """The refusal of a type that transformers has no causal language model of; None for one whose code a user brings.

    That code lies beside the weights, or a file of plug-ins has registered it.
    """
    loaded = sys.modules.get("transformers.models.auto.configuration_auto")
    if "auto_map" in config or kind in getattr(getattr(loaded, "CONFIG_MAPPING", None), "_extra_content", {}):
        return None
    architectures = config.get("architectures")
    family = str(architectures[0]) if isinstance(architectures, list) and architectures else kind
    return Verdict(family, f"{family} {_NOT_RUN}: transformers has none of model_type {kind!r}; {ADVICE}")


@cache
def _classes() -> dict[str, str]:
    """Causal language models of transformers, model type -> class, read from its source; empty if it looks otherwise.

    transformers itself would take a second to load them, and torch with them.
    """
    try:
        source = Path(str(distribution("transformers").locate_file(_SOURCE))).read_text()
    except OSError:
        return {}
    _, _, rest = source.partition("\nMODEL_FOR_CAUSAL_LM_MAPPING_NAMES = ")
    return dict(re.findall(r'\("([\w.-]+)", "(\w+)"\)', rest.partition("\n)")[0]))
