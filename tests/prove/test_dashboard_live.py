"""Two dashboards look every second while a grid is written: nothing is locked, and nothing is seen half."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.config.run import RunConfig
from harness.report.leaderboard import leaderboard
from harness.storage.queries import read_losses, read_names, read_runs, read_timings, read_values
from harness.storage.store import Store

SECONDS = 15
WRITER = """
import sys, time
from pathlib import Path
from stores import config, finish
from harness.system.processes import this_owner
from harness.records import Step
from harness.storage.store import Store

with Store(sys.argv[1]) as store:
    until, seed = time.monotonic() + float(sys.argv[2]), 0
    while time.monotonic() < until:
        run = config(seed, bool(seed % 2))
        store.enqueue("g", [run])
        store.claim(run.run_id, this_owner())
        for step in range(10):
            store.log(run.run_id, this_owner(), [Step(step, step, step / 10, 1.0, 1e-3, {})])
        finish(store, config(seed + 100_000, bool(seed % 2)), seed / 1000)
        seed += 1
print(seed)
"""


def look(url: str, stop: threading.Event, wrong: list[str], looks: list[int]) -> None:
    """Repeat the queries of a page; a finished run has all its scores and its whole curve."""
    with Store.open(url, read_only=True) as store:
        while not stop.is_set():
            try:
                done = {run.run_id for run in read_runs(store, "g") if run.status == "done"}
                values = read_values(store, "g", [name.name for name in read_names(store, "g")])
                short = {name: done - set(found) for name, found in values.items() if done - set(found)}
                wrong += [f"{name}: without {missing}" for name, missing in short.items()]
                wrong += [run_id for run_id, found in read_losses(store, list(done)).items() if len(found) != 3]
                assert len(read_timings(store, "g", ["done"])) >= len(done)
                leaderboard(store, grid="g")
                looks.append(len(done))
            except Exception as error:
                wrong.append(repr(error))
            stop.wait(0.2)


@pytest.mark.prove("readers while a grid is written", cases=2, seconds=18, alone=True)
def test_two_readers_and_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with Store(url) as store:
        store.enqueue("g", [RunConfig.model_validate({"benchmark": "text", "trainer": "mle"})])
    stop, wrong = threading.Event(), []
    looks: list[list[int]] = [[], []]
    readers = [threading.Thread(target=look, args=(url, stop, wrong, seen)) for seen in looks]
    helpers = str(Path(__file__).parents[1] / "dashboard")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(SECONDS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([helpers, *sys.path])}, stdout=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(1)
    for reader in readers:
        reader.start()
    written, _ = writer.communicate(timeout=SECONDS * 8)
    stop.set()
    for reader in readers:
        reader.join()
    assert writer.returncode == 0
    assert not wrong, wrong[:3]
    assert int(written) > 20
    assert all(len(seen) > 5 for seen in looks)
