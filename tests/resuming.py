"""A small training that can be cut: built the same in every process; run as a program, it resumes what it is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from oracle.third_party import TRAINER_NAMES
from tiny_policies import tiny_policy

from harness.config.run import RunConfig
from harness.data.noise_sources import FromPolicy
from harness.data.stream import ExpertStream
from harness.plugins.options import build, options
from harness.records import Trajectory
from harness.registry import TRAINERS
from harness.training.checkpoint import State
from harness.training.loop import Training

STEPS = 30
SMALL_BUFFER = {"buffer_size": 6, "buffer_fresh": 4, "buffer_every": 4}


def variants(*, every_choice: bool) -> list[dict[str, Any]]:
    """Every registered trainer with a small buffer; with `every_choice`, each choice of its options, too."""
    found: list[dict[str, Any]] = []
    for name in TRAINER_NAMES:
        declared = options(TRAINERS[name])
        small = {key: value for key, value in SMALL_BUFFER.items() if key in {option.name for option in declared}}
        base = {"name": name, **small}
        found.append(base)
        for option in declared if every_choice else ():
            if " | " in option.type:
                others = [choice for choice in option.type.split(" | ") if choice != option.default]
                found += [{**base, option.name: choice} for choice in others]
    return found


def training(trainer: dict[str, Any]) -> Training:
    """Ready for its first step: noise from the policy itself, three rows, so that epochs end within a step."""
    torch.set_num_threads(1)
    policy = tiny_policy(context=10, dtype="float32")
    config = RunConfig(
        benchmark="language",
        trainer=trainer,
        actions={"backspace": True, "noise_rate": 0.2},
        training={"rows": 4, "lr": 1e-2, "steps": STEPS},
    )
    rows = [Trajectory((policy.start_id,), (*policy.encode(text), policy.end_id)) for text in ("abc", "abcdef", "f")]
    stream = ExpertStream(
        rows, policy.space, config.actions, FromPolicy(policy), context=policy.context, seed=config.seeds.train
    )
    return Training(policy, build(TRAINERS, config.trainer, "trainer"), stream, config)


def finished(run: Training) -> tuple[str, list[list[float]]]:
    """Run to the end: the hash of the last state, and the points of the curve on the way."""
    points = []
    while not run.finished:
        point = run.advance()
        if point is not None:
            points.append([point.step, point.tokens, point.loss, point.lr, *point.terms.values()])
    return run.state().hash, points


def resumed(trainer: dict[str, Any], content: bytes) -> tuple[str, list[list[float]]]:
    """The same from a state's bytes on."""
    run = training(trainer)
    run.restore(State.from_bytes(content))
    return finished(run)


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[2]).iterdir()):
        print(json.dumps([file.name, *resumed(json.loads(sys.argv[1]), file.read_bytes())]))
