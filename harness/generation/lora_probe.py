"""The probe of a LoRA before anything runs: a small model of the architecture takes one, moves it and folds it in.

The model is that of `probe.py`.  A LoRA that no gradient reaches, or that is another function once it is folded in, is
refused with what was measured; so are names of layers that the architecture lacks.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.errors import ConfigError
from harness.generation.probe import TOLERANCE, Architecture
from harness.models import lora, pretrained
from harness.models.architectures.kinds import BROKEN, longest
from harness.models.architectures.small import small, smaller
from harness.models.policy import Policy
from harness.records.rollout import Trajectory
from harness.records.verdict import Verdict

_MOVED = 0.05  # of every number that is trained


def lora_probe_of(model: ModelConfig) -> Verdict:
    """The verdict on a LoRA in a model that is here.

    Raises:
        EnvironmentProblem: the directory holds no model.
    """
    return lora_probe(Architecture.of(pretrained.config_of(model.name, model.revision)), str(model.lora_targets))


@lru_cache(maxsize=32)
def lora_probe(architecture: Architecture, targets: str) -> Verdict:
    """The verdict on a LoRA beside `targets`, by a small random model; without any of it where none can be made."""
    config = architecture.config
    for candidate in smaller(config):
        try:
            if (made := small(candidate)) is None:
                continue
            policy = Policy(*made, min(24, longest(made[0].config)))
            if policy.kind.keeps is None:
                policy.add_backspace()
            return _judge(policy, targets)
        except BROKEN:  # perhaps for being so small, as in `probe`
            continue
    return Verdict(type(config).__name__.removesuffix("Config"))


def _judge(policy: Policy, targets: str) -> Verdict:
    """The verdict on a LoRA beside these layers of a policy, which is changed."""
    family = policy.kind.family
    try:
        lora.attach(policy, ModelConfig(name="small", lora_r=2, lora_targets=targets), 0)
    except ConfigError as error:
        return Verdict(family, str(error))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * _MOVED)
    words = [token for token in range(policy.space.size) if token not in policy.space.unwritable][:12]
    batch = pack([Trajectory((policy.start_id,), tuple(words))], policy.space, Weighting(gamma=0.9))
    trained = policy.evaluate(batch).log_prob
    advice = "set model.lora_r=null to train all weights, or use another model"
    if not _reached(policy, trained):
        return Verdict(family, f"model.lora_targets={targets}: {family} passes no gradient to a LoRA; {advice}")
    lora.fold(policy)
    with torch.no_grad():
        most = float((policy.evaluate(batch).log_prob - trained).abs().max())
    if not most <= TOLERANCE:
        return Verdict(
            family,
            f"model.lora_targets={targets}: folded into the weights of {family}, a LoRA is another function than in "
            f"training: log-probabilities are up to {most:.2g} nats away; {advice}",
            measured={"folded": most},
        )
    return Verdict(family, measured={"folded": most}, lora=str(policy.layers))


def _reached(policy: Policy, values: torch.Tensor) -> bool:
    """True if a gradient of values gets to a LoRA's matrices; the row of `<backspace>`, trained with them, is none."""
    matrices = [parameter for name, parameter in policy.parameters().items() if "lora_" in name]
    if not values.requires_grad:
        return False
    found = torch.autograd.grad(values.sum(), matrices, allow_unused=True)
    return any(gradient is not None for gradient in found)
