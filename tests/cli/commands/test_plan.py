"""`harness plan`: its rows, the reasons beside its estimate, and the time that it takes itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from shell import TINY, Shell
from stored import ME

from benchmarks.corpora import python_docs
from harness.cli.arguments import checked_cells, load_grid_argument
from harness.storage.store import Store

SWEPT = """
  trainer:
    - mle
    - {name: sequence_match, divergence: js, alpha: 0.1}
    - {name: sequence_match, divergence: js, alpha: 1.0}
    - {name: sequence_match, divergence: chi2_mixture, alpha: 0.1}
  actions.backspace: [false, true]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("  trainer: [mle, bc]", SWEPT.strip("\n")))
    return Shell(tmp_path)


def test_a_line_says_what_its_row_is(shell: Shell) -> None:
    """4 trainers x 2 action spaces, two seeds of each: divergence, <backspace> and, of equal divergence, alpha."""
    lines = shell("plan", f"{shell.folder}/tiny.yaml").stdout.splitlines()
    assert [line.split(maxsplit=4)[4] for line in lines[1:-2]] == [
        "language mle",
        "language mle <backspace>",
        "language sequence_match js alpha=0.1",
        "language sequence_match js <backspace> alpha=0.1",
        "language sequence_match js alpha=1.0",
        "language sequence_match js <backspace> alpha=1.0",
        "language sequence_match chi2_mixture",
        "language sequence_match chi2_mixture <backspace>",
    ]
    assert all(line.split()[:4] == ["2", "0", "2", "?"] for line in lines[1:-2])
    one = shell("plan", f"{shell.folder}/tiny.yaml", "lr=0.1,0.2", "trainer=mle", "--limit", "1").stdout.splitlines()
    assert one[1] == "    1     0        1          ?  language mle"


def test_states_have_a_column_where_a_cell_is_in_one(shell: Shell) -> None:
    """One cell failed, one is held by a worker: the columns are there, and in the row nothing is pending."""
    asked = (f"{shell.folder}/tiny.yaml", ["trainer=mle", "backspace=false"])
    with Store(shell.environment["HARNESS_STORE"]) as store:
        store.enqueue("tiny", checked_cells(load_grid_argument(*asked)))
        failing, _ = (store.claim_next(ME), store.claim_next(ME))
        assert failing is not None
        store.fail(failing.run_id, failing.owner, "no room")
        lines = shell("plan", asked[0], *asked[1]).stdout.splitlines()
    assert lines[:2] == [
        "cells  done  failed  running  pending  time left  row",
        "    2     0       1        1        0          ?  language mle",
    ]


def test_the_time_of_tuning_has_a_reason_too(shell: Shell) -> None:
    printed = shell("tune", f"{shell.folder}/tiny.yaml", "--plan", "--trials", "2").stdout
    assert "estimated time: not known yet: no run has finished in this store; " in printed


@pytest.mark.parametrize("grid", ["demo", "arithmetic", "two-by-two", "noise"])
def test_shipped_grids_are_planned_in_two_seconds_of_processor_time(grid: str, tmp_path: Path) -> None:
    """The first two read most: a standard library, and 50,000 questions for 108 cells.

    Where nothing is stored no library of tables and databases is loaded, which takes half a second: with it the first
    plan of a standard library, whose parsing takes a second, would be over two.
    """
    python_docs()  # kept from here on
    program = (
        "import sys, time\nfrom harness.cli.app import app\n"
        f"try:\n    app(['plan', {grid!r}, '--store', 'none.db'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'pandas', 'sqlalchemy', 'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 2
