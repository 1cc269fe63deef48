"""A policy as a folder that transformers alone can load."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentProblem
from harness.models import pretrained
from harness.models.policy import Policy
from harness.models.tokenizers import with_backspace
from harness.system.files import written_aside

ABOUT = "harness.json"  # a policy's context and arithmetic, which only the harness reads
_STALE = ("*.safetensors", "*.safetensors.index.json", "*.bin")


def export(policy: Policy, directory: Path, card: str, *, overwrite: bool = False) -> None:
    """Write a policy as a `save_pretrained` folder: configuration, weights (safetensors), tokenizer, model card.

    Its generation_config.json holds the policy's law: `generate()` without arguments samples as the policy does.
    `<backspace>` is a special token of its tokenizer, with the id of the model's row.  A value head is left out: no
    text depends on it.  The files appear once all are written: where that fails, the directory is as it was.

    Raises:
        EnvironmentProblem: the directory holds something and `overwrite` is False, or cannot be written.
        ConfigError: the tokenizer has a `<backspace>` of its own.
    """
    try:
        if directory.exists() and not directory.is_dir():
            raise EnvironmentProblem(f"{directory} is a file; give a directory that is new or empty")
        if directory.is_dir() and any(directory.iterdir()) and not overwrite:
            raise EnvironmentProblem(f"{directory} is not empty; give another directory, or --overwrite")
        tokenizer = copy.deepcopy(policy.tokenizer)
        if policy.space.backspace_id is not None and not pretrained.has_backspace(policy.model, tokenizer):
            with_backspace(tokenizer, policy.space.backspace_id)
        if tokenizer.eos_token is None and policy.end_id in tokenizer.get_vocab().values():
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(policy.end_id)
        tokenizer.model_max_length = policy.context
        with _whole(directory) as fresh:
            policy.save(fresh)
            tokenizer.save_pretrained(fresh)
            (fresh / ABOUT).write_text(json.dumps({"context": policy.context, "dtype": policy.dtype}) + "\n")
            (fresh / "README.md").write_text(card)
    except OSError as error:
        raise EnvironmentProblem(f"{directory} cannot be written: {error.strerror or error}") from error


@contextmanager
def _whole(directory: Path) -> Iterator[Path]:
    """Yield a fresh folder whose files move into `directory` at the end; none of them, and no new folder, on an error.

    It lies inside of `directory`, whose parent may be another disk, or not writable.
    """
    absent = [one for one in (directory, *directory.parents) if not one.exists()]
    try:
        with written_aside(directory / "model", "an exported model") as fresh:
            yield fresh
            for stale in [path for pattern in _STALE for path in directory.glob(pattern)]:
                stale.unlink()  # else shards of another model would remain beside this one's
            for path in sorted(fresh.iterdir()):
                if (directory / path.name).is_dir():
                    shutil.rmtree(directory / path.name)
                path.replace(directory / path.name)
    except BaseException:
        for one in absent:
            if one.is_dir() and not any(one.iterdir()):
                one.rmdir()
        raise


def about_of(place: Path | None) -> dict[str, Any]:
    """The `context` and `dtype` of an exported policy; empty for a model from elsewhere.

    Raises:
        EnvironmentProblem: the file is damaged.
    """
    if place is None or not (place / ABOUT).is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads((place / ABOUT).read_text())
        return {"context": int(found["context"]), "dtype": str(found["dtype"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f'{place / ABOUT} is damaged; write {{"context": TOKENS, "dtype": "float32"}}, or export the policy again'
        ) from error
