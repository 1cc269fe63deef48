"""A request to stop, at every stage of a cell: what is computed may be long, and cannot always be cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.config.run import RunConfig
from harness.plugins.options import resolve
from harness.records.progress import Progress, Stage
from harness.registry import include
from harness.runner import supervisor
from harness.runner.options import RunnerOptions
from harness.runner.supervisor import supervise
from harness.storage.store import Store
from harness.system.processes import this_owner

PLUGIN = """
import ctypes, os, time
from dataclasses import dataclass
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
from harness.plugins import Loss, Measure, Needs
from harness.registry import METRICS, TRAINERS

if Path(__file__).with_name("slow").exists():
    time.sleep(600)


@TRAINERS.register("long_steps")
@dataclass(frozen=True)
class LongSteps:
    \"\"\"Maximum likelihood whose steps take ten minutes from the middle of the training on.\"\"\"

    alone: bool = False
    update: bool = False
    needs = Needs()

    def loss(self, evaluate, expert, rollouts, moment):
        loss = Loss(-(evaluate(expert).log_prob * expert.weight).sum(-1).mean())
        if moment.progress >= 0.5 and self.update:  # the weights are half changed then, and cannot be saved
            register_optimizer_step_post_hook(lambda *_: time.sleep(600))
        elif moment.progress >= 0.5:
            # an operation that keeps the interpreter to itself leaves no thread time to save
            ctypes.PyDLL(None).sleep(600) if self.alone else time.sleep(600)
        return loss


