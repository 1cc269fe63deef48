"""Plain values as rows of the store's tables; a number that may not be finite has its kind beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.records.score import Profile, Score
from harness.records.training import Interim, Step
from harness.storage.schema import kind_of


def step_row(run_id: str, step: Step) -> dict[str, Any]:
    """A row of `curves`."""
    kind = kind_of(step.loss)
    row = {"run_id": run_id, "step": step.step, "tokens": step.tokens, "seconds": float(step.seconds)}
    row |= {"loss": float(step.loss) if kind == "finite" else None, "kind": kind, "lr": float(step.lr)}
    return row | {"terms": dict(step.terms)}


def score_row(run_id: str, score: Score) -> dict[str, Any]:
    """A row of `scores`."""
    value = None if score.value is None else float(score.value)
    kind = None if value is None else kind_of(value)
    row: dict[str, Any] = {"run_id": run_id, "name": score.name, "metric": score.metric, "definition": score.definition}
    row |= {"parameters": dict(score.parameters), "value": value if kind == "finite" else None, "kind": kind}
    row |= {"reason": score.reason, "n": score.n, "unit": score.unit, "direction": score.direction}
    return row | {"texts_hash": score.texts_hash}


def profile_row(run_id: str, profile: Profile) -> dict[str, Any]:
    """A row of `profiles`."""
    row: dict[str, Any] = {"run_id": run_id, "name": profile.name, "metric": profile.metric}
    row |= {"definition": profile.definition, "parameters": dict(profile.parameters), "axis": profile.axis}
    return row | {"unit": profile.unit, "direction": profile.direction, "points": profile.points}


def interim_rows(run_id: str, interim: Interim) -> Iterator[dict[str, Any]]:
    """Rows of `interims`: one per score."""
    spent = {"step": interim.spent.step, "tokens": interim.spent.tokens, "seconds": float(interim.spent.seconds)}
    spent |= {"tokens_before": interim.before.tokens, "seconds_before": float(interim.before.seconds)}
    for score in interim.scores:
        row = score_row(run_id, score)
        del row["texts_hash"]
        yield row | spent
