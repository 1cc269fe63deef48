"""A grid on a disk that fills up: nothing acknowledged is lost, and with room again it ends as it would have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.chaos import cells

from harness.runner.options import RunnerOptions
from harness.runner.supervisor import supervise
from harness.runs.fingerprint import content
from harness.storage.store import Store

pytestmark = pytest.mark.prove("a grid on a disk that fills up", seconds=358)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


PROGRAM = """
import sys
from harness.runner.options import RunnerOptions
from harness.storage.store import Store
from harness.runner.supervisor import supervise
with Store(sys.argv[1]) as store:
    for _ in supervise(store, RunnerOptions(workers=2, threads=2, checkpoint_every=0.05), None, lambda: False):
        pass
"""


def test_a_full_disk_stops_the_grid_and_loses_nothing(small: Path, tmp_path: Path) -> None:
    """A ballast file leaves less and less room; each time the grid stops with a sentence, and goes on with more."""
    grid = cells(6)
    with Store(f"sqlite:///{tmp_path}/alone/runs.db") as alone:
        alone.enqueue("g", grid)
        list(supervise(alone, RunnerOptions(workers=2, threads=2), None, lambda: False))
        expected = content(alone)
    url, stopped = f"sqlite:///{small}/runs.db", 0
    with Store(url) as store:
        store.enqueue("g", grid)
    ballast = small / "ballast"
    for left in (100_000, 300_000, 600_000, 900_000, 1_200_000, 6_000_000):
        ballast.unlink(missing_ok=True)
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        ballast.write_bytes(bytes(max(0, free - left)))
        done = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, text=True, timeout=600)
        if done.returncode:
            stopped += 1
            assert any(word in done.stderr for word in ("full", "No space", "disk I/O")), done.stderr
        else:
            break
    assert stopped
    with Store(url) as store:
        assert store.counts()["done"] == len(grid)
        assert content(store) == expected
