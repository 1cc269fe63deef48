"""Areas under a curve that ties can move, and the score by which runs are ordered instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.plugins.benchmark import TIED
from harness.storage.queries import ScoreName, Values


def ranked_by(score: ScoreName, values: Values, runs: Collection[str]) -> tuple[str | None, str | None]:
    """Full name of the score that orders runs by `score` (None: no score does), and a note where ties move some.

    An area that ties can move (`mauve` beside `mauve_curve`) orders runs as it is while ties move none of them; else
    the area along the curve does, and without it nothing.

    Args:
        score: the score to order by.
        values: numbers and reasons by full name and run id.
        runs: ids of the runs that are compared.
    """
    own, along = (_numbers(values.get(name, {}), runs) for name in (score.name, score.curve))
    moved = [by for run in own.keys() & along.keys() if (by := abs(along[run] - own[run])) > TIED]
    if not moved:
        return score.name, None
    note = f"{score.metric}: ties along the curve move {len(moved)} run(s) by up to {max(moved):.2g}; "
    missing = len(own.keys() - along.keys())
    if missing:
        how = f"`harness rescore GRID --metrics {score.metric}@{score.definition}` adds it"
        return None, f"{note}no ranks, for {missing} run(s) have no {score.metric}_curve: {how}"
    return score.curve, f"{note}ranks and differences are of {score.metric}_curve, which has none"


def _numbers(stored: Mapping[str, float | str], runs: Collection[str]) -> dict[str, float]:
    return {run: value for run in runs if isinstance(value := stored.get(run), float)}
