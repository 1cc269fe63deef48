"""Errors of the harness; each message names the value given, the values possible, and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import NoneType


class HarnessError(Exception):
    """A problem that the user can solve; the command line prints it without a traceback.

    `exit_code` follows the command line's table: 2 usage or configuration, 3 environment or database.
    """

    exit_code = 2


class ConfigError(HarnessError):
    """A configuration, grid or plug-in option that cannot be used as given."""


class UnknownName(ConfigError, KeyError):
    """A name that no registry, grid or store has.  Also a `KeyError`, as mappings raise."""

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0])


class Archived(UnknownName):
    """A grid or run that is archived: it is as good as unknown until it is restored."""


class StoreError(HarnessError):
    """The database cannot be read or written as it stands."""

    exit_code = 3


class EnvironmentProblem(HarnessError):
    """The machine lacks something: a file, a package, a network."""

    exit_code = 3


def message_of(error: BaseException) -> str:
    """The message of an error; a plug-in's error may fail to give one, and is still one."""
    try:
        return str(error)
    except Exception:
        return "<its message cannot be shown>"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Advice with the closest known spelling; when none is close, with all known ones, or with the nearest of many.

    Capitals, `-` and `_` make no difference.

    >>> did_you_mean("Sequense-match", ["mle", "bc", "sequence_match"])
    "did you mean 'sequence_match'?"
    >>> did_you_mean("x", ["mle", "bc", "bc"])
    'known: bc, mle'
    """
    names = sorted(set(known))
    plain = {_plain(one): one for one in reversed(names)}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    if close:
        return f"did you mean {plain[close[0]]!r}?"
    if name and len(names) > MANY:
        nearest = sorted(names, key=lambda one: (not _shortens(name, one), -_likeness(name, one), one))
        return f"nearest of {len(names)} known names: {', '.join(nearest[:NEAREST])}"
    return "known: " + (", ".join(names) if names else "none")


def kind_in_words(value: object) -> str:
    """The kind of a value of YAML or JSON in words, whatever class its parser has for it.

    >>> kind_in_words([1]), kind_in_words(True), kind_in_words(None)
    ('a list', 'a truth value', 'nothing')
    """
    kinds: dict[type | tuple[type, ...], str] = {
        NoneType: "nothing",
        bool: "a truth value",
        (int, float): "a number",
        str: "text",
        Mapping: "a mapping",
        list: "a list",
    }
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "of another kind")


MANY = 30  # names are too many to find one's own among them
NEAREST = 5


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


def _shortens(short: str, name: str) -> bool:
    """True if `short` has letters of the name in their order, the first one among them, as `ppl` of `perplexity`."""
    left = iter(_plain(name))
    return _plain(short)[:1] == _plain(name)[:1] and all(letter in left for letter in _plain(short))


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, _plain(one), _plain(other)).ratio()
