"""SIGTERM to a real `harness run`, at every stage: it ends in time, leaves no process, and loses nothing.

A plug-in makes one stage long, in worker processes and while a file says so; without the file the same command ends
with the results of a run that nothing has stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from harness.runs.fingerprint import content
from harness.storage.store import Store

WITHIN = 5.0  # seconds
STEPS = 30
GRID = """
question: Does it end when it is asked to?
base:
  benchmark: {name: language, train: 64, validation: 8, test: 8, length: 6}
  trainer: {name: at_length, buffer_fresh: 8, buffer_size: 16, buffer_every: 20}
  model: {width: 8, layers: 1, heads: 2, tokenizer: characters, base_steps: 20, context: 16}
  training: {steps: 30, rows: 4}
  sampling: {rollouts: 8}
  metrics: METRICS
controls: false
"""
METRICS = "[actions, at_length]"
REFERENCE = "[actions, at_length, {name: mauve, featuriser: reference-lm}]"
PLUGIN = """
import ctypes, multiprocessing, os, time
from dataclasses import dataclass
from pathlib import Path

from harness.plugins import Measure
from harness.registry import METRICS, TRAINERS
from trainers.sequence_match import SequenceMatch

FILE = Path(__file__).with_name("long")
LONG = FILE.read_text() if multiprocessing.parent_process() is not None and FILE.exists() else ""
progress = -1.0  # of the training; before it, -1


def at_length(alone=False):
    # an operation that keeps the interpreter to itself leaves no other thread time
    ctypes.PyDLL(None).sleep(600) if alone else time.sleep(600)


@TRAINERS.register("at_length")
@dataclass(frozen=True)
class AtLength(SequenceMatch):
    def loss(self, evaluate, expert, rollouts, moment):
        global progress
        progress = moment.progress
        if LONG in ("train", "train alone") and progress >= 0.5:
            at_length(LONG == "train alone")
        if LONG == "save":
            time.sleep(0.3)
        return super().loss(evaluate, expert, rollouts, moment)


@METRICS.register("at_length")
@dataclass(frozen=True)
class Length:
    definition = "one"
    measures = {"at_length": Measure("1", "lower", "nothing")}

    def parameters(self, evaluation):
        return {}

    def count(self, evaluation):
        return 1

    def measure(self, evaluation):
        if LONG in ("score", "score alone"):
            at_length(LONG == "score alone")
        return {"at_length": 1.0}


if LONG == "load":
    at_length()

if LONG in ("base", "reference", "update"):
    from torch.optim.optimizer import register_optimizer_step_post_hook

    def stepped(*_):
        if LONG != "update":
            time.sleep(0.3)
        elif progress >= 0.5:
            at_length()

    register_optimizer_step_post_hook(stepped)

if LONG in ("rollouts", "sample"):
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    def called(*_):
        if torch.is_inference_mode_enabled() and (progress < 0 if LONG == "rollouts" else progress > 0.9):
            time.sleep(0.05)

    register_module_forward_pre_hook(called)

if LONG == "save":
    synced = os.fsync

    def fsync(file):
        time.sleep(1.0)
        synced(file)

    os.fsync = fsync
"""


@dataclass
class Walk:
    """One folder with the grid, its store and what makes a stage of it long."""

    folder: Path
    metrics: str = METRICS
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "grid.yaml").write_text(GRID.replace("METRICS", self.metrics))
        (self.folder / "plugin.py").write_text(PLUGIN)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/runs.db"

    def start(self, long: str = "") -> subprocess.Popen[bytes]:
        """The command, with one stage made long; its log goes to a file."""
        (self.folder / "long").unlink(missing_ok=True)
        if long:
            (self.folder / "long").write_text(long)
        command = [sys.executable, "-m", "harness", "run", "grid.yaml", "--include", "plugin.py", "--threads", "1"]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--store", self.url],
                cwd=self.folder,
                env={**os.environ, "HARNESS_WALK": self.mark, "COLUMNS": "200"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def lives(self) -> list[str]:
        """Everything that the command has started and that has not ended, worker and fork server included."""
        return list(self._living())

    def _living(self) -> Iterator[str]:
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("HARNESS_WALK") == self.mark
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield f"{process.pid} {' '.join(process.cmdline())[:200]}"
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue

    def finished(self) -> str:
        """The hash of all results, once the command has run to its end."""
        assert self.start().wait(timeout=300) == 0, self.log()
        with Store(self.url) as store:
            assert store.counts()["done"] == 1
            return content(store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Results of a run that nothing has stopped, by its metrics."""
    known: dict[str, str] = {}

    def result(metrics: str) -> str:
        if metrics not in known:
            known[metrics] = Walk(tmp_path_factory.mktemp("whole"), metrics).finished()
        return known[metrics]

    return result


# What is long: the stage that the log names then, and the step that is kept (None: nothing is).
CASES: dict[str, tuple[str, int | None]] = {
    "load": ("load", None),
    "base": ("base", None),
    "reference": ("reference", None),
    "rollouts": ("rollouts", None),
    "train": ("train", STEPS // 2),
    "train alone": ("train", None),
    "update": ("train", None),
    "save": ("train", -1),  # of a step by the clock
    "sample": ("sample", STEPS),
    "score": ("score", STEPS),
    "score alone": ("score", STEPS),
}


def until(process: subprocess.Popen[bytes], walk: Walk, reached: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, walk.log()
        assert time.monotonic() < ends, walk.log()
        time.sleep(0.05)


@pytest.mark.prove("SIGTERM at every stage of `harness run`", seconds=30, alone=True)
@pytest.mark.parametrize("long", ["start", *CASES])
def test_it_ends_in_time_and_goes_on(long: str, tmp_path: Path, whole: Callable[[str], str]) -> None:
    """A training is kept where another thread can save it; all else of the cell begins anew."""
    walk = Walk(tmp_path / "walk", REFERENCE if long == "reference" else METRICS)
    process = walk.start("" if long == "start" else long)
    if long == "start":  # the server of the workers imports torch, and answers nothing meanwhile
        until(
            process,
            walk,
            lambda: (walk.folder / "runs.db").exists() and any("forkserver" in line for line in walk.lives()),
        )
    else:
        until(process, walk, lambda: f"  {CASES[long][0]}" in walk.log())
        time.sleep(1)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(timeout=60)
        took = time.monotonic() - asked
        while (left := walk.lives()) and time.monotonic() < asked + 2 * WITHIN:  # the workers' server ends after it
            time.sleep(0.05)
        print(f"{long}: {took:.2f} s, and what it has started {time.monotonic() - asked:.2f} s")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert not left
    assert took < WITHIN, f"{took:.1f} s\n{walk.log()}"
    assert code == 130, walk.log()
    assert "goes on from the first unfinished cell" in walk.log()
    with Store(walk.url) as store:
        assert store.runs()["status"].tolist() == ["pending"]
        assert set(store.attempts()["outcome"]) <= {"released"}
        (run_id,) = store.runs()["run_id"]
        steps = [saved.step for saved in store.checkpoints(run_id)]
    kept = CASES[long][1] if long in CASES else None
    if kept == -1:
        assert len(steps) == 1
        assert 0 < steps[0] < STEPS
    elif kept != STEPS:  # else the policy itself is kept
        assert steps == ([] if kept is None else [kept])
    assert walk.finished() == whole(walk.metrics)
    if steps:
        assert f"goes on from step {steps[0]}" in walk.log()
