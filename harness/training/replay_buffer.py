"""The replay buffer: rollouts of earlier policies, refreshed while training goes on, with their ages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.actions.noise import Propose, Slot
from harness.actions.weights import Weighting
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy
from harness.plugins.trainer import Replay
from harness.records.progress import Report, unreported
from harness.records.rollout import Rollout, Trajectory
from harness.seeding import generator, key


class StartMeasure:
    """Distribution of the starts of rollouts: expert prompts, or the start measure that noise gives the expert side.

    Noise events give the expert side the mass Z = 1 + kappa E[sum over events of gamma^k]; with positions drawn
    independently at `rate`, that is 1 + kappa rate C with C the mean over rows of sum_t gamma^t.  A matched start is
    the prompt with probability 1/Z, otherwise a noise state s_i z drawn with weight kappa gamma^i.

    `mass` is Z, or 1 if rollouts start at prompts; it multiplies the weight of every rollout step.
    """

    def __init__(
        self,
        expert: Sequence[Trajectory],
        weighting: Weighting,
        start: Literal["prompt", "matched"],
        rate: float,
        run: int,
        propose: Propose | None,
        context: int,
    ) -> None:
        self.expert = expert
        self.run = run
        self.context = context
        self.propose = propose
        self.gamma = weighting.gamma
        masses = np.array([self._discounted(len(row.actions)) for row in expert])
        self._rows = np.cumsum(masses)
        matched = start == "matched" and propose is not None
        self.mass = 1 + weighting.kappa * rate * float(masses.mean()) if matched else 1.0

    def _discounted(self, length: int) -> float:
        return float(length) if self.gamma == 1 else (1 - self.gamma**length) / (1 - self.gamma)

    def draw(self, count: int, rng: np.random.Generator) -> list[Start]:
        """`count` starts; a noise state has 1 to `run` wrong tokens, as the expert's rows have."""
        starts: list[Start] = []
        right: dict[int, int] = {}  # start -> the token that is not wrong there
        room: dict[int, int] = {}  # start -> wrong tokens that fit into the context, as for the expert's rows
        for index in range(count):
            if self.propose is None or rng.random() < 1 / self.mass:
                starts.append(Start(self.expert[int(rng.integers(len(self.expert)))].prompt))
                continue
            row = self.expert[int(np.searchsorted(self._rows, rng.random() * self._rows[-1], side="right"))]
            positions = np.cumsum(self.gamma ** np.arange(len(row.actions)))
            at = int(np.searchsorted(positions, rng.random() * positions[-1], side="right"))
            starts.append(Start(row.prompt, row.actions[:at]))
            right[index], room[index] = row.actions[at], self.context - len(row.prompt) - at
        lengths = {index: min(int(rng.integers(1, self.run + 1)), room[index]) for index in right}
        for depth in range(self.run):
            open_starts = [index for index in right if lengths[index] > depth]
            slots = [
                Slot((*starts[i].prompt, *starts[i].given), right[i] if depth == 0 else None, rng) for i in open_starts
            ]
            for index, wrong in zip(open_starts, self.propose(slots) if self.propose and slots else [], strict=True):
                starts[index] = Start(starts[index].prompt, (*starts[index].given, wrong))
        return starts


def nodes(rollout: Rollout) -> int:
    """Number of nodes of the rollout that went through the model: its start, and one for every own action but the last.

    The node of a `<backspace>` is computed with the others of the batch and is visible to no query; the end needs no
    forward pass.
    """
    given = sum(rollout.trajectory.injected)
    return len(rollout.trajectory.prompt) + given + max(0, len(rollout.trajectory.actions) - given - 1)


@dataclass(frozen=True)
class Contents:
    """The content of a replay buffer, which `refresh` replaces as a whole.

    Attributes:
        rows: the rollouts, oldest first, each with the step whose policy it is of.
        drawn: number of rollouts so far; names the next ones' random numbers.
        sampled_actions: actions in them, injected ones left out.
        sampled_nodes: nodes that they have put through the policy.
    """

    rows: tuple[tuple[int, Trajectory], ...] = ()
    drawn: int = 0
    sampled_actions: int = 0
    sampled_nodes: int = 0

    def as_json(self) -> dict[str, Any]:
        """The content as JSON values."""
        rows = [[sampled_at, dataclasses.asdict(row)] for sampled_at, row in self.rows]
        sampled = {"sampled_actions": self.sampled_actions, "sampled_nodes": self.sampled_nodes}
        return {"rows": rows, "drawn": self.drawn, **sampled}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Contents:
        """The content that `as_json` was called on."""
        rows = tuple(
            (sampled_at, Trajectory(**{name: tuple(value) for name, value in row.items()}))
            for sampled_at, row in values["rows"]
        )
        # older versions did not count the nodes
        return cls(rows, values["drawn"], values["sampled_actions"], values.get("sampled_nodes", 0))


class ReplayBuffer:
    """The last `replay.size` rollouts; `refresh` adds fresh ones, `draw` gives training rows."""

    def __init__(self, replay: Replay, starts: StartMeasure, seed: int) -> None:
        self.replay = replay
        self.starts = starts
        self.seed = seed
        self.contents = Contents()

    def refresh(self, policy: Policy, step: int, report: Report = unreported) -> None:
        """Sample `replay.fresh` rollouts from the policy as it is at `step`, if `step` is a multiple of `every`.

        `report` gets the share of them that is done.
        """
        if step % self.replay.every:
            return
        before, rng = self.contents, generator(self.seed, "starts", step)
        starts = self.starts.draw(self.replay.fresh, rng)
        fresh = sample(
            policy,
            starts,
            seed=key(self.seed, "rollouts"),
            rows=range(before.drawn, before.drawn + len(starts)),
            epsilon=self.replay.epsilon,
            report=report,
        )
        rows = (*before.rows, *((step, rollout.trajectory) for rollout in fresh))
        self.contents = Contents(
            rows=rows[-self.replay.size :],
            drawn=before.drawn + len(starts),
            sampled_actions=before.sampled_actions + sum(one.trajectory.injected.count(False) for one in fresh),
            sampled_nodes=before.sampled_nodes + sum(map(nodes, fresh)),
        )

    def draw(self, count: int, step: int) -> tuple[list[Trajectory], float]:
        """`count` rows with replacement, and their mean age in optimiser steps."""
        rng = generator(self.seed, "replay", step)
        rows = self.contents.rows
        chosen = [rows[int(index)] for index in rng.integers(len(rows), size=count)]
        return [row for _, row in chosen], float(np.mean([step - sampled_at for sampled_at, _ in chosen]))
