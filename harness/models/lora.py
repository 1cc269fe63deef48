"""LoRA: low-rank matrices beside a frozen model's layers (arXiv 2106.09685), with a `<backspace>` row that learns.

The matrices are peft's.  The row is a parametrization of the vocabulary's tables: the output layer's weights contain
the learned row, and a gradient reaches nothing else of the table.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.config.model import ModelConfig
from harness.errors import ConfigError, EnvironmentProblem
from harness.models.policy import Policy

_HASHED = 1024  # values of each weight that `digest` hashes, about


class _Row(nn.Module):
    """The table [V, F], or bias [V], whose row `at` is a parameter of its own; in float32 or wider."""

    def __init__(self, table: Tensor, at: int) -> None:
        super().__init__()
        self.at = at
        wide = torch.promote_types(table.dtype, torch.float32)
        self.row = nn.Parameter(table[at : at + 1].detach().clone().to(wide))

    def forward(self, table: Tensor) -> Tensor:
        """The table with the learned row."""
        return torch.cat([table[: self.at], self.row.to(table.dtype), table[self.at + 1 :]])


def attach(policy: Policy, config: ModelConfig, seed: int) -> None:
    """Freeze the policy's weights and attach a LoRA, in place; the policy stays the same function.

    Trained from now on: the matrices, and the row of `<backspace>` in the input and output tables alike, one for both
    where they are tied.  `seed` draws the matrices A; the matrices B are 0.

    Raises:
        EnvironmentProblem: peft is not installed.
        ConfigError: `lora_targets` names no layer of this model.
    """
    if importlib.util.find_spec("peft") is None:
        raise EnvironmentProblem(
            f"model.lora_r={config.lora_r}: peft is not installed; pip install 'sequencematch-harness[lora]', or set "
            "model.lora_r=null"
        )
    import peft

    assert config.lora_targets is not None  # ModelConfig fills it in
    every = config.lora_targets == "all-linear"
    chosen = peft.LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=config.lora_targets if every else config.lora_targets.split("+"),
    )
    policy.model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPT-2's layers are transposed: peft corrects it and warns
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(chosen, policy.model)
        except ValueError as error:
            known = sorted({name.rpartition(".")[2] for name, _ in _layers(policy.model)})
            raise ConfigError(
                f"model.lora_targets={config.lora_targets!r} names no layer of this {type(policy.model).__name__}; use "
                f"all-linear, or some of {', '.join(known)}, joined by +"
            ) from error
    for parameter in policy.model.parameters():
        if parameter.requires_grad:  # peft gives them the base's type, in which small steps would be lost
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
    if policy.space.backspace_id is not None:
        _learn_row(policy.model, policy.space.backspace_id)
    policy.adapted = True


def _layers(model: Any) -> list[tuple[str, nn.Module]]:
    """Layers that can have a LoRA, by name; GPT-2's are `Conv1D`, whose width is the attribute `nf`."""
    head = model.get_output_embeddings()
    return [
        (name, module)
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) or hasattr(module, "nf")) and module is not head
    ]


def _learn_row(model: Any, at: int) -> None:
    """Make row `at` of the input and output tables the only trained one, in place."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    row = _Row(inputs.weight, at)
    tied = outputs.weight is inputs.weight
    parametrize.register_parametrization(inputs, "weight", row)
    parametrize.register_parametrization(outputs, "weight", row if tied else _Row(outputs.weight, at))
    if getattr(outputs, "bias", None) is not None:
        parametrize.register_parametrization(outputs, "bias", _Row(outputs.bias, at))


@torch.no_grad()
def fold(policy: Policy) -> None:
    """Add the matrices to the weights of their layers and write the row into its tables, in place.

    The policy is then an ordinary one without trained parameters; up to rounding it is the same function.  bfloat16
    weights and arithmetic become float32: 8 bits of a weight cannot hold a change as small as a learned one.
    """
    if not policy.adapted:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = policy.model
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
    if policy.dtype == "bfloat16":
        policy.dtype = "float32"  # autocast would round the sums on every use
    for table in {id(m): m for m in (model.get_input_embeddings(), model.get_output_embeddings())}.values():
        for name in ("weight", "bias"):
            if parametrize.is_parametrized(table, name):
                row = table.parametrizations[name][0]
                parametrize.remove_parametrizations(table, name, leave_parametrized=False)
                getattr(table, name)[row.at] = row.row[0]
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, layer.get_base_layer())
    del model.peft_config
    policy.adapted = False


def trained(policy: Policy) -> dict[str, Tensor]:
    """Trained tensors by name, without the value head."""
    return {name: p.detach() for name, p in policy.parameters().items() if name.startswith("model.")}


@torch.no_grad()
def put_back(policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors that `trained` returned for another policy into one with a freshly attached LoRA.

    Raises:
        ValueError: the two are not of the same model.
    """
    own = trained(policy)
    if own.keys() != tensors.keys() or any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise ValueError("these tensors belong to another model")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def digest(model: Any) -> str:
    """Hash of a model's frozen weights, sixteen hex digits: their names, types, shapes and some values of each.

    It distinguishes checkpoints; it does not detect every damage, which would take reading every byte.
    """
    found = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            flat = parameter.detach().flatten()
            some = flat[:: max(1, flat.numel() // _HASHED)].cpu()
            wide = some.double() if some.is_floating_point() else some
            found.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode() + wide.numpy().tobytes())
    return found.hexdigest()[:16]
