"""Every trainer that is registered may be cut at any step: resumed, it ends in the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import STEPS, resumed, training, variants

from harness.training.checkpoint import State

TESTS = Path(__file__).resolve().parent.parent


def cut(trainer: dict[str, Any], steps: list[int]) -> tuple[dict[int, bytes], str, list[list[float]]]:
    """The states after these numbers of steps, then the uninterrupted run's end and its whole curve."""
    run, states, points = training(trainer), {}, []
    while not run.finished:
        if run.step in steps:
            states[run.step] = run.state().to_bytes()
        point = run.advance()
        if point is not None:
            points.append([point.step, point.tokens, point.loss, point.lr, *point.terms.values()])
    return states, run.state().hash, points


@pytest.mark.parametrize("trainer", variants(every_choice=False), ids=lambda given: given["name"])
def test_resumed_at_any_step_the_end_is_the_same(trainer: dict[str, Any]) -> None:
    """Cut before the first step, in the middle of a buffer's life, and before the last of 30 steps."""
    states, end, points = cut(trainer, [0, 13, STEPS - 1])
    assert len(states) == 3
    for step, content in states.items():
        assert resumed(trainer, content) == (end, [point for point in points if point[0] > step])


@pytest.mark.parametrize("trainer", variants(every_choice=False), ids=lambda given: given["name"])
def test_a_state_taken_within_a_step_is_that_before_it(trainer: dict[str, Any]) -> None:
    """At step 12 a buffer is refreshed: the gradient is there, rollouts and counts have moved, the state has not."""
    run = training(trainer)
    while run.step < 12:
        run.advance()
    before = run.state()
    gradient = run.gradient()
    within = run.state()
    assert (within.hash, within.facts) == (before.hash, before.facts)
    point = run.update(gradient)
    assert run.state().hash != before.hash
    again = training(trainer)
    again.restore(within)
    other = again.advance()
    assert again.state().hash == run.state().hash
    assert (point and point.loss) == (other and other.loss)


@pytest.mark.prove("trainings cut and resumed", cases=25, seconds=12)
@pytest.mark.parametrize("trainer", variants(every_choice=True), ids=str)
def test_resumed_in_a_fresh_process_the_end_is_the_same(trainer: dict[str, Any], tmp_path: Path) -> None:
    """25 cuts, all resumed by a process that has computed nothing before."""
    states, end, points = cut(trainer, list(range(0, STEPS, 6)) + [s for s in range(STEPS) if s % 6][:20])
    assert len(states) == 25
    for step, content in states.items():
        (tmp_path / f"{step:02}").write_bytes(content)
    command = [sys.executable, str(TESTS / "resuming.py"), json.dumps(trainer), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=TESTS, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [int(name) for name, _, _ in found] == sorted(states)
    for name, last, rest in found:
        assert last == end, f"cut at step {name}"
        assert rest == [point for point in points if point[0] > int(name)]


def test_a_training_with_a_reference_and_a_head_resumes() -> None:
    """Frozen weights, an untied head and a value head come back from the start of training, not from the file."""
    for trainer in ({"name": "td_mle", "value": "reference"}, {"name": "sequence_match", "divergence": "js"}):
        states, end, _ = cut(trainer, [9])
        assert resumed(trainer, states[9])[0] == end


def test_what_was_spent_and_seen_before_the_cut_counts() -> None:
    """Seconds (of a budget in seconds), tokens, the curve, and the numbers of threads come back with the weights."""
    run = training({"name": "sequence_match", "buffer_size": 6, "buffer_fresh": 4, "buffer_every": 4})
    for _ in range(7):
        run.advance()
    state = run.state()
    state = State(state.tensors, {**state.facts, "seconds": 12.5, "threads": [7]})
    back = training({"name": "sequence_match", "buffer_size": 6, "buffer_fresh": 4, "buffer_every": 4})
    back.restore(State.from_bytes(state.to_bytes()))
    assert (back.step, back.seconds, back.progress) == (7, 12.5, 7 / STEPS)
    assert (back.tokens, back.sampled_actions, back.points) == (run.tokens, run.sampled_actions, run.points)
    assert back.threads == {1, 7}
    assert back.state().hash == State(back.state().tensors, {**run.state().facts, "threads": [1, 7]}).hash


def test_a_state_survives_its_bytes() -> None:
    """NaN payloads, -0.0, subnormals and integers come back bit by bit; seconds do not count in the hash."""
    tensors = {
        "a": torch.tensor([float("nan"), -0.0, 5e-324], dtype=torch.float64),
        "b": torch.tensor(2**31, dtype=torch.int64),
        "c": torch.zeros(2, 3).T,
    }
    state = State(tensors, {"step": 3, "seconds": 0.1, "replay": [[1, {"prompt": [2]}]]})
    back = State.from_bytes(state.to_bytes())
    assert back.facts == state.facts
    assert set(back.tensors) == set(tensors)
    assert all(
        t.contiguous().numpy().tobytes() == tensors[name].contiguous().numpy().tobytes()
        for name, t in back.tensors.items()
    )
    later = State(tensors, {**state.facts, "seconds": 9.9})
    assert later.to_bytes() != state.to_bytes()
    assert later.hash == state.hash
    assert State(tensors, {**state.facts, "step": 4}).hash != state.hash
