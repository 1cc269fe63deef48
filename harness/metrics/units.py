"""Units in which texts are counted, whitespace words or single characters, and the n-grams of either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

Units: TypeAlias = Literal["words", "characters"]
UnitsOption = Annotated[
    Units,
    Field(description="words: separated by whitespace; characters: all of them, for languages of single characters"),
]
Ngram: TypeAlias = tuple[str, ...]

SPLIT: Mapping[Units, Callable[[str], Sequence[str]]] = {"words": str.split, "characters": list}


def ngrams(units: Iterable[str], n: int) -> list[Ngram]:
    """The n-grams of a sequence, in order: m units give max(0, m - n + 1) of them.

    >>> ngrams("aba", 2)
    [('a', 'b'), ('b', 'a')]
    """
    found = list(units)
    return list(zip(*(found[i:] for i in range(n)), strict=False))


def named(units: Units) -> dict[str, Any]:
    """The `units=` part of a score's name; empty for words."""
    return {} if units == "words" else {"units": units}
