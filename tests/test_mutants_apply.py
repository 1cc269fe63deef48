"""The mutants that `make prove` tries still fit the source: what each of them replaces stands there once."""

from __future__ import annotations

from pathlib import Path

from mutants import MUTANTS
from survival_mutants import SURVIVAL_MUTANTS

ROOT = Path(__file__).parent.parent


def test_what_a_mutant_replaces_stands_in_its_file_once() -> None:
    stale = []
    for mutant in (*MUTANTS, *SURVIVAL_MUTANTS):
        source = (ROOT / mutant.file).read_text()
        for old, new in mutant.edits:
            stale += [(mutant.name, old)] if source.count(old) != 1 else []
            source = source.replace(old, new)
    assert stale == []
