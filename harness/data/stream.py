"""A seeded stream of expert rows with injected mistakes, and the normaliser of their loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.actions.noise import Propose, inject, replace_context
from harness.actions.space import ActionSpace
from harness.actions.weights import Weighting, sizes
from harness.config.actions import ActionConfig
from harness.records.rollout import Trajectory
from harness.seeding import generator


class Normalizer:
    """The divisor of the rows of one optimiser step, which makes a loss nats per (weighted) token.

    One constant fixed before the run, the mean over clean training rows of sum_t gamma^t; for ablation the same mean
    over the step's own rows (all its micro-batches, expert and rollouts apart), or 1 where `pack` divides each row.
    """

    def __init__(self, expert: Sequence[Trajectory], weighting: Weighting) -> None:
        self.weighting = weighting
        self.constant = float(sizes(expert, weighting).mean())

    def of(self, rows: Sequence[Trajectory]) -> float:
        """The divisor for the rows of one step."""
        if self.weighting.normalisation == "batch_tokens":
            return float(sizes(rows, self.weighting).mean())
        return self.constant if self.weighting.normalisation == "constant" else 1.0


class ExpertStream:
    """Rows in a seeded order, epoch after epoch; the position alone determines the next rows.

    `propose` draws injected mistakes (None injects nothing).  A row's noise depends on the seed, its epoch and its
    own index, never on its batch.
    """

    def __init__(
        self,
        expert: Sequence[Trajectory],
        space: ActionSpace,
        noise: ActionConfig,
        propose: Propose | None,
        *,
        context: int,
        seed: int,
    ) -> None:
        self.expert = expert
        self.space = space
        self.noise = noise
        self.propose = propose
        self.context = context
        self.seed = seed
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def batch(self, position: int, count: int) -> list[Trajectory]:
        """The `count` rows from `position` (rows already seen) on, with this epoch's noise."""
        chosen, rngs = [], []
        for at in range(position, position + count):
            epoch, index = divmod(at, len(self.expert))
            row = int(self._shuffled(epoch)[index])
            chosen.append(self.expert[row])
            rngs.append(generator(self.seed, "noise", epoch, row))
        if self.propose is None:
            return chosen
        if self.noise.context_noise:
            return replace_context(chosen, rngs, self.space.end_id, self.propose, self.noise.context_noise)
        return inject(
            chosen,
            rngs,
            self.space,
            self.propose,
            rate=self.noise.noise_rate,
            run=self.noise.noise_run,
            context=self.context,
        )

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator(self.seed, "order", epoch).permutation(len(self.expert))
        return self._order
