"""64 writers and 4 readers, 20,000 transactions: no lock error in any of them, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import server
from writers import HELPERS, filled

from harness.storage.store import Store

WRITERS, READERS, RUNS, ATTEMPTS = 64, 4, 100, 50  # 100 runs x 50 attempts x 4 transactions = 20,000

# Eight processes of eight threads each; every thread has a store, a connection and claims of its own.
WRITER = """
import sys, threading
from harness.storage.store import Store
from harness.system.processes import this_owner
from stored import step
counts, errors = [], []
def work():
    count = 0
    try:
        with Store(sys.argv[1]) as store:
            while (claim := store.claim_next(this_owner())) is not None:
                store.log(claim.run_id, claim.owner, [step(claim.attempt)])
                store.heartbeat(claim.run_id, claim.owner)
                store.fail(claim.run_id, claim.owner, "again", again=claim.attempt < int(sys.argv[2]))
                count += 4
    except BaseException as error:
        errors.append(repr(error))
    counts.append(count)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(counts), *errors, sep="\\n")
"""
# Readers look five times a second, ten times as often as a dashboard: without a pause four of them take two cores from
# 64 writers, until a writer that waits for longer than its lease loses its claim, as it should.  They go on until the
# writers have ended, however those ended: one that exits early leaves its cell running.
READER = """
import pathlib, sys, time
from harness.storage.store import Store
looks = 0
while True:
    with Store.open(sys.argv[1], read_only=True) as store:
        counts = store.counts()
        assert sum(counts[key] for key in ("done", "failed", "running", "pending")) == counts["cells"]
        steps = store.runs()["step"].dropna()
        store.attempts()
    looks += 1
    if pathlib.Path(sys.argv[3]).exists():
        break
    time.sleep(0.2)
print(looks)
"""


ON_SQLITE = pytest.mark.prove("transactions of 64 writers, SQLite", cases=20_000, seconds=118, alone=True)
ON_POSTGRES = pytest.mark.prove("transactions of 64 writers, PostgreSQL", cases=20_000, seconds=87, alone=True)


@pytest.fixture(params=[pytest.param("sqlite", marks=ON_SQLITE), pytest.param("postgresql", marks=ON_POSTGRES)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/runs.db"
        return
    with server(tmp_path / "postgres") as found:
        yield found


def test_twenty_thousand_transactions_without_an_error(url: str, tmp_path: Path) -> None:
    over = tmp_path / "over"
    with Store(url) as store:
        filled(store, RUNS)
        store.close()
        programs = [WRITER] * (WRITERS // 8) + [READER] * READERS
        children = [
            subprocess.Popen(
                [sys.executable, "-c", program, url, str(ATTEMPTS), str(over)],
                cwd=HELPERS,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for program in programs
        ]
        outputs = [child.communicate(timeout=3000) for child in children[: WRITERS // 8]]
        over.touch()
        outputs += [child.communicate(timeout=60) for child in children[WRITERS // 8 :]]
        assert [err for _, err in outputs] == [""] * len(programs)
        written = [out.split("\n") for out, _ in outputs[: WRITERS // 8]]
        assert [line for lines in written for line in lines[1:] if line] == []
        assert sum(int(lines[0]) for lines in written) == RUNS * ATTEMPTS * 4 == 20_000
        assert all(int(out) > 0 for out, _ in outputs[WRITERS // 8 :])
        assert len(store.attempts()) == RUNS * ATTEMPTS
        assert set(store.attempts().groupby("run_id").size()) == {ATTEMPTS}
