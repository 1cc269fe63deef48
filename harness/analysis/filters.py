"""Filters of stored runs, such as `trainer=bc`, and the configuration keys that they name by a short form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.config.keys import last_part, matching_keys
from harness.config.run import key_order
from harness.config.written import split_list as split_list
from harness.config.written import unquoted
from harness.config.written import written as written
from harness.errors import ConfigError, did_you_mean
from harness.storage.queries import Run, Seeds

_FORM = re.compile(r"\s*([\w.-]+?)(\s*!=|\s*==?|\s+in\s)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Filter:
    """A condition on one configuration key: its value is one of `values`, or with `keep` False none of them.

    A run without the key has none of the values.
    """

    key: str
    values: tuple[str, ...]
    keep: bool = True

    def __call__(self, run: Run) -> bool:
        """True if the run fulfils the condition."""
        value = run.get(self.key)
        missing = value is None and self.key not in run.config
        return (not missing and any(_equal(value, wanted) for wanted in self.values)) is self.keep

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.keep else '!='}{'|'.join(self.values)}"


def known_keys(runs: Iterable[Run]) -> list[str]:
    """Every configuration key that some run has, seeds included, in the order of a configuration."""
    seen = {id(run.config): run.config for run in runs}.values()
    keys = {key for config in seen for key in config} | {f"seeds.{name}" for name in Seeds._fields}
    return sorted(keys, key=key_order)


def stored_key(given: str, known: Sequence[str]) -> str:
    """The configuration key of stored runs that `given` names, in full or by an unambiguous short form; `-` is `_`.

    Raises:
        ConfigError: no key, or more than one.
    """
    wanted = given.strip().replace("-", "_")
    found = matching_keys(wanted, known)
    if len(found) > 1:
        raise ConfigError(f"{given!r} may be {', '.join(found)}; write the whole key")
    if not found:
        spellings = [*known, *(last_part(key) for key in known)]
        raise ConfigError(f"no finished run has a configuration key {given!r}; {did_you_mean(wanted, spellings)}")
    return found[0]


def parse_filter(text: str, runs: Sequence[Run], known: Sequence[str]) -> Filter:
    """Parse `key=value`, `key!=value` or `key in a|b`; values may be quoted.

    Raises:
        ConfigError: another form, an unknown key, or a value that no run has.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ConfigError(
            f"filter {text!r} is not key=value; write, say, trainer.name=mle, lr!=1e-3 or 'trainer in mle|bc'"
        )
    key, sign, right = stored_key(form[1], known), form[2].strip(), form[3]
    values = tuple(map(unquoted, split_list(right, "|") if sign == "in" else [right]))
    stored = {written(run.get(key)): run.get(key) for run in runs if key in run.config or key.startswith("seeds.")}
    for wanted in values:
        if stored and not any(_equal(value, wanted) for value in stored.values()):
            hint = did_you_mean(wanted, stored)
            raise ConfigError(f"filter {text!r}: no finished run has {key}={wanted}; {hint}")
    return Filter(key, values, sign != "!=")


def select(runs: Sequence[Run], filters: Sequence[str], known: Sequence[str]) -> list[Run]:
    """The runs that fulfil every filter.

    Raises:
        ConfigError: as `parse_filter`, where the value is looked for among the runs that are left.
    """
    left = list(runs)
    for text in filters:
        left = list(filter(parse_filter(text, left, known), left))
    return left


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(ValueError):
            return float(wanted) == value
        return False
    return written(value) == (wanted.lower() if value is None or isinstance(value, bool) else wanted)
