"""Checkpoints: the state of a training as one file (safetensors and JSON), refused unless its SHA-256 is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from harness.records.events import SavedCheckpoint
from harness.system.files import write_durably

_FACTS = "facts.json"  # JSON as a tensor of bytes: one file, one hash


@dataclass(frozen=True)
class State:
    """All that a training's next step depends on: tensors by name, on the CPU, and JSON values by name."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The file's content."""
        text = json.dumps(self.facts, sort_keys=True, allow_nan=False).encode()
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        return save({**tensors, _FACTS: torch.frombuffer(bytearray(text), dtype=torch.uint8)})

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """The state that `to_bytes` was called on, to the last bit."""
        tensors = load(content)
        facts = json.loads(bytes(tensors.pop(_FACTS).tolist()))
        return cls(tensors, facts)

    @property
    def hash(self) -> str:
        """SHA-256 of everything but the seconds of training and the values that hold them: curve, interim scores."""
        timed = ("seconds", "points", "interims", "due")
        facts = {name: value for name, value in self.facts.items() if name not in timed}
        return hashlib.sha256(State(self.tensors, facts).to_bytes()).hexdigest()


def write(state: State, folder: Path, path: str) -> SavedCheckpoint:
    """Write a state to `folder / path`, durably: the file appears whole or not at all.

    Raises:
        OSError: the disk has no room, or there is no permission; no partial file is left.
    """
    content = state.to_bytes()
    final = folder / path
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_suffix(".partial")
    try:
        write_durably(content, partial, final)
    finally:
        partial.unlink(missing_ok=True)
    return SavedCheckpoint(state.facts["step"], path, hashlib.sha256(content).hexdigest(), torch.get_num_threads())


def read(saved: SavedCheckpoint, folder: Path) -> State | None:
    """The state in a file; None if the file is missing or differs in any bit from the one that was written."""
    try:
        content = (folder / saved.path).read_bytes()
    except OSError:
        return None
    return State.from_bytes(content) if hashlib.sha256(content).hexdigest() == saved.sha256 else None
