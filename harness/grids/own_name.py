"""Names of grids that were changed on the command line: `GRID@key=value,...`, a grid of its own for each change.

Cells of one grid stand in one table.  A grid that is run with other values is another question: under one name the two
would be averaged.  The name says what was changed, however it was typed, and can be typed again where a shipped grid
was changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from harness.config.keys import last_part
from harness.config.written import split_list, takes_text, unquoted
from harness.errors import ConfigError
from harness.grids.settings import SECTIONS, settable_key
from harness.grids.yaml_file import parse_scalar
from harness.hashing import content_hash

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # of a grid, in its file or behind --name
LONGEST = 64  # characters of what was changed; a longer spelling is shortened to its keys and a hash
_PLAIN = re.compile(r"[\w.+/-]+", re.ASCII)  # needs no quotes in a shell, an address or a comma list
_NEXT = re.compile(r",(?=[\w.]+=)")


def own_name(name: str, changes: Mapping[str, tuple[str, bool]], known: Collection[str]) -> str:
    """The name of the grid `name` after changes: dotted key to the value as it is typed, and if it is one list.

    Lists to sweep are sorted, numbers have one spelling, and keys are as short as the command line takes them.
    """
    if not changes:
        return name
    spelled = {_short(key, known): _values(key, *changes[key]) for key in sorted(changes)}
    text = ",".join(f"{key}={','.join(values)}" for key, values in spelled.items())
    if len(text) <= LONGEST and all(_PLAIN.fullmatch(value) for values in spelled.values() for value in values):
        return f"{name}@{text}"
    keys = ",".join(spelled)
    return f"{name}@{keys if len(keys) <= LONGEST else 'changes'}-{content_hash(spelled)[:8]}"


def check_name(name: str, taken: Collection[str]) -> str:
    """The name that `--name` gives, if it is one and not `taken` by a shipped grid; else `ConfigError`."""
    if name in taken:
        raise ConfigError(f"--name {name}: a shipped grid has that name; give another one")
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name}: no name for a grid; use lower-case letters, digits, - and _ (at most 64)")
    return name


def changes_in(text: str) -> list[str] | None:
    """The `key=value` parts of what follows a grid's name and `@`; None where it is no such list.

    >>> changes_in("lr=0.001,0.003,steps=60")
    ['lr=0.001,0.003', 'steps=60']
    """
    parts = _NEXT.split(text)
    return parts if all("=" in part for part in parts) else None


def _short(key: str, known: Collection[str]) -> str:
    with suppress(ConfigError):
        if settable_key(last_part(key), known) == key:
            return last_part(key)
    return key


def _values(key: str, text: str, together: bool) -> list[str]:
    section, _, field = key.partition(".")
    is_text = section not in SECTIONS or takes_text(SECTIONS[section].model_fields[field].annotation)
    found = []
    for piece in split_list(text):
        value = None if is_text else parse_scalar(piece)
        found.append(json.dumps(value) if isinstance(value, (int, float)) else unquoted(piece))
    return found if together else sorted(found)
