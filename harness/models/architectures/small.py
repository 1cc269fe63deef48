"""A small random model of a checkpoint's architecture: the same code and kinds of layers, few of them, and narrow.

What a model computes wrongly it computes wrongly with any weights; these are drawn so that nothing is near zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import transformers

from harness.errors import ConfigError
from harness.models.architectures.kinds import BROKEN, longest
from harness.models.pretrained import wrapped
from harness.models.tokenizers import characters

WINDOW = 4  # tokens that every window or chunk shrinks to, so that short texts are longer
WINDOWS: tuple[str, ...] = (
    "sliding_window",
    "window_size",
    "attention_chunk_size",
    "attention_window_size",
    "local_attention",
)
WINDOWS += ("local_attn_chunk_length", "lsh_attn_chunk_length")
WIDE = 128  # a model up to this wide stays as wide as it is
MOST = 30_000_000  # parameters, and no more
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_NARROW = {
    "hidden_size": 64,
    "word_embed_proj_dim": 64,
    "intermediate_size": 128,
    "ffn_dim": 128,
    "num_attention_heads": 4,
    "head_dim": 16,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "attention_hidden_size": 64,
    "hidden_size_per_layer_input": 16,
    "qk_rope_head_dim": 16,
    "rotary_dim": 8,
    "mamba_d_ssm": 128,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "num_heads": 8,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "intermediate_size_mlp": 128,
    "block_ff_dim": 128,
}
_FEWER = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
_FEWER |= {"n_group": 2, "topk_group": 1}
_CHUNKS = ("mamba_chunk_size", "chunk_size")  # texts are computed in chunks of as many tokens, whatever comes out


def smaller(config: Any) -> list[Any]:
    """Configurations like this one, for a model of few tokens: few layers and narrow, few layers, and as it is."""
    found = []
    ways: list[Callable[[Any], Any]] = [lambda own: _narrow(_shallow(own)), _shallow, lambda own: own]
    for make in ways:
        own = copy.deepcopy(config)
        own.vocab_size = len(_letters())
        for name in _TOKENS:
            if getattr(own, name, None) is not None:
                setattr(own, name, 0)
        if "vocab_size_per_layer_input" in vars(own):
            own.vocab_size_per_layer_input = own.vocab_size
        try:
            found.append(make(own))
        except BROKEN:  # an architecture whose configuration has other names, or checks what it is given
            continue
    return found


def outline(config: Any) -> Any:
    """A model of a configuration on torch's meta device: its code and shapes, no weights."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def small(config: Any) -> tuple[Any, Any] | None:
    """A random float32 model of one of the `smaller` configurations, and a tokenizer of letters; equal each time.

    None if it would not be small.

    Raises:
        ConfigError: it cannot be built, or not be run on a text.
    """
    try:
        if sum(parameter.numel() for parameter in outline(config).parameters()) > MOST:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        _scatter(model)
        with torch.no_grad():
            ids = torch.tensor([[0, 2, 3, 4, 5, 6, 7]])[:, : longest(config)]
            whole = model(input_ids=ids, use_cache=False).logits
    except BROKEN as error:
        raise ConfigError(told(error)) from error
    if not bool(whole.isfinite().all()):
        raise ConfigError("its logits are not finite")
    return model, _letters()


_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id")


def _letters() -> Any:
    """The tokenizer of small models."""
    return wrapped(characters([_ALPHABET]))


def told(error: Exception) -> str:
    """The first line of an error, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _scatter(model: Any) -> None:
    """Add noise to every matrix, in place."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                size = min(0.15, 1.2 / math.sqrt(parameter.shape[-1]))
                parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def _shallow(own: Any) -> Any:
    """A configuration with one layer of every kind, two at least, and short windows; changed in place."""
    for name in WINDOWS:
        if isinstance(size := getattr(own, name, None), int) and size > WINDOW:
            setattr(own, name, WINDOW)
    for name in _CHUNKS:
        if isinstance(size := getattr(own, name, None), int) and size > 16:
            setattr(own, name, 16)
    layers = own.num_hidden_layers
    lists = {
        name: value
        for name in (*vars(own), "layers_block_type", "layer_types")
        if isinstance(value := getattr(own, name, None), list | tuple) and len(value) == layers
    }
    fewest = 2
    for value in lists.values():
        kinds = [str(one) for one in value]
        fewest = max([fewest, *(kinds.index(kind) + 1 for kind in set(kinds))])
    fewest = min(fewest, layers)
    own.num_hidden_layers = fewest
    for name, value in lists.items():
        if name in vars(own):
            setattr(own, name, value[:fewest])
    return own


def _narrow(own: Any) -> Any:
    """A configuration with small widths, where these are large, and then plain rotary factors; changed in place."""
    if own.hidden_size <= WIDE:
        return own
    heads, shared = (getattr(own, f"num_{which}_heads", None) for which in ("attention", "key_value"))
    for name, size in {**_NARROW, **_FEWER}.items():
        if isinstance(value := getattr(own, name, None), int) and value > size:
            setattr(own, name, size)
        elif isinstance(value, list) and all(isinstance(one, int) and one > size for one in value):
            setattr(own, name, [size] * len(value))
    if shared is not None:
        own.num_key_value_heads = 4 if shared == heads else min(shared, 2)
    if getattr(own, "rope_parameters", None):
        rope = own.rope_parameters
        own.rope_parameters = (
            {kind: _plain(one) for kind, one in rope.items()}
            if all(isinstance(one, dict) for one in rope.values())
            else _plain(rope)
        )
    return own


def _plain(rope: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters without factors of their own."""
    kept = ("rope_theta", "partial_rotary_factor")
    return {"rope_type": "default"} | {name: value for name, value in rope.items() if name in kept}
