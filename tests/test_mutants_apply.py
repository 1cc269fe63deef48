"""The mutants that `make prove` tries still fit the source: what each replaces stands there once, its tests exist."""

from __future__ import annotations

from pathlib import Path

from mutants import MUTANTS
from survival_mutants import SURVIVAL_MUTANTS

ROOT = Path(__file__).parents[1]


def test_what_a_mutant_replaces_stands_in_its_file_once() -> None:
    stale = []
    for mutant in (*MUTANTS, *SURVIVAL_MUTANTS):
        source = (ROOT / mutant.file).read_text()
        for old, new in mutant.edits:
            stale += [(mutant.name, old)] if source.count(old) != 1 else []
            source = source.replace(old, new)
    assert stale == []


def test_the_tests_that_must_notice_a_mutant_exist() -> None:
    missing = []
    for mutant in (*MUTANTS, *SURVIVAL_MUTANTS):
        for test in mutant.tests:
            file, _, name = test.partition("::")
            path = ROOT / file
            found = path.is_file() and f"def {name.partition('[')[0]}(" in path.read_text()
            missing += [] if found or (path.is_file() and not name) else [(mutant.name, test)]
    assert missing == []
