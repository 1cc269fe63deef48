"""Cost of running: two workers beside one, the command line's start, and the dashboard's first page."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from itertools import count
from pathlib import Path

from benchmarks.speed.models import seconds
from harness.config.run import RunConfig
from harness.plugins.options import resolve
from harness.plugins.speed import Environment, SpeedComparison, Turn, Unavailable
from harness.runner.grid import run_grid
from harness.runner.options import RunnerOptions
from harness.storage.store import Store

CELLS = 4
GROUPS = 1_250  # of eight seeds: 10,000 runs


def cells() -> list[RunConfig]:
    """Four seeds of MLE on a small language, some two seconds of training each."""
    model = {"name": "gpt2", "layers": 4, "width": 128, "heads": 4, "tokenizer": "characters", "base_steps": 0}
    given = {
        "benchmark": {"name": "language", "length": 30},
        "trainer": {"name": "mle"},
        "model": {**model, "context": 32},
        "training": {"steps": 40, "rows": 32},
        "sampling": {"rollouts": 64},
        "metrics": [],
    }
    runs = [{**given, "seeds": {"train": seed, "sample": seed, "metric": seed}} for seed in range(CELLS)]
    return [resolve(RunConfig.model_validate(run)) for run in runs]


def two_workers(environment: Environment) -> tuple[Turn, Turn]:
    """Cells per hour from the first one's start to the last one's end, a new store each time."""
    stores = count()

    def turn(workers: int) -> Turn:
        def cells_per_hour() -> float:
            with Store(f"sqlite:///{environment.folder}/{next(stores)}/runs.db") as store:
                options = RunnerOptions(workers=workers, device="cpu", threads=2)
                for progress in run_grid(cells(), store, grid_name="speed", options=options):
                    assert progress.stage != "failed", progress.message
                rows = store.runs("speed", "done")
            assert len(rows) == CELLS
            began, ended = min(map(_time, rows["started"])), max(map(_time, rows["finished"]))
            return 3600 * CELLS / (ended - began).total_seconds()

        return cells_per_hour

    return turn(2), turn(1)


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def command(*arguments: str) -> Turn:
    """Wall seconds of a `harness` command in a fresh process."""
    script = Path(sys.executable).parent / "harness"
    if not script.exists():
        raise Unavailable(f"{script} is missing: pip install -e .")
    return lambda: seconds(lambda: subprocess.run([script, *arguments], check=True, stdout=subprocess.DEVNULL), "cpu")


def first_page(environment: Environment) -> tuple[Turn, None]:
    """Seconds of the first page of a server that has just started over 10,000 runs, drawn outside of a browser."""
    from benchmarks.speed.dashboard import GRIDS, fill

    url = f"sqlite:///{environment.folder}/runs.db"
    with Store(url) as store:
        fill(store, GROUPS)
    program = [sys.executable, "-m", "benchmarks.speed.dashboard", "--first", url, f"grid {GRIDS - 1}"]

    def turn() -> float:
        return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    return turn, None


WORKERS = SpeedComparison(
    "2 workers on 2 cores", "1 worker with 2 threads", "cells/h", 1.5, "higher", two_workers, warmup=False
)
HELP = SpeedComparison("harness --help", "", "s", 0.35, "lower", lambda environment: (command("--help"), None))
LS = SpeedComparison(
    "harness ls trainers", "", "s", 1.0, "lower", lambda environment: (command("ls", "trainers"), None)
)
FIRST_PAGE = SpeedComparison("first dashboard page, 10,000 runs", "", "s", 1.5, "lower", first_page)
