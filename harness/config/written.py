"""Values as the command line has them: comma lists, quotes that protect what is inside them, fields that take text.

Quotes are YAML's: in double ones a backslash escapes (`"\\n"`), in single ones a quote is written twice (`'it''s'`).
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from types import EllipsisType, NoneType
from typing import Any, Literal, get_args, get_origin

QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)
# an apostrophe inside a word opens nothing: quotes begin a part or a value, and end it
_PROTECTED = re.compile(rf"(?<![^\s,=|\[])(?:{QUOTED.pattern})(?=\s*(?:[,|\]]|$))", re.DOTALL)


def split_list(text: str, comma: str = ",") -> list[str]:
    """The parts of a comma list; commas in brackets belong to a metric's parameters, commas in quotes to a value.

    `comma` may be another sign between the parts.

    >>> split_list("mauve@mauve-text[pooling=last,scaling=5], diversity")
    ['mauve@mauve-text[pooling=last,scaling=5]', 'diversity']
    >>> split_list('"d/a,b.jsonl",c.jsonl')
    ['"d/a,b.jsonl"', 'c.jsonl']
    >>> split_list('"a|b" | c', "|")
    ['"a|b"', 'c']
    """
    return [part.strip() for part in _split(text, rf"{re.escape(comma)}(?![^\[]*\])")]


def split_pairs(text: str) -> list[tuple[str, str, str]]:
    """The parts of `key=value,key=value`, each as `(key, "=", value)`, or `(part, "", "")` where it has no `=`.

    >>> split_pairs('pooling=last,featuriser="m/a,b"')
    [('pooling', '=', 'last'), ('featuriser', '=', '"m/a,b"')]
    """
    return [part.partition("=") for part in _split(text, ",")]


def unquoted(text: str) -> str:
    r"""The text without the quotes around it, if it has any; `\"` and `\\` in double ones are `"` and `\`.

    >>> unquoted('"m/a,b"'), unquoted("'it''s'"), unquoted("as it is")
    ('m/a,b', "it's", 'as it is')
    """
    if not QUOTED.fullmatch(text):
        return text
    inside = text[1:-1]
    return inside.replace("''", "'") if text[0] == "'" else re.sub(r"\\([\"\\])", r"\1", inside)


def takes_text(hint: Any) -> bool:
    """True if values of a type are text and never numbers, as of `str | None`, `tuple[str, ...]` or `Literal["a"]`.

    >>> takes_text(str | None), takes_text(float | Literal["best"])
    (True, False)
    """
    return _kinds(hint) - {NoneType, EllipsisType} == {str}


def written(value: Any) -> str:
    """A configuration value as the command line and YAML write it."""
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _split(text: str, comma: str) -> list[str]:
    masked = _PROTECTED.sub(lambda found: "_" * len(found[0]), text)
    cuts = [-1, *(found.start() for found in re.finditer(comma, masked)), len(text)]
    return [text[left + 1 : right] for left, right in pairwise(cuts)]


def _kinds(hint: Any) -> set[Any]:
    if get_origin(hint) is Literal:
        return {type(choice) for choice in get_args(hint)}
    if hasattr(hint, "__metadata__"):
        return _kinds(hint.__origin__)
    inner = get_args(hint)
    return set().union(*map(_kinds, inner)) if inner else {EllipsisType if hint is Ellipsis else hint}
