"""The path from a hidden state to logits: a transform before the output layer, and a scale and a cap after it.

Both are read from the configuration, and held against the model's own head on states scaled up as well, so that a cap
is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from harness.errors import ConfigError
from harness.models.architectures.kinds import base_of
from harness.models.architectures.known import ADVICE

_SCALES = ("logit_scale", "lm_head_multiplier", "logits_scaling")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
LARGE = 200.0  # the largest logit of the states that are scaled up; caps in use are 15 to 50


class HeadError(ConfigError):
    """A model whose logits come from its hidden states in a way that is not supported."""


@dataclass(frozen=True)
class Head:
    """Logits as `cap * tanh(scale * (W before(h) + b) / cap)`.

    Attributes:
        scale: of the output layer's sums.
        cap: logits stay between -cap and cap (arXiv 2408.00118, section 2); None for none.
        before: name of the module between the hidden state and the output layer; None for none.
    """

    scale: float = 1.0
    cap: float | None = None
    before: str | None = None

    def after(self, logits: Tensor) -> Tensor:
        """The logits, scaled and capped."""
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


def head_of(model: Any, ids: Tensor) -> Head:
    """The description that equals the model's own head; `ids` [1, K] are any K tokens.

    Raises:
        HeadError: none does, and what was measured.
    """
    layer = model.get_output_embeddings()
    if layer is None or getattr(layer, "weight", None) is None:
        raise HeadError(f"model.name: {type(model).__name__} has no output layer of its own; {ADVICE}")
    states = base_of(model)(input_ids=ids, use_cache=False).last_hidden_state[:, -1:]
    error = 0.0
    for before in _before(model, layer, states):
        within = states if before is None else model.get_submodule(before)(states)
        top = float(layer(within).float().abs().max())
        large = states * (LARGE / max(top, 1e-6))
        given = torch.cat([states, large], 1)
        whole = _own(model, ids, given)
        sums = layer(given if before is None else model.get_submodule(before)(given)).float()
        if sums.shape != whole.shape:
            continue
        for scale, cap in product(_scales(model), _caps(model.config.get_text_config(decoder=True))):
            found = Head(scale, cap, before)
            error = float((found.after(sums) - whole).abs().amax())
            if _alike(found.after(sums), whole, layer.weight.dtype):
                return found
    raise HeadError(
        f"model.name: {type(model).__name__} computes logits from hidden states in a way that is not supported: they "
        f"differ from its output layer's by up to {error:.3g}; {ADVICE}"
    )


def _alike(ours: Tensor, whole: Tensor, weights: torch.dtype) -> bool:
    """True if the logits [1, 2, V] of a state and of one scaled up agree, each at its own size."""
    rough = 2e-2 if weights in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled() else 1e-3
    return all(
        float((ours[:, i] - whole[:, i]).abs().max()) <= rough * max(1.0, float(whole[:, i].abs().max()))
        for i in range(ours.shape[1])
    )


def _own(model: Any, ids: Tensor, states: Tensor) -> Tensor:
    """The model's own logits of given hidden states [1, S, F], in float32."""

    def give(_: Any, __: Any, out: Any) -> Any:
        out.last_hidden_state = states
        return out

    handle = base_of(model).register_forward_hook(give)
    try:
        return model(input_ids=ids, use_cache=False).logits.float()  # type: ignore[no-any-return]
    finally:
        handle.remove()


def _before(model: Any, layer: Any, states: Tensor) -> Iterator[str | None]:
    """Names of modules that may stand before the output layer: none, then those outside of the base."""
    yield None
    inside = {id(module) for module in base_of(model).modules()} | {id(module) for module in layer.modules()}
    for name, module in model.named_modules():
        if name and id(module) not in inside:
            try:
                given = module(states)
            except (TypeError, RuntimeError, NotImplementedError):
                continue
            wanted = (*states.shape[:-1], layer.weight.shape[1])
            if isinstance(given, Tensor) and given.shape == wanted:
                yield name


def _scales(model: Any) -> list[float]:
    """Scales that the model's configuration or its parts name, 1 first."""
    text = model.config.get_text_config(decoder=True)
    places = (text, model, base_of(model))
    named = [(name, value) for name in _SCALES for one in places if (value := getattr(one, name, None)) is not None]
    parts = [float(value) for _, value in named if isinstance(value, int | float)]
    parts += [1 / float(value) for name in _DIVISORS if (value := getattr(text, name, None))]
    return list(dict.fromkeys([1.0, *parts]))


def _caps(config: Any) -> list[float | None]:
    """Caps that the configuration names, those first: small logits cannot tell them from none."""
    return [*(float(value) for name in _CAPS if (value := getattr(config, name, None))), None]
