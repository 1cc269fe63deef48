"""The two worlds that every property is tested in, with an expert whose every move has some chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from oracle.objective import Problem
from oracle.world import Row, World, clean_rows, measure, noisy_rows

GAMMA, ALPHA, KAPPA = 0.9, 0.3, 0.8


@dataclass(frozen=True)
class Case:
    """A world, its expert rows (with noise where there is `<backspace>`) and what they measure.

    `buffer` are rollouts for the mixture: the first two started in noise states, one of them cut.
    """

    world: World

    @cached_property
    def clean(self) -> list[Row]:
        return clean_rows(self.world, self.world.random_logits(1))

    @cached_property
    def expert(self) -> list[Row]:
        return noisy_rows(self.world, self.clean, 0.4) if self.world.backspace else self.clean

    @cached_property
    def measured(self) -> tuple[Tensor, Tensor]:
        """Occupancy [P] and start masses [S] of the expert rows."""
        return measure(self.world, self.expert, GAMMA, KAPPA)

    @property
    def Z(self) -> float:
        """The mass of the expert's starts."""
        return float(self.measured[1].sum())

    @cached_property
    def buffer(self) -> list[Row]:
        a, b, end, back = 0, 1, self.world.end, self.world.back
        if not self.world.backspace:
            return [
                Row((a, b, end), (False,) * 3, 0.5),
                Row((end,), (False,), 0.2),
                Row((b, a), (False,) * 2, 0.3),
            ]
        return [
            Row((b, back, a, back, a, b, end), (True, *(False,) * 6), 0.3),
            Row((a, a, back, b, back, back), (True, True, *(False,) * 4), 0.2),
            Row((a, back, b, a, end), (False,) * 5, 0.4),
            Row((end,), (False,), 0.1),
        ]

    def problem(self, name: str) -> Problem:
        """The objective that a divergence's loss must minimise here; the mixture's buffer has mass Z."""
        buffer = None
        if name == "chi2_mixture":
            buffer = self.Z * measure(self.world, self.buffer, GAMMA, None)[0]
        return Problem(self.world, name, *self.measured, GAMMA, ALPHA, buffer)


PLAIN = Case(World(tokens=2, length=3, backspace=False))
BACKSPACE = Case(World(tokens=2, length=3, backspace=True))
CASES = {"plain": PLAIN, "backspace": BACKSPACE}
WIDE_CASES = {
    **CASES,
    "plain-wide": Case(World(tokens=3, length=4, backspace=False)),
    "backspace-wide": Case(World(tokens=3, length=3, backspace=True)),
}
