"""Right and wrong answers that can be counted by hand, and what each metric says where it cannot count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from harness.metrics.answers import CorruptedMatch, ExactMatch, ForcedMatch, begun_rightly
from harness.plugins.metric import Profiled, Unscorable
from harness.records import Evaluation, Example, Rollout, Trajectory

PROMPTS = (Example("12", "5 + 7?"), Example("-3", "1 - 4?"), Example("100", "99 + 1?"), Example("7", "7 + 0?"))


def rollouts(*texts: str, stop: Literal["ended", "depth", "budget"] = "ended") -> tuple[Rollout, ...]:
    return tuple(Rollout(Trajectory((7,), (0,)), (0.0,), stop, text, ()) for text in texts)


FORCED = {
    0.01: rollouts("12", "-3", "100", "8"),
    0.05: rollouts("12", "-3", "0", ""),
    0.1: rollouts("12", "3", "0", ""),
    0.2: rollouts("1", "3", "0", ""),
}
CORRUPTED = {
    0: rollouts("12", "-3", "100", "7"),
    1: rollouts("12", "-3", "100", "77"),
    2: rollouts("12", "-33", "101", "7"),
    3: rollouts("12", "-3", "100", "7", stop="budget"),
}


def evaluation(**changes: Any) -> Evaluation:
    """Four questions; 12 and 7 are answered, -3 is cut off before its end, 100 goes wrong at its third character."""
    given: dict[str, Any] = {
        "prompts": PROMPTS,
        "rollouts": (*rollouts("12"), *rollouts("-3", stop="depth"), *rollouts("101", "7")),
        "backspace_id": 8,
        "metric_seed": 0,
        "forced": lambda epsilon: FORCED[epsilon],
        "forced_wrong": lambda epsilon: FORCED[0.2],
        "corrupted": lambda wrong: CORRUPTED[wrong],
    }
    return Evaluation(**(given | changes))


def points(metric: Profiled, where: Evaluation) -> Mapping[str, list[tuple[float, float, int]]]:
    return {name: [tuple(point) for point in curve] for name, curve in metric.profiles(where).items()}


def test_exact_match_by_hand() -> None:
    """2 of 4 are right: unfinished is wrong.  Right beginnings: all of 12, -3 and 7, two of three of 100."""
    assert ExactMatch().measure(evaluation()) == pytest.approx({"exact_match": 2 / 4, "answer_prefix": (3 + 2 / 3) / 4})
    assert ExactMatch().count(evaluation()) == 4


def test_right_beginnings_by_hand() -> None:
    """A longer text has begun rightly, an empty one not at all, and an empty reference is always begun rightly."""
    pairs = [("1234", "12"), ("", "12"), ("21", "12"), ("1", "12"), ("5", "")]
    assert [begun_rightly(*pair) for pair in pairs] == [1.0, 0.0, 0.0, 0.5, 1.0]


def test_forced_match_by_hand() -> None:
    """3, 2, 1 and 0 of 4 answers are right as the rate grows; the curve begins with the undisturbed rollouts' 2."""
    scores = {"1": 0.75, "5": 0.5, "10": 0.25, "20": 0.0}
    assert ForcedMatch().measure(evaluation()) == {f"exact_match_forced_{rate}": x for rate, x in scores.items()}
    curve = [(0.0, 0.5, 4), (0.01, 0.75, 4), (0.05, 0.5, 4), (0.1, 0.25, 4), (0.2, 0.0, 4)]
    assert points(ForcedMatch(), evaluation()) == {"exact_match_forced": curve}
    assert set(ForcedMatch("ground_truth").measure(evaluation()).values()) == {0.0}
    assert ForcedMatch("ground_truth").count(evaluation()) == 4


def test_corrupted_match_by_hand() -> None:
    """Beginnings alone: 4 of 4; one wrong character 3, two 2; after three the answers are right but never end."""
    curve = [(0, 1.0, 4), (1, 0.75, 4), (2, 0.5, 4), (3, 0.0, 4)]
    assert points(CorruptedMatch(), evaluation()) == {"exact_match_corrupted": curve}
    scores = {f"exact_match_corrupted_{wrong}": share for wrong, share, _ in curve}
    assert CorruptedMatch().measure(evaluation()) == scores
    assert CorruptedMatch().count(evaluation()) == 4


def test_refuses_with_the_reason() -> None:
    free = tuple(Example(example.text) for example in PROMPTS)
    for metric, changes, reason in (
        (ExactMatch(), {"prompts": free}, "prompts are empty"),
        (ExactMatch(), {"rollouts": ()}, "0 rollouts for 4 prompts"),
        (ForcedMatch(), {"forced": None}, "already written"),
        (ForcedMatch("ground_truth"), {"forced_wrong": None}, "defines no mistakes"),
        (CorruptedMatch(), {"corrupted": None}, "defines no mistakes"),
        (CorruptedMatch(), {"corrupted": lambda wrong: ()}, "0 rollouts for 4 prompts"),
    ):
        with pytest.raises(Unscorable, match=reason):
            metric.measure(evaluation(**changes))  # type: ignore[attr-defined]
    assert CorruptedMatch().count(evaluation(corrupted=None)) == 0
    assert ForcedMatch().count(evaluation(forced=None)) == 0
