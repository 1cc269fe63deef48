"""The verdict on a model's architecture: can the harness compute it, and can it delete."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """The finding of a probe.

    Attributes:
        family: the model's class.
        refused: why it cannot be used at all, with what was measured; None if it can.
        keeps: why it cannot delete; None if it can.
        slow: True if every sampled token computes its whole text again.
        measured: largest differences from plain forward passes, in nats, by what was compared; empty where the
            architecture could not be made small, and is probed when it is first loaded.
        context: tokens that the model holds.
        bound: why it holds no more, in words; empty if nothing changes beyond.
        lora: the layers that a LoRA stands beside, and not, in words; empty where none was asked for or looked at.
    """

    family: str
    refused: str | None = None
    keeps: str | None = None
    slow: bool = False
    measured: dict[str, float] = field(default_factory=dict)
    context: int = 0
    bound: str = ""
    lora: str = ""
