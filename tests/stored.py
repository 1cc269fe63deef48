"""Small configurations and results for tests that need something in a store."""

from __future__ import annotations

from typing import Any

from harness.config.run import RunConfig
from harness.records.data import Example
from harness.records.rollout import Rollout, Trajectory
from harness.records.score import Score
from harness.records.training import Step
from harness.storage.store import Store
from harness.system.processes import this_owner

ME = this_owner()


def config(seed: int = 0, **trainer: Any) -> RunConfig:
    seeds = {"train": seed, "sample": seed, "metric": seed}
    return RunConfig.model_validate({"benchmark": "text", "trainer": {"name": "mle", **trainer}, "seeds": seeds})


def step(number: int, loss: float = 1.0, **terms: float) -> Step:
    return Step(step=number, tokens=10 * number, seconds=0.5 * number, loss=loss, lr=1e-3, terms=terms)


def score(metric: str = "mauve", value: float | None = 0.5, reason: str | None = None, **parameters: Any) -> Score:
    return Score(metric, "exact", parameters, value, reason, 7, "", "higher", "0123456789abcdef")


def rollout(text: str = " b") -> Rollout:
    trajectory = Trajectory(prompt=(5,), actions=(7, 9, 8), injected=(True, False, False))
    return Rollout(trajectory, (0.0, -0.1, -2.5), "ended", text, (8,))


RESULTS: dict[str, Any] = {
    "scores": [score()],
    "prompts": [Example(prompt="a", text=" human")],
    "rollouts": [rollout()],
    "backspace_id": None,
    "provenance": {"data_hash": "d"},
}


def running(store: Store, seed: int = 0) -> str:
    run = config(seed)
    store.enqueue("g", [run])
    assert store.claim(run.run_id, ME)
    return run.run_id


def add(store: Store, run: RunConfig, *grids: str) -> str:
    """A finished run of these grids, with a trained policy."""
    for grid in grids:
        store.enqueue(grid, [run])
    assert store.claim(run.run_id, ME)
    store.finish(run.run_id, ME, **RESULTS)
    folder = store.folder / "policies" / run.train_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.json").write_text("12345")
    return run.run_id
