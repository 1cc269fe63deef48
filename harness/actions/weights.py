"""Weights of the steps of an action sequence: the occupancy measure, or uniform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.records.rollout import Trajectory


def sizes(rows: Sequence[Trajectory], weighting: Weighting) -> np.ndarray:
    """Sum of gamma^t over each row's own steps, [N]: the divisor of a loss in nats per (weighted) token.

    >>> rows = [Trajectory((3,), (5, 6, 10)), Trajectory((3,), (9, 11, 10), (True, False, False))]
    >>> sizes(rows, Weighting(gamma=0.5)).tolist(), sizes(rows, Weighting(kind="uniform", gamma=0.5)).tolist()
    ([1.75, 1.5], [3.0, 2.0])
    """
    own = np.array([len(row.actions) - sum(row.injected) for row in rows], float)
    gamma = 1.0 if weighting.kind == "uniform" else weighting.gamma
    return own if gamma == 1 else (1 - gamma**own) / (1 - gamma)


def step_weights(row: Trajectory, weighting: Weighting, *, is_expert: bool) -> tuple[np.ndarray, float]:
    """Weight of each step, [A], and the occupancy that remains after the last step.

    Expert rows: a noise event after k clean steps is one more start state, of mass kappa gamma^k.  Its recovery
    steps carry that mass; once the clean prefix is restored it joins the flow.  Rollouts: gamma^t over the policy's
    own steps, their backspaces included.  Injected steps are the environment's and weigh 0.

    Uniform weights of 1 are the occupancy of a chain that also starts, with mass 1 - gamma, in every state after
    the first; gamma of it leaves the last one.
    """
    gamma = weighting.gamma
    if weighting.kind == "uniform":
        return np.where(np.asarray(row.injected), 0.0, 1.0), gamma
    if not any(row.injected):
        return gamma ** np.arange(len(row.actions)), gamma ** len(row.actions)
    weights = np.zeros(len(row.actions))
    flow, clean, restart = 1.0, 1.0, 0.0  # mass on this row, gamma^k, mass of the open noise event
    wrong = 0  # wrong tokens not yet deleted
    for t, injected in enumerate(row.injected):
        if injected:
            if is_expert:
                restart = weighting.kappa * clean if wrong == 0 else restart
                wrong += 1
        elif wrong:
            weights[t] = restart
            restart *= gamma
            wrong -= 1
            if wrong == 0:
                flow += restart
        else:
            weights[t] = flow
            flow *= gamma
            clean *= gamma
    return weights, flow


Normalisation = Literal["constant", "batch_tokens", "per_sequence"]


NormalisationOption = Annotated[
    Normalisation,
    Field(description="divide by one constant for the whole run, or (biased) by each batch's or each row's own tokens"),
]


@dataclass(frozen=True)
class Weighting:
    """Choice of the steps' weights; `harness.actions.batch.pack` turns it into `Batch.weight`.

    `discounted`: gamma^t from every start state, noise events included with mass kappa (the occupancy measure of
    arXiv 2306.05426).  `uniform`: 1 per own step, as maximum likelihood counts.

    With the size of a row sum_t gamma^t over its own steps (its tokens, where gamma = 1 or the kind is uniform),
    `normalisation` divides weights by the mean size of the training rows (`constant`), of the rows of the optimiser
    step (`batch_tokens`), or by each row's own (`per_sequence`).  The last two are biased: see
    `harness.plugins.trainer.BIASED`.
    """

    kind: Literal["discounted", "uniform"] = "discounted"
    gamma: float = 1.0
    kappa: float = 1.0
    normalisation: Normalisation = "constant"
