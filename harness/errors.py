"""Errors of the harness; each message names the value given, the values possible, and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """Advice with the closest known spelling, or with all known ones when none is close.

    >>> did_you_mean("sequense_match", ["mle", "bc", "sequence_match"])
    "did you mean 'sequence_match'?"
    >>> did_you_mean("x", ["mle", "bc"])
    'known: bc, mle'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + (", ".join(names) if names else "none")
