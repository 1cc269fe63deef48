"""Layers that can have a LoRA beside them: a pass goes through each, and it does nothing but multiply by its weight.

Else the trained function and the one with the matrices folded into the weights would be two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_PLAIN = (nn.Linear.forward, Conv1D.forward)


@dataclass(frozen=True)
class Layers:
    """The layers of a LoRA, by their place in a block of the model: `self_attn.q_proj`, `mlp.experts.down_proj`.

    Attributes:
        beside: places of the layers, or of the experts' stacked weights, that have matrices beside them.
        apart: places of linear layers and stacks without any, each with the reason.
    """

    beside: tuple[str, ...]
    apart: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """One sentence."""
        reasons = {
            reason: [name for name, one in self.apart.items() if one == reason] for reason in self.apart.values()
        }
        without = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        return f"beside {', '.join(self.beside)}{f'; not beside {without}' if without else ''}"


def place(name: str) -> str:
    """A layer's place in its block, from its name in the model.

    >>> place("model.layers.3.self_attn.q_proj"), place("h.0.experts.7.w1"), place("model.project_in")
    ('self_attn.q_proj', 'experts.*.w1', 'model.project_in')
    """
    parts = name.split(".")
    first = next((i for i, part in enumerate(parts) if part.isdigit()), -1)
    return ".".join("*" if part.isdigit() else part for part in parts[first + 1 :]) or name


def linear(model: Any) -> dict[str, nn.Module]:
    """Linear layers by name, without the output layer, of which the row of `<backspace>` alone is trained."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def stacks(model: Any) -> dict[str, str]:
    """Weights of several experts in one parameter: the name that `lora_targets` has for each, by its full name."""
    found = {}
    for name, parameter in model.named_parameters():
        owner, _, last = name.rpartition(".")
        if parameter.ndim == 3 and min(parameter.shape) > 1 and not isinstance(model.get_submodule(owner), _CONV):
            found[name] = f"{owner.rpartition('.')[2]}.weight" if last == "weight" else last
    return found


_CONV = nn.modules.conv._ConvNd


@torch.no_grad()
def unfit(model: Any, run: Callable[[], Any]) -> dict[str, str]:
    """Names of linear layers beside which a LoRA would be another function once folded in, each with the reason.

    `run` is any forward pass.  Of the layers at one place in their blocks, as experts, it need not reach all.
    """
    layers = linear(model)
    found: dict[str, str] = {}
    reached: set[str] = set()
    own = {id(layer) for layer in layers.values()}
    holders = Counter(
        id(child.weight) for one in model.modules() for child in one._modules.values() if id(child) in own
    )

    def look(name: str) -> Callable[..., None]:
        def see(layer: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any) -> None:
            reached.add(place(name))
            if not _multiplies(layer, (*args, *options.values())[0], out):
                found[name] = "it does more than multiply by its weight"

        return see

    handles = [layer.register_forward_hook(look(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in layers.items():
        if place(name) not in reached:
            found[name] = "no pass goes through it: its weight is read directly, or not at all"
        elif holders[id(layer.weight)] > 1:
            found[name] = "it shares its weight with another layer"
    return found


def _multiplies(layer: Any, given: Tensor, out: Any) -> bool:
    """True if a layer's output is its input times its weight, and its bias added."""
    if type(layer).forward in _PLAIN or type(layer).__module__.startswith("bitsandbytes"):
        return True
    if not isinstance(out, Tensor):
        return False
    wanted = nn.functional.linear(given, layer.weight, layer.bias)
    rough = 1e-4 if torch.promote_types(out.dtype, torch.float32) == out.dtype else 2e-2
    return bool(out.shape == wanted.shape and (out - wanted).abs().max() <= rough * wanted.abs().max().clamp(min=1e-6))
