"""A divergence and a trainer as another package would write them: registered, they get every test."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from torch import Tensor
from torch.special import xlogy

from harness.actions.batch import Batch
from harness.plugins.trainer import Evaluate, Loss, Moment, Needs
from harness.registry import DIVERGENCES, TRAINERS
from oracle.generators import GENERATORS
from trainers.divergences import divergence

SKEW = 0.1


@DIVERGENCES.register("skew_kl")
@divergence(
    "KL(data‖.1 data + .9 model)/.9",
    lambda d, m: (xlogy(d, d) - xlogy(d, SKEW * d + (1 - SKEW) * m)).sum(-1) / (1 - SKEW),
    curvature=1 / (1 - SKEW),
    domain=-1.0,
    cut=1 / (SKEW + 10 * (1 - SKEW)) - 1,
    flat=1 / SKEW - 1,
)
def skew_kl(x: Tensor) -> Tensor:
    """phi(x) = (log(1 + x) - .1 x)/.9 on -1 < x < 9; phi' = max((1/(1 + x) - .1)/.9, 0)."""
    return (x.log1p() - SKEW * x) / (1 - SKEW)


GENERATORS["skew_kl"] = lambda u: u - 1 - (SKEW + (1 - SKEW) * u).log() / (1 - SKEW)


@TRAINERS.register("brier")
@dataclass(frozen=True)
class Brier:
    """The squared chance of anything else than the expert's action."""

    needs = Needs()

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        miss = 1 - evaluate(expert).log_prob.exp()
        return Loss((expert.weight * miss**2).sum(1).mean())


def installed(group: str) -> list[str]:
    """Names that packages registered, sorted; nothing that a test added."""
    return sorted(point.name for point in entry_points(group=group))


DIVERGENCE_NAMES = [*installed(DIVERGENCES.group), "skew_kl"]
TRAINER_NAMES = [*installed(TRAINERS.group), "brier"]
