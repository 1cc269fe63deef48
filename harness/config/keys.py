"""Dotted keys of a configuration, such as `training.lr`: made from nested values, shortened, found by a short form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.config.section import Scalar


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """`{"a": {"b": 1}}` to `{"a.b": 1}`."""
    flat: dict[str, Scalar] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def last_part(key: str) -> str:
    """The last part of a key, as column heads have it; a plug-in's or model's name goes by its section.

    >>> last_part("training.lr"), last_part("trainer.name")
    ('lr', 'trainer')
    """
    return key.removesuffix(".name").rpartition(".")[2]


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last part of each key, or the whole key where two would read the same."""
    short = [last_part(key) for key in keys]
    return [name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)]


def matching_keys(short: str, known: Iterable[str]) -> list[str]:
    """The known keys that a short form may mean: the key itself, or else the name of a section, or last parts.

    >>> matching_keys("lr", ["training.lr", "model.base_lr"]), matching_keys("trainer", ["trainer.name"])
    (['training.lr'], ['trainer.name'])
    """
    keys = list(known)
    if short in keys:
        return [short]
    return [key for key in keys if key == f"{short}.name" or key.endswith(f".{short}")]
