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
from harness.models.architectures.layers import Layers, linear, place, stacks, unfit
from harness.models.policy import Policy

_HASHED = 1024  # values of each weight that `digest` hashes, about
_READ = 6  # tokens of the pass that looks which layers are called


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
    where they are tied.  `seed` draws the matrices A; the matrices B are 0.  `policy.layers` says where they stand: of
    the layers that are asked for, those beside which a LoRA can be folded in.

    Raises:
        EnvironmentProblem: peft is not installed.
        ConfigError: `lora_targets`, or one of them, names no layer of this model that can have a LoRA.
    """
    if importlib.util.find_spec("peft") is None:
        raise EnvironmentProblem(
            f"model.lora_r={config.lora_r}: peft is not installed; pip install 'sequencematch-harness[lora]', or set "
            "model.lora_r=null"
        )
    import peft

    assert config.lora_targets is not None  # ModelConfig fills it in
    model, every = policy.model, config.lora_targets == "all-linear"
    layers, experts, out = linear(model), stacks(model), _left_out(policy)
    tables = [name for name, one in model.named_modules() if one in _tables(model)]
    named = [] if every else config.lora_targets.split("+")
    stacked = [name for name in named if name in experts.values()]
    chosen = peft.LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=config.lora_targets if every else [name for name in named if name not in stacked] or None,
        target_parameters=stacked or None,
        exclude_modules=[*out, *tables],
    )
    model.requires_grad_(False)
    lost, why = named, ""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPT-2's layers are transposed: peft corrects it and warns
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(chosen, model)
            made = _adapted(model)
            left = chosen.target_modules or ()  # peft takes out those that are parts of stacks in this transformers
            lost = [name for name in named if name in left and not any(f".{one}".endswith(f".{name}") for one in made)]
        except ValueError as error:
            made, why = [], "" if "not found" in str(error) or "No modules" in str(error) else f"{error} "
    if lost or not made:
        reasons = {place(name): f"{place(name)}: {reason}; " for name, reason in out.items() if _asked(name, lost)}
        can = sorted({name.rpartition(".")[2] for name in layers if name not in out} | set(experts.values()))
        raise ConfigError(
            f"model.lora_targets={'+'.join(lost) or config.lora_targets!r} names no layer of this "
            f"{type(model).__name__} that can have a LoRA; {why}{''.join(reasons.values())}use all-linear, or some of "
            f"{', '.join(can)}, joined by +"
        )
    for parameter in model.parameters():
        if parameter.requires_grad:  # peft gives them the base's type, in which small steps would be lost
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
    if policy.space.backspace_id is not None:
        _learn_row(model, policy.space.backspace_id)
    apart = {name: out.get(name, "not among peft's own targets") for name in (*layers, *experts) if name not in made}
    apart = {name: reason for name, reason in apart.items() if every or _asked(name, named)}
    policy.layers = Layers(
        tuple(sorted(set(map(place, made)))), {place(name): reason for name, reason in sorted(apart.items())}
    )
    policy.adapted = True


def _left_out(policy: Policy) -> dict[str, str]:
    """Linear layers that get no LoRA, by name, with the reason."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba as check

    ids = torch.arange(min(_READ, policy.context), device=policy.device)[None] % policy.space.size
    found = unfit(policy.model, lambda: policy.last_hidden(ids))
    for name in linear(policy.model):
        try:
            check(LoraConfig(), policy.model, name.rpartition(".")[2])
        except ValueError:
            found[name] = "peft refuses it: a fused kernel may read its weight"
    return found


def _asked(name: str, named: list[str]) -> bool:
    """True if one of the names that were given means this layer."""
    return any(f".{name}".endswith(f".{one}") for one in named)


def _adapted(model: Any) -> list[str]:
    """Names of layers, or of parameters, that have matrices beside them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = []
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):  # of several parameters in one module the wrappers are nested
            inner = name.replace(".base_layer", "")
            found.append(f"{inner}.{layer.parameter_name}" if hasattr(layer, "parameter_name") else inner)
    return found


def _tables(model: Any) -> list[Any]:
    """The vocabulary's tables: input embeddings and output layer; once where they are one."""
    return list(dict.fromkeys((model.get_input_embeddings(), model.get_output_embeddings())))


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
    for table in _tables(model):
        for name in ("weight", "bias"):
            if parametrize.is_parametrized(table, name):
                row = table.parametrizations[name][0]
                parametrize.remove_parametrizations(table, name, leave_parametrized=False)
                getattr(table, name)[row.at] = row.row[0]
    wrappers = {name: one for name, one in model.named_modules() if isinstance(one, BaseTunerLayer)}
    for name, layer in wrappers.items():
        parent, _, last = name.rpartition(".")
        if parent in wrappers:  # several parameters of one module: the outermost wrapper merges all
            continue
        if hasattr(layer, "unload_and_optionally_merge_module"):
            plain = layer.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        else:
            layer.merge()
            plain = layer.get_base_layer()
        setattr(model.get_submodule(parent), last, plain)
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
