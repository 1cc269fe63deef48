"""Trained policies for use outside of a run: by run id, directory or Hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.config.model import ModelConfig
from harness.errors import EnvironmentProblem, StoreError
from harness.generation.generate import continuations, sampling_of
from harness.generation.probe import check_policy
from harness.generation.verdicts import check_model
from harness.models import lora, pretrained
from harness.models.export import about_of
from harness.models.initial import start_policy
from harness.models.policy import Policy
from harness.records.rollout import Rollout
from harness.storage.queries import find_run, is_run_id
from harness.storage.store import Store
from harness.storage.url import DEFAULT_STORE
from harness.system.model_files import local
from harness.training.base_model import base_folder
from harness.training.trained_policies import find, policy_folder


class LoadedPolicy(Policy):
    """A policy with `sample`, which continues prompts that are texts."""

    @classmethod
    def of(cls, policy: Policy) -> LoadedPolicy:
        """The same weights, tokenizer and action space as `policy`, shared with it."""
        loaded = cls.__new__(cls)
        vars(loaded).update(vars(policy))
        return loaded

    def sample(self, prompts: Sequence[str], *, seed: int = 0, n: int = 1, **sampling: Any) -> list[Rollout]:
        """`n` continuations of each prompt, those of the first prompt first; as `harness generate` writes them.

        `sampling` are options of a run's `sampling`: temperature, top_k, top_p, ..., decoder, length.

        Raises:
            ConfigError: an unknown option or a value out of its domain, or a prompt that leaves no room in the context.
        """
        return list(continuations(self, prompts, sampling_of(**sampling), seed=seed, n=n))


def load_policy(
    what: str | Path, store: Store | str = DEFAULT_STORE, device: str | torch.device = "cpu"
) -> LoadedPolicy:
    """A policy to sample from: a run's, an exported one's, or any pretrained model's.

    Args:
        what: a run id or its beginning, a directory, or a Hub id.
        store: of the runs.
        device: for the weights.

    A LoRA comes back folded into the weights that it was trained beside, in float32 at least: bfloat16 weights would
    round away much of what it has learned.  Where these had 4 bits, it is folded into the weights that they were made
    from, so that it can be used anywhere; that is not quite the function that was trained.

    Raises:
        StoreError: the run is not finished, trains nothing, or its policy is not there any more.
        UnknownName: no such run, or several.
        EnvironmentProblem: neither a directory with a model nor a Hub id that can be reached.
        ConfigError: the harness would compute the model wrongly.
    """
    place = local(what)
    if place is None and is_run_id(str(what)):
        opened = store if isinstance(store, Store) else Store.open(store, read_only=True)
        return LoadedPolicy.of(of_run(opened, find_run(opened, str(what)), torch.device(device)))
    try:
        known = pretrained.known(what)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"no run id, which is hexadecimal, and no model: {error}") from error
    about = about_of(place)
    checked = ModelConfig(name=str(what), context=about.get("context", min(known.context, 128)))
    verdict = check_model(checked, backspace=known.backspace)
    dtype = about.get("dtype", known.dtype)
    weights = known.weights if dtype == "bfloat16" and known.weights is torch.bfloat16 else None
    loaded = Policy.load(what if place is None else place, about.get("context"), dtype, weights=weights)
    loaded.to(torch.device(device))
    check_policy(loaded, checked, verdict)
    return LoadedPolicy.of(loaded)


def of_run(store: Store, run_id: str, device: torch.device) -> Policy:
    """The policy that a finished run trained."""
    config, facts = store.config(run_id), store.provenance(run_id)
    if config.control is not None:
        raise StoreError(f"run {run_id} is the control {config.control!r}, which trains no policy; give another run")
    if facts is None:
        raise StoreError(f"run {run_id} is not finished; `harness run` its grid, then use it")
    base = None
    if config.model.from_scratch:
        base = base_folder(store.folder / "cache", config, facts["data_hash"])
    # 4-bit weights cannot take a LoRA in, nor stand on every machine
    whole = config.model_copy(update={"model": config.model.model_copy(update={"quantised": None})})

    def start() -> Policy:
        return start_policy(whole, base, device)

    if config.untrained:
        return start()
    folder = policy_folder(store.folder, config)
    found = find(folder, config, facts["data_hash"], device, start)
    if found is None:
        raise StoreError(
            f"run {run_id}: its policy is not in {folder}, or is damaged, or lacks the model that it stood beside "
            f"({base or config.model.name}); restore the folder from a copy, or train it again in another folder"
        )
    lora.fold(found[0])
    return found[0]
