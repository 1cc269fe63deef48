"""Recovery on texts small enough to read, and P(<backspace>) after mistakes as plain means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pytest

from harness.metrics.recovery import BackspaceAfterMistake, Recovered, Recovery
from harness.plugins.metric import Unscorable
from harness.records import Evaluation, Example, Rollout, Trajectory


class Turns:
    """Texts over ab in which no letter follows itself; any of them may end."""

    start, alphabet = "", "ab"

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {symbol: 0.5 for symbol in "ab" if symbol != state} | ({"": 0.5} if state else {})

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return symbol


def rollout(text: str) -> Rollout:
    return Rollout(Trajectory((7,), (0,)), (0.0,), "ended", text, ())


CORRUPTED = {
    0: (rollout("ab"), rollout("ba")),
    1: (rollout("ab"), rollout("bb")),
    2: (rollout("bb"), dataclasses.replace(rollout("ab"), stop="depth")),
    3: (rollout("b"), rollout("")),
}
FORCED = {0.05: ("ab", "aab"), 0.2: ("bbb", "")}
PROMPTS = (Example("", "b"), Example("", ""))


def evaluation(**changes: Any) -> Evaluation:
    """Two prompts, b and nothing; texts as in `FORCED`; a policy with <backspace> asked in two places."""
    given: dict[str, Any] = {
        "prompts": PROMPTS,
        "rollouts": (rollout("a"),) * 2,
        "backspace_id": 8,
        "metric_seed": 0,
        "law": Turns(),
        "forced": lambda epsilon: tuple(map(rollout, FORCED[epsilon])),
        "corrupted": lambda wrong: CORRUPTED[wrong],
        "mistake_texts": 3,
        "p_back": lambda wrong: np.array([[0.5, 0.25], [1.0, 0.5]])[:, :wrong],
    }
    return Evaluation(**(given | changes))


def test_rates_by_hand() -> None:
    """5 %: b|ab$ is fine (0 of 3), aab$ repeats once (1 of 4): 1 of 7 actions, 1 of 2 texts.

    20 %: b|bbb$ repeats three times (3 of 4), an empty text may not end (1 of 1): 4 of 5 actions, both texts.
    """
    assert Recovery().measure(evaluation()) == pytest.approx(
        {
            "out_of_support_forced_5": 1 / 7,
            "bad_texts_forced_5": 1 / 2,
            "out_of_support_forced_20": 4 / 5,
            "bad_texts_forced_20": 1.0,
        }
    )
    assert Recovery().count(evaluation()) == 2


def test_recovered_by_hand() -> None:
    """k = 0: both are of the language.  k = 1: a letter of the second follows itself.  k = 2: so does one of the first
    (its prompt is b), and the second was cut off.  k = 3: b follows the prompt's b, and an empty text may not end."""
    assert Recovered().measure(evaluation()) == {
        "recovered_0": 1.0,
        "recovered_1": 0.5,
        "recovered_2": 0.0,
        "recovered_3": 0.0,
    }
    assert Recovered().profiles(evaluation())["recovered_by"] == [(0, 1.0, 2), (1, 0.5, 2), (2, 0.0, 2), (3, 0.0, 2)]
    assert Recovered().count(evaluation()) == 2
    assert Recovered().count(evaluation(corrupted=None)) == 0


def test_p_back_by_hand() -> None:
    """Two places: after one mistake 1/2 and 1, after two 1/4 and 1/2."""
    assert BackspaceAfterMistake().measure(evaluation()) == pytest.approx({"p_back_one": 0.75, "p_back_two": 0.375})
    assert BackspaceAfterMistake().count(evaluation()) == 2
    assert BackspaceAfterMistake().parameters(evaluation()) == {"texts": 3}


def test_refuses_with_the_reason() -> None:
    for metric, changes, reason in (
        (Recovery(), {"law": None}, "no exact law"),
        (Recovered(), {"law": None}, "no exact law"),
        (Recovered(), {"corrupted": None}, "defines mistakes"),
        (Recovery(), {"forced": None}, "while the policy writes"),
        (BackspaceAfterMistake(), {"backspace_id": None}, "no <backspace> action"),
        (BackspaceAfterMistake(), {"p_back": None}, "defines no mistakes"),
        (BackspaceAfterMistake(), {"p_back": lambda wrong: np.zeros((0, wrong))}, "room for two wrong tokens"),
        (BackspaceAfterMistake(), {"p_back": lambda wrong: np.full((1, wrong), math.nan)}, "NaN"),
    ):
        with pytest.raises(Unscorable, match=reason):
            metric.measure(evaluation(**changes))  # type: ignore[attr-defined]
    assert BackspaceAfterMistake().count(evaluation(p_back=None)) == 0
