"""Trained policies, kept beside the store so that one training serves every decoder and every export.

A policy lies in `policies/TRAIN_ID`, a folder that appears whole or not at all: the files of `Policy.save` (of a LoRA
the trained part alone), the value head if there is one, and `policy.json` with the kind of the weights, their origin
and the SHA-256 of every other file.  A folder that does not agree with it counts as missing, and the policy is trained
again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness.config.run import RunConfig
from harness.errors import HarnessError
from harness.models.lora import digest, put_back, trained
from harness.models.policy import Policy
from harness.records.training import Interim, Step
from harness.system.files import written_aside

FACTS = "policy.json"
VALUE_HEAD = "value_head.safetensors"
ADAPTER = "adapter.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """Origin of a policy: the run that trained it, its curve, a hash over all that was kept, and its interim scores.

    `threads` are the numbers of CPU threads that computed it: several if it was resumed with another number, None if an
    older version kept it.
    """

    run_id: str
    steps: tuple[Step, ...]
    sha256: str
    interims: tuple[Interim, ...] = ()
    threads: tuple[int, ...] | None = None

    @property
    def last(self) -> Step | None:
        """Last point of the curve; None without training."""
        return self.steps[-1] if self.steps else None


def policy_folder(folder: Path, config: RunConfig) -> Path:
    """Folder of a run's trained policy, for a store in `folder`."""
    return folder / "policies" / config.train_id


def keep(
    policy: Policy,
    directory: Path,
    config: RunConfig,
    steps: Sequence[Step],
    data_hash: str,
    interims: Sequence[Interim] = (),
    threads: Sequence[int] | None = None,
) -> Origin:
    """Write a trained policy to its folder, in place of what is there.

    Raises:
        OutOfSpace: the disk has no room; what was there stays, and nothing is left beside it.
    """
    with written_aside(directory, "a trained policy") as fresh:
        if policy.adapted:
            save_file({name: tensor.contiguous() for name, tensor in trained(policy).items()}, fresh / ADAPTER)
        else:
            policy.save(fresh)
        if policy.value_head is not None:
            save_file(policy.value_head.state_dict(), fresh / VALUE_HEAD)
        facts = {
            "format": FORMAT,
            "run_id": config.run_id,
            "data_hash": data_hash,
            "backspace": policy.space.backspace_id is not None,
            "value": policy.value,
            "untied": policy.untied,
            "beside": digest(policy.model) if policy.adapted else None,
            "steps": [dataclasses.asdict(step) for step in steps],
            "interims": [interim.as_json() for interim in interims],
            "interim_id": config.interim_id,
            "threads": None if threads is None else list(threads),
            "files": {path.name: _sha256(path) for path in sorted(fresh.iterdir())},
        }
        whole = _digest(facts)
        (fresh / FACTS).write_text(json.dumps({"facts": facts, "sha256": whole}))
        _replace(directory, fresh)
    return Origin(config.run_id, tuple(steps), whole, tuple(interims), _numbers(threads))


def find(
    directory: Path,
    config: RunConfig,
    data_hash: str,
    device: torch.device,
    start: Callable[[], Policy] | None = None,
) -> tuple[Policy, Origin] | None:
    """The policy in a folder, as it was when its training ended; None if there is none that is whole.

    Args:
        directory: the folder.
        config: configuration of the run that needs it.
        data_hash: hash of the data that it must have been trained on.
        device: device to load it to.
        start: loads the policy as it was before training, for a LoRA of which the trained part alone was kept, and
            raises `HarnessError` if it cannot; with None no LoRA is found.

    None, too, if it lacks the interim scores that the configuration asks for (if it asks for none, those that exist are
    left out), or if a LoRA was trained beside other weights than `start` gives (4-bit ones are not compared).  A frozen
    reference that its value was measured against is not kept: such a policy comes back with the log-sum-exp as its
    value, which no evaluation reads.
    """
    try:
        written = json.loads((directory / FACTS).read_text())
        facts: dict[str, Any] = written["facts"]
        if _digest(facts) != written["sha256"] or facts["format"] != FORMAT or facts["data_hash"] != data_hash:
            return None
        if config.interim_id not in (None, facts.get("interim_id")):
            return None
        if any(_sha256(directory / name) != expected for name, expected in facts["files"].items()):
            return None
        if facts.get("beside") is not None:
            if start is None:
                return None
            policy = start()
            if not config.model.quantised and digest(policy.model) != facts["beside"]:
                return None
            put_back(policy, load_file(directory / ADAPTER))
        else:
            policy = Policy.load(directory, config.model.context, config.model.dtype)
            if facts["backspace"]:
                policy.mark_backspace()
        if facts["value"] == "head":
            policy.set_value("head")
            assert policy.value_head is not None
            policy.value_head.load_state_dict(load_file(directory / VALUE_HEAD))
        policy.untied = facts["untied"]
        steps = tuple(Step(**step) for step in facts["steps"])
        interims = () if config.interim_id is None else tuple(map(Interim.from_json, facts["interims"]))
        origin = Origin(facts["run_id"], steps, written["sha256"], interims, _numbers(facts.get("threads")))
        return policy.to(device), origin
    except (OSError, ValueError, KeyError, TypeError, HarnessError):
        return None  # missing, damaged, or taken away by another process while it was read


def _replace(directory: Path, fresh: Path) -> None:
    """Move `fresh` to `directory`; of several processes that do so at once the last one stays, and it is whole."""
    while True:
        try:
            os.rename(fresh, directory)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # no folder with files stands there
                raise
        old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".old-"))
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.rename(directory, old)
        shutil.rmtree(old, ignore_errors=True)


def _numbers(threads: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if threads is None else tuple(threads)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
