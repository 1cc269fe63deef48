"""A store with runs to claim, and processes that all write to it at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stored import config

from harness.storage.store import Store

HELPERS = Path(__file__).resolve().parent  # where `stored` is, for the processes

WORKER = """
import sys
import threading
import time
from harness.storage.store import Store
from harness.system.processes import this_owner
from stored import step
count = 0
with Store(sys.argv[1]) as store:
    while (claim := store.claim_next(this_owner())) is not None:
        store.log(claim.run_id, claim.owner, [step(claim.attempt)])
        store.heartbeat(claim.run_id, claim.owner)
        store.fail(claim.run_id, claim.owner, "again", again=claim.attempt < int(sys.argv[2]))
        count += 4
print(count)
"""


def many_writers(url: str, processes: int, attempts: int, seconds: float) -> int:
    """Transactions that so many processes did on one store without an error."""
    command = [sys.executable, "-c", WORKER, url, str(attempts)]
    children = [
        subprocess.Popen(command, cwd=HELPERS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    outputs = [child.communicate(timeout=seconds) for child in children]
    assert [err for _, err in outputs] == [""] * processes
    return sum(int(out) for out, _ in outputs)


def filled(store: Store, runs: int = 1) -> list[str]:
    cells = [config(seed) for seed in range(runs)]
    store.enqueue("g", cells)
    return [cell.run_id for cell in cells]