@METRICS.register("endless")
@dataclass(frozen=True)
class Endless:
    \"\"\"A metric that takes ten minutes.\"\"\"

    alone: bool = False
    definition = "endless"
    measures = {"endless": Measure("1", "lower", "nothing")}

    def parameters(self, evaluation):
        return {}

    def count(self, evaluation):
        return 1

    def measure(self, evaluation):
        ctypes.PyDLL(None).sleep(600) if self.alone else time.sleep(600)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "long.py"
    path.write_text(PLUGIN)
    include(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def cell(**changes: Any) -> RunConfig:
    known: dict[str, Any] = {
        "benchmark": {"name": "language", "length": 6, "train": 64, "validation": 8, "test": 8},
        "trainer": "long_steps",
        "model": {"layers": 1, "width": 8, "heads": 2, "tokenizer": "characters", "context": 8, "base_steps": 0},
        "training": {"steps": 30, "rows": 2},
        "sampling": {"rollouts": 4},
        "metrics": ["actions"],
    }
    return resolve(
        RunConfig(
            **{
                name: {**known[name], **changes.pop(name, {})}
                if isinstance(known[name], dict)
                else changes.pop(name, known[name])
                for name in known
            },
            **changes,
        )
    )


def workers() -> list[int]:
    """The worker processes that live: grandchildren of this process, by way of the fork server."""
    return [grandchild.pid for child in psutil.Process().children() for grandchild in child.children(recursive=True)]


def stopped(store: Store, config: RunConfig, plugin: Path, stage: Stage) -> list[Progress]:
    """The events until a request to stop, made a second after the stage has begun."""
    store.enqueue("g", [config])
    found: list[Progress] = []
    asked: list[float] = []

    def stopping() -> bool:
        asked.extend([time.monotonic()] if any(event.stage == stage for event in found) else [])
        return bool(asked) and time.monotonic() > asked[0] + 1

    for event in supervise(store, RunnerOptions(threads=1, include=(str(plugin),)), [config], stopping):
        found.append(event)
    assert time.monotonic() - asked[0] < 15  # a busy machine included; the time for saving is 20 s
    assert workers() == []
    assert store.runs()["status"].tolist() == ["pending"]
    assert store.attempts()["outcome"].tolist() == ["released"]
    return found


LONG = {"layers": 1, "width": 32, "heads": 2, "tokenizer": "characters", "context": 8, "base_steps": 10**6}
ON_POLICY = {"name": "sequence_match", "buffer_fresh": 20_000, "buffer_size": 20_000}
STAGES: dict[str, tuple[Stage, dict[str, Any]]] = {
    "base": ("base", {"model": LONG}),
    "reference": ("reference", {"metrics": [{"name": "mauve", "featuriser": "reference-lm"}]}),
    "rollouts": ("rollouts", {"trainer": ON_POLICY}),
    "sample": (
        "sample",
        {
            "trainer": "mle",
            "benchmark": {"test": 2000},
            "sampling": {"rollouts": 2000},
            "training": {"steps": 1},
            "model": {"layers": 8, "width": 256},
        },
    ),
    "score": ("score", {"trainer": "mle", "metrics": ["endless"]}),
    "score alone": ("score", {"trainer": "mle", "metrics": [{"name": "endless", "alone": True}]}),
}


@pytest.mark.parametrize("where", STAGES)
def test_a_stage_that_is_not_kept_ends_in_its_middle(
    store: Store, plugin: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take minutes; nothing waits for it, and nothing is left of it."""
    monkeypatch.setattr(supervisor, "PROMPT", 1.0)
    stage, changes = STAGES[where]
    events = stopped(store, cell(**changes), plugin, stage)
    shares = [event.fraction for event in events if event.stage == stage]
    assert shares == sorted(shares)
    assert where not in ("base", "reference", "rollouts", "sample") or 0 < shares[-1] < 1
    assert events[0].stage == "load"


def test_a_worker_that_still_starts_ends(store: Store, plugin: Path) -> None:
    """Its thread that receives is there before it imports plug-ins, of which one takes ten minutes."""
    (plugin.with_name("slow")).touch()
    try:
        stopped(store, cell(trainer="mle"), plugin, "load")
    finally:
        plugin.with_name("slow").unlink()


@pytest.mark.parametrize("alone", [False, True])
def test_a_long_step_is_given_up_and_the_one_before_it_saved(
    store: Store, plugin: Path, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 30 steps are kept where another thread can save them; else the run goes on from its last checkpoint."""
    monkeypatch.setattr(supervisor, "PROMPT", 1.0)
    config = cell(trainer={"name": "long_steps", "alone": alone})
    stopped(store, config, plugin, "train")
    assert [saved.step for saved in store.checkpoints(config.run_id)] == ([] if alone else [15])


def test_a_long_update_is_waited_for_no_longer_than_another_stage(
    store: Store, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for saving, 20 s, is for files that are being written; here none is, as the weights are half changed."""
    monkeypatch.setattr(supervisor, "PROMPT", 1.0)
    config = cell(trainer={"name": "long_steps", "update": True})
    found = stopped(store, config, plugin, "train")
    assert found[-1].stage == "train"
    assert store.checkpoints(config.run_id) == ()


def test_a_cell_that_another_worker_holds_is_not_silent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell is named once, and repeated without its sentence, which a terminal would print each time."""
    monkeypatch.setattr(supervisor, "REPEAT", 0.1)
    config = cell(trainer="mle")
    store.enqueue("g", [config])
    owner = this_owner()
    assert store.claim(config.run_id, owner)
    found: list[Progress] = []
    for event in supervise(store, RunnerOptions(threads=1), [config], lambda: len(found) > 2):
        found.append(event)
    assert {event.stage for event in found} == {"waiting"}
    assert [event.message for event in found] == [f"held by {owner}", "", ""]


def test_progress_is_repeated_while_a_stage_is_silent(
    store: Store, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of ten minutes reports nothing; after a fifth of a second of silence the share before it is repeated."""
    monkeypatch.setattr(supervisor, "REPEAT", 0.2)
    config = cell()
    store.enqueue("g", [config])
    found: list[Progress] = []
    options = RunnerOptions(threads=1, include=(str(plugin),))
    for event in supervise(store, options, [config], lambda: len(found) > 4 and found[-4:] == found[-1:] * 4):
        found.append(event)
    assert found[-1].stage == "train"
    assert 0 < found[-1].fraction <= 0.5
