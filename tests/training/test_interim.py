"""Scores while training: when they are due, that they survive JSON, what asking for them changes and what not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError
from stored import score

from harness.config.run import RunConfig
from harness.records.training import Interim, Spent
from harness.training.loop import due


def config(**evaluation: Any) -> RunConfig:
    return RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "evaluation": evaluation})


def test_what_is_due_by_hand() -> None:
    """A step from 90 to 130 tokens passes 100 and reaches 130, not 90 (it was passed before) nor 131."""
    before, now = Spent(3, 90, 1.0), Spent(4, 130, 1.5)

    def is_due(finished: bool = False, **evaluation: Any) -> bool:
        return due(config(**evaluation), before, now, finished=finished)

    assert [is_due(at_tokens=[point]) for point in (90, 91, 100, 130, 131)] == [False, True, True, True, False]
    assert [is_due(at_steps=[point]) for point in (3, 4, 5)] == [False, True, False]
    assert [is_due(at_seconds=[point]) for point in (1.0, 1.2, 1.6)] == [False, True, False]
    assert is_due(at_tokens=[10, 110, 500])
    assert is_due(at_tokens=[500], finished=True), "the end is a point"
    assert not is_due(finished=True), "but only where there are points"


def test_values_survive_json() -> None:
    scores = tuple(score(name, value) for name, value in (("a", 0.1), ("b", math.inf), ("c", -0.0)))
    found = Interim(Spent(7, 80, 0.25), Spent(6, 70, 0.2), (*scores, score("d", None, "too short", n=3)))
    assert Interim.from_json(found.as_json()) == found
    back = Interim.from_json(Interim(Spent(1, 2, 3.0), Spent(0, 0, 0.0), (score("e", math.nan),)).as_json())
    assert math.isnan(back.scores[0].value or 0.0)


def test_runs_without_points_keep_their_ids() -> None:
    """The ids that these configurations had before there were points; a budget in tokens counts more than it did."""
    assert config().run_id == "0feca8765de43675"
    assert config(split="test").run_id == config().run_id
    others = [config(at_steps=[1]), config(at_steps=[1, 2]), config(at_tokens=[1]), config(split="validation")]
    assert len({config().run_id, *(run.run_id for run in others)}) == 5
    assert {run.train_id for run in others} == {config().train_id}, "it is the same training"


def test_interim_scores_are_known_by_what_they_depend_on() -> None:
    assert config().interim_id is None
    one = config(at_steps=[1])
    assert one.interim_id == config(at_steps=[1], split="validation").interim_id
    sampled = one.model_copy(update={"sampling": one.sampling.model_copy(update={"top_p": 0.9})})
    assert one.interim_id not in (None, config(at_steps=[2]).interim_id, sampled.interim_id)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"at_steps": [2, 1]}, "at_steps=[2, 1] are no points"),
        ({"at_steps": [1, 1]}, "at_steps=[1, 1] are no points"),
        ({"at_tokens": [0]}, "are no points; write rising positive numbers"),
        ({"at_steps": []}, "are no points"),
        ({"at_steps": [1], "at_tokens": [1]}, "points have one unit, got at_steps and at_tokens"),
        ({"at_metrics": ["mauve"]}, "without points; add one of at_steps, at_tokens, at_seconds"),
    ],
)
def test_points_that_are_none_are_refused(evaluation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        config(**evaluation)
    assert message in str(error.value)


def test_one_point_needs_no_list_and_a_subset_is_the_runs_own() -> None:
    run = config(at_steps=5, at_metrics="exact_kl")
    assert (run.evaluation.at_steps, run.evaluation.at_metrics) == ((5,), ("exact_kl",))
    run = run.model_copy(
        update={"metrics": RunConfig(benchmark="language", trainer="mle", metrics=("actions", "exact_kl")).metrics}
    )
    assert [metric.name for metric in run.interim_metrics] == ["exact_kl"]
