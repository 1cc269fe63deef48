"""The device to compute on."""

from __future__ import annotations

import torch

from harness.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is the GPU where there is one, else the CPU.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name}: {reason}; use auto, cpu, or cuda where torch has it") from error
    return device
