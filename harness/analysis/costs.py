"""Cost of the training behind a row, and the rows that may be compared at an equal budget.

A score at the end of training does not show what a longer or shorter run would have scored.  So rows are compared in a
unit of cost where they spent the same of it, within 10 %; for the others a note has what they spent.  Cells that share
a budget in that unit (`training.tokens`, `training.seconds`) do by construction; `harness/analysis/budgets.py` compares
runs that were scored while they trained at any budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from harness.analysis.groups import Group, mean
from harness.storage.queries import Nodes, Run, TrialRun

Unit = Literal["step", "token", "second"]
UNITS: tuple[Unit, ...] = get_args(Unit)
NONE = Nodes(0, 0, 0)
TOLERANCE = 0.1
"""Rows whose costs differ by at most this share count as equally costly."""


@dataclass(frozen=True)
class Cost:
    """Means over a row's runs: optimiser `steps`, processed `tokens`, `seconds` of training.

    Tokens are all that went through the model, `without_gradient` of them without a gradient and `sampled` of them in
    the sampler (of older runs: one for each action sampled).  Seconds depend on the machine and on what else it did.
    `ratio` is the cost in the unit of the comparison over the reference row's (the baseline's, or else the cheapest
    row's); None where one is unknown.
    """

    steps: float
    tokens: float
    seconds: float
    ratio: float | None = None
    without_gradient: float = 0.0
    sampled: float = 0.0

    @property
    def equal(self) -> bool:
        """True if the row may be compared at an equal budget."""
        return self.ratio is not None and 1 / (1 + TOLERANCE) <= self.ratio <= 1 + TOLERANCE

    def of(self, unit: Unit) -> float:
        """The cost in one unit."""
        return {"step": self.steps, "token": self.tokens, "second": self.seconds}[unit]

    def exported(self) -> dict[str, float | None]:
        """The fields by their names in exports, where `without_gradient` is `looked`."""
        return {"looked" if name == "without_gradient" else name: value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Tuning:
    """Cost of tuning a row's settings: the sum over its distinct trials, part of no run's own cost."""

    trials: int
    tokens: float
    seconds: float


def tuning(groups: Sequence[Group], trials: Sequence[TrialRun]) -> list[Tuning | None]:
    """Cost of tuning the settings of each row; None for control rows and rows that were not tuned."""
    found: list[Tuning | None] = []
    for group in groups:
        ids = {run.group_id for run in group.runs}
        own = {trial.run_id: trial for trial in trials if trial.group_id in ids}.values()  # each run was paid for once
        spent = Tuning(len(own), sum(one.tokens for one in own), sum(one.seconds for one in own))
        found.append(spent if own and group.control is None else None)
    return found


def costs(groups: Sequence[Group], nodes: Mapping[str, Nodes], unit: Unit, base: int | None) -> list[Cost | None]:
    """The cost of each row; None for control rows and where nothing was trained.

    Args:
        groups: the table's rows.
        nodes: tokens that runs processed without learning from them, by run id.
        unit: what `ratio` compares.
        base: the index of the reference row; None takes the cheapest.
    """
    found = [_cost(group, nodes) for group in groups]
    known = [cost.of(unit) for cost in found if cost is not None]
    reference = None if base is None else found[base]
    one = min(known, default=0.0) if reference is None else reference.of(unit)
    return [cost and replace(cost, ratio=cost.of(unit) / one if one else None) for cost in found]


def cost_notes(unit: Unit, rows: Sequence[tuple[str, Cost | None]], reference: str) -> list[str]:
    """Notes on compared rows (label, cost) that are not at equal cost."""
    notes = [f"ranks compare rows that cost the same per {unit}, within {TOLERANCE:.0%} of {reference}"]
    for label, cost in rows:
        if cost is None or cost.ratio is None:
            notes.append(f"{label}: what it cost is unknown, so it is not ranked")
        elif not cost.equal:
            times = f"{cost.ratio:.3g} times the {unit}s of {reference}"
            notes.append(f"{label}: not at equal cost, so not ranked: its score needs {times}")
    if len(notes) > 1:
        notes.append(f"to compare these, run the grid with one budget: training.{unit}s=N")
    return notes


def tokens(run: Run, nodes: Mapping[str, Nodes]) -> int:
    """Tokens that a run's training sent through the model; `nodes` has those that its own count misses, by run id."""
    return (run.tokens or 0) + nodes.get(run.run_id, NONE).missing


def _cost(group: Group, nodes: Mapping[str, Nodes]) -> Cost | None:
    runs = [run for run in group.runs if run.steps is not None]
    if group.control is not None or not runs:
        return None
    spent = [nodes.get(run.run_id, NONE) for run in runs]
    return Cost(
        steps=mean([run.steps or 0 for run in runs]),
        tokens=mean([tokens(run, nodes) for run in runs]),
        seconds=mean([run.seconds or 0.0 for run in runs]),
        without_gradient=mean([own.without_gradient for own in spent]),
        sampled=mean([own.sampler for own in spent]),
    )
