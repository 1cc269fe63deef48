"""Every mistake in `mutants`, put into a copy of the source, makes at least one test fail there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS as FORMULAS
from mutants import Mutant
from survival_mutants import SURVIVAL_MUTANTS

MUTANTS = (*FORMULAS, *SURVIVAL_MUTANTS)
ROOT = Path(__file__).parent.parent.parent
COPIED = ("harness", "trainers", "benchmarks", "tests", "pyproject.toml")
SOURCES = (
    "harness.actions.batch",
    "harness.plugins.trainer",
    "trainers.divergences",
    "trainers.sequence_match",
    "benchmarks",
)

ROW = "mistakes put into the source, noticed by a test"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source and its tests in a folder of their own."""
    for name in COPIED:
        here, there = ROOT / name, tmp_path / name
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, there)
    return tmp_path


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy, whose packages go before the installed ones."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment = outer | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=1800)


def run_tests(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return python(copy, "-m", "pytest", "-x", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist", *tests)


@pytest.mark.prove(ROW, cases=0)
def test_the_copy_is_what_its_tests_import(copy: Path) -> None:
    """Modules and entry points alike come from the copy, not from the installed source."""
    program = (
        "import importlib, inspect, sys\nfrom harness.registry import TRAINERS\n"
        f"for name in {SOURCES!r}: print(importlib.import_module(name).__file__)\n"
        "print(inspect.getfile(TRAINERS['sequence_match']))"
    )
    done = python(copy, "-c", program)
    assert done.returncode == 0, done.stderr
    found = [Path(line) for line in done.stdout.splitlines()]
    assert len(found) == len(SOURCES) + 1
    assert all(path.is_relative_to(copy) for path in found), found


@pytest.mark.prove(ROW, cases=0, seconds=60)
def test_without_a_mutant_the_same_tests_pass(copy: Path) -> None:
    tests = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
    done = run_tests(copy, tests)
    assert done.returncode == 0, done.stdout


@pytest.mark.prove(ROW, seconds=8)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_noticed(mutant: Mutant, copy: Path) -> None:
    """A test fails: not a collection error, not an error of the run, not a test that is missing."""
    path = copy / mutant.file
    source = path.read_text()
    for old, new in mutant.edits:
        assert source.count(old) == 1, f"{mutant.file} has {source.count(old)} times: {old}"
        source = source.replace(old, new)
    path.write_text(source)
    done = run_tests(copy, mutant.tests)
    assert done.returncode == 1, f"nothing noticed that {mutant.name}:\n{done.stdout}{done.stderr}"
    assert re.search(r"^FAILED ", done.stdout, re.MULTILINE), done.stdout
    assert not re.search(r"^ERROR ", done.stdout, re.MULTILINE), done.stdout
