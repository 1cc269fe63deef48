"""Runs a grid while killing and freezing its processes, and prints how it ended; a program of its own.

    python tests/chaos/chaos.py FOLDER --kills 40 --freezes 4 --seed 0

Four supervisors with a worker process each share one store.  As the grid advances, kill -9 hits one of the eight
processes at random, or the process that next comes to a named failpoint; a freeze stops one for longer than its
lease and then lets it go on.  Killed supervisors are started again, as a person would.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from harness.config.run import RunConfig
from harness.runner.options import RunnerOptions
from harness.runner.supervisor import supervise
from harness.runner.worker import server
from harness.runs.fingerprint import content
from harness.storage.store import Store
from harness.system.failpoints import NAMES

STEPS, WORKERS = 120, 4
LEASE, FROZEN, SILENT = 2.0, 3.0, 60.0  # seconds: a lease, a freeze, and the silence after which a worker is ended
# A checkpoint after an attempt's first step: by the clock alone, a busy machine would hardly save, so hardly resume.
# A silence longer than any freeze or import: a worker ended while it still imports would be tried again for ever.
RULES = RunnerOptions(threads=1, checkpoint_every=0, stall_after=SILENT, crashes=10**6, keep_going=True)


def cells(count: int) -> list[RunConfig]:
    """Tiny trainings of 120 steps from one base; every sixth has a replay buffer."""
    from harness.plugins.options import resolve

    mixture = {"name": "sequence_match", "buffer_fresh": 4, "buffer_size": 8, "buffer_every": 40}
    found = [
        RunConfig(
            benchmark={"name": "language", "length": 6, "train": 64, "validation": 8, "test": 8},
            trainer=mixture if seed % 6 == 5 else "mle",
            model={"layers": 1, "width": 8, "heads": 2, "tokenizer": "characters", "context": 8, "base_steps": 2},
            training={"steps": STEPS, "rows": 2, "lr": 3e-3},
            actions={"backspace": True, "noise_rate": 0.2, "noise_kind": "ground_truth"},
            sampling={"rollouts": 4},
            metrics=["actions"],
            seeds={"train": seed, "sample": seed},
        )
        for seed in range(count)
    ]
    return [resolve(config) for config in found]


def serve(url: str, errors: str) -> None:
    """Run a supervisor until the grid is done; any error that ends it is written to `errors`.

    A supervisor that is killed while it asks the server for a worker takes the server with it.  Here all share one, so
    that the others end with it: by no fault of theirs, and as if they had been killed.
    """
    # The workers' server is the one that this process came from: importing torch again would take seconds.
    shared = resource_tracker.ensure_running
    parent = os.getppid()
    forkserver.ensure_running = forkserver._forkserver.ensure_running = shared  # type: ignore[attr-defined]
    try:
        with Store(url, lease=LEASE) as store:
            for _ in supervise(store, RULES, None, lambda: False):
                pass
    except BaseException:
        if os.getppid() != parent:
            raise
        (Path(errors) / str(os.getpid())).write_text(traceback.format_exc())
        raise


class Chaos:
    """The supervisors of one grid, with counts of kills and freezes."""

    def __init__(self, url: str, failpoints: Path, rng: random.Random) -> None:
        self.url, self.failpoints, self.rng = url, failpoints, rng
        self.errors = failpoints.with_name("errors")
        self.errors.mkdir()
        self.context = server()
        self.supervisors: list[BaseProcess] = []
        self.frozen: dict[int, float] = {}
        self.counts: Counter[str] = Counter()

    def tend(self) -> None:
        """Start a supervisor in place of each that was killed."""
        self.supervisors = [process for process in self.supervisors if process.exitcode is None]
        while len(self.supervisors) < WORKERS:
            process = self.context.Process(target=serve, args=(self.url, str(self.errors)))
            try:
                process.start()
            except (EOFError, OSError):  # a process killed while asking the fork server ends the server, too
                continue
            self.supervisors.append(process)

    def victims(self) -> list[int]:
        """All processes that compute or supervise: the children of the fork server, which itself is left alone."""
        parent = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(parent).children():
                if child.pid not in self.frozen and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
        return found

    def harm(self, how: str) -> bool:
        """Kill or freeze a process now, or have the one killed that first comes to a failpoint; False: there is none.

        A frozen process stands still for longer than its lease.
        """
        if how in NAMES:
            ready = self.failpoints.with_name("ready")
            ready.write_text("kill")
            ready.rename(self.failpoints / how)  # whole at once: a process may come to the point at any time
            return True
        victims = self.victims()
        if not victims:
            return False
        pid = self.rng.choice(victims)
        try:
            os.kill(pid, signal.SIGSTOP if how == "freeze" else signal.SIGKILL)
        except ProcessLookupError:  # it has just ended by itself
            return False
        if how == "freeze":
            self.frozen[pid] = time.monotonic() + FROZEN
            self.counts["frozen"] += 1
        else:
            self.counts["supervisor" if pid in {p.pid for p in self.supervisors} else "worker"] += 1
        return True

    def thaw(self) -> None:
        """Let processes go on that have been frozen long enough."""
        for pid, until in list(self.frozen.items()):
            if time.monotonic() > until:
                del self.frozen[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def run(self, store: Store, total: int, kills: int, freezes: int) -> None:
        """Run until every cell is done; kills and freezes are spread over the steps that the grid takes."""
        points = [*NAMES, *NAMES] if kills >= 2 * len(NAMES) else []
        kinds = [*points, *["kill"] * (kills - len(points)), *["freeze"] * freezes]
        plan = sorted((self.rng.random() * 0.9, how) for how in kinds)
        while True:
            self.tend()
            self.thaw()
            runs = store.runs()
            steps = sum(STEPS if run.status == "done" else run.step or 0 for run in runs.itertuples())
            while plan and steps >= plan[0][0] * total * STEPS:
                if not self.harm(plan[0][1]):
                    break
                plan.pop(0)
            if set(runs["status"]) == {"done"}:
                break
            time.sleep(0.05)
        for pid in self.frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for process in self.supervisors:
            process.join(10)
        self.counts["failpoint"] = len(list(self.failpoints.glob("*.taken")))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The grid alone, then the same grid under fire."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, default in (("cells", 48), ("kills", 40), ("freezes", 4), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--url", default="")
    asked = parser.parse_args(arguments)
    failpoints = asked.folder / "failpoints"
    failpoints.mkdir(parents=True)
    os.environ["HARNESS_FAILPOINTS"] = str(failpoints)
    server()
    grid = cells(asked.cells)
    began = time.monotonic()
    with Store(f"sqlite:///{asked.folder}/alone/runs.db", lease=LEASE) as alone:
        alone.enqueue("chaos", grid)
        for _ in supervise(alone, RunnerOptions(workers=2, threads=2), None, lambda: False):
            pass
        expected = content(alone)
    between = time.monotonic()
    url = asked.url or f"sqlite:///{asked.folder}/chaos/runs.db"
    with Store(url, lease=LEASE) as store:
        store.enqueue("chaos", grid)
        chaos = Chaos(url, failpoints, random.Random(asked.seed))
        chaos.run(store, len(grid), asked.kills, asked.freezes)
        attempts = store.attempts()
        report = {
            "same": content(store) == expected,
            "cells": store.counts(),
            "finished": attempts[attempts["outcome"] == "done"].groupby("run_id").size().tolist(),
            "leftovers": sorted(str(path.name) for path in store.folder.rglob("*.partial")),
            "checkpoints": sorted(path.name for path in store.folder.glob("checkpoints/*")),
            "outcomes": attempts["outcome"].value_counts().to_dict(),
            "resumed": int((attempts["from_step"] > 0).sum()),
            "done_to": dict(chaos.counts),
            "unused": sorted(path.name for path in failpoints.glob("*") if path.suffix != ".taken"),
            "errors": [path.read_text() for path in chaos.errors.iterdir()],
            "seconds": [round(between - began, 1), round(time.monotonic() - between, 1)],
        }
    return report


if __name__ == "__main__":
    multiprocessing.freeze_support()
    print(json.dumps(main()))
