"""Verdicts of the probe, kept by the hash of a model's configuration: known ones cost no import of torch."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from harness.config.model import ModelConfig
from harness.errors import ConfigError
from harness.hashing import content_hash
from harness.models.architectures.known import known
from harness.records.verdict import Verdict
from harness.system.hub import check_files
from harness.system.model_files import local

_CODE = 1  # raise it when the harness computes otherwise, so that verdicts are not those of before


def check_model(
    model: ModelConfig, *, backspace: bool, contrastive: bool = False, folder: Path | None = None
) -> Verdict | None:
    """The verdict on a loaded model's architecture, if a run can use it; None for one that cannot be looked at yet.

    That is a Hub id that has not been downloaded: it is probed once it is.

    Args:
        model: not one that is built from scratch.
        backspace: True if the run's action space has `<backspace>`.
        contrastive: True if the run samples with the contrastive decoder.
        folder: where verdicts are kept; None keeps them in this process.

    Raises:
        ConfigError: the architecture is not computed rightly, or cannot do what the run asks for.
        EnvironmentProblem: the directory lacks a configuration, weights or a tokenizer.
    """
    if (written := _written(model)) is None:
        return None
    if (refusal := known(written)) is not None:
        _check(model, refusal, backspace=backspace, contrastive=contrastive)
    if (place := local(model.name)) is not None:
        check_files(place, f"model.name={model.name!r}")
    found = _verdict(model, written, folder)
    _check(model, found, backspace=backspace, contrastive=contrastive)
    if found.context < model.context:
        raise ConfigError(
            f"model.name={model.name}: model.context={model.context}: this model holds {found.context} tokens; use at "
            f"most that{found.bound}"
        )
    return found


def _check(model: ModelConfig, found: Verdict, *, backspace: bool, contrastive: bool) -> None:
    """Refuse a model by a verdict; arguments and errors as of `check_model`."""
    name = f"model.name={model.name}"
    if found.refused is not None:
        raise ConfigError(f"{name}: {found.refused}")
    if found.keeps is not None and backspace:
        raise ConfigError(f"{name}: {found.keeps}")
    if found.keeps is not None and contrastive:
        raise ConfigError(
            f"{name}: sampling.decoder=contrastive tries candidates and takes them back, which this model cannot; use "
            "another decoder"
        )


def _written(model: ModelConfig) -> str | None:
    """The text of a model's config.json; empty where a directory has none, None for what is not here."""
    place = local(model.name)
    written = (
        str(place / "config.json")
        if place is not None
        else try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    )
    if place is None and not isinstance(written, str):
        return None
    path = Path(str(written))
    return path.read_text(errors="replace") if path.is_file() else ""


def _verdict(model: ModelConfig, text: str, folder: Path | None) -> Verdict:
    """The verdict on a config.json that is kept in `folder`, or the probe's, which is kept then."""
    kept = None
    if folder is not None and text:
        kept = folder / "probes" / f"{content_hash([version('transformers'), _CODE, text])}.json"
        try:
            return Verdict(**json.loads(kept.read_text()))
        except (OSError, ValueError, TypeError):
            pass  # not known, or written by another version
    from harness.generation.probe import probe_of  # it loads torch

    found = probe_of(model)
    if kept is not None:
        _keep(found, kept)
    return found


def check_lora(model: ModelConfig, folder: Path | None = None) -> Verdict | None:
    """The verdict on a loaded model's LoRA; None where it has none, or cannot be looked at yet, or peft is missing.

    `folder` as in `check_model`.

    Raises:
        ConfigError: its targets are no layers of the model, or it would be another function once folded in.
    """
    if model.lora_r is None or find_spec("peft") is None:
        return None
    if local(model.name) is None and not isinstance(
        try_to_load_from_cache(model.name, "config.json", revision=model.revision), str
    ):
        return None
    kept = None
    if folder is not None and model.revision is not None:  # of a directory the hash of its content
        of = [version("transformers"), version("peft"), _CODE, model.name, model.revision, model.lora_targets]
        kept = folder / "probes" / f"lora-{content_hash(of)}.json"
    try:
        found = Verdict(**json.loads("" if kept is None else kept.read_text()))
    except (OSError, ValueError, TypeError):
        from harness.generation.lora_probe import lora_probe_of  # it loads torch and peft

        found = lora_probe_of(model)
        if kept is not None:
            _keep(found, kept)
    if found.refused is not None:
        raise ConfigError(f"model.name={model.name}: {found.refused}")
    return found


def _keep(found: Verdict, path: Path) -> None:
    """Write a verdict to a file; nothing where that cannot be written: it is probed again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(vars(found)))
        partial.replace(path)
    except OSError:
        pass
