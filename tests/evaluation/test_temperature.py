"""The temperature that the validation split chooses, on validation texts whose temperature is known."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from tiny_policies import ALPHABET, tiny_policy

from benchmarks.language import Language
from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.evaluation.features import Features
from harness.evaluation.temperature import (
    TEMPERATURES,
    ChosenTemperature,
    best_temperature,
    temperature_needs_reference,
)
from harness.generation.generate import sample_prompts
from harness.models.policy import Policy
from harness.plugins.benchmark import selection
from harness.plugins.metric import Measure, Unscorable
from harness.records import Evaluation, Example, Splits
from harness.records.events import StageProgress
from harness.registry import BENCHMARKS, METRICS

FEATURES = Features(None, torch.device("cpu"))
EMPTY = tuple(Example("") for _ in range(600))


def config(benchmark: str = "language", **sampling: Any) -> RunConfig:
    given = {"rollouts": 600, "temperature": "best", **sampling}
    return RunConfig.model_validate({"benchmark": benchmark, "trainer": "mle", "sampling": given})


def chosen(policy: Policy, splits: Splits, run: RunConfig) -> tuple[ChosenTemperature, list[float]]:
    def follow() -> Generator[StageProgress, None, ChosenTemperature]:
        return (yield from best_temperature(policy, splits, run, FEATURES))

    steps, shares = follow(), []
    try:
        while True:
            shares.append(next(steps).fraction)
    except StopIteration as stop:
        return stop.value, shares


def splits_of(texts: tuple[Example, ...]) -> Splits:
    return Splits(train=(), validation=texts, test=(), prompts=())


@pytest.mark.parametrize("true", [0.6, 1.0])
def test_the_temperature_of_the_validation_texts_is_found(true: float) -> None:
    """The validation texts are the policy's own, written at a known temperature from other random numbers."""
    policy = tiny_policy(seed=1, backspace=False, context=8)
    run = config()
    own = sample_prompts(policy, EMPTY, run.at_temperature(true).sampling, seed=11)
    found, shares = chosen(policy, splits_of(tuple(Example(rollout.text) for rollout in own)), run)
    assert found.temperature == true
    assert tuple(found.values) == TEMPERATURES
    assert min(found.values, key=lambda t: found.values[t]) == true
    assert found.by.startswith("ngram_js_3@pooled[")
    assert shares[0] == 0
    assert len(shares) == len(TEMPERATURES)
    score = found.as_score("texts")
    assert (score.name, score.value, score.n) == ("temperature@best-on-validation[by=ngram_js_3]", true, 600)
    assert found.facts()["on_validation"]["1"] == found.values[1.0]


def test_other_cuts_stay_while_the_temperature_is_tried() -> None:
    """With top_k = 1 every temperature writes the same text: all tie, and 1 is nearest to 1."""
    policy = tiny_policy(seed=1, backspace=False, context=8)
    found, _ = chosen(policy, splits_of(tuple(Example(ALPHABET) for _ in range(50))), config(top_k=1))
    assert len(set(found.values.values())) == 1
    assert found.temperature == 1


@dataclass(frozen=True)
class Nothing:
    """Has no value, anywhere."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "nothing": Measure("1", "higher", "nothing"),
        "close": Measure("1", "reference", "no better or worse"),
    }
    definition: str = "none"
    asked: list[int] = field(default_factory=list)

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        return {}

    def count(self, evaluation: Evaluation) -> int:
        return 0

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        raise Unscorable("nothing to see here")


@pytest.fixture
def choosing_by(monkeypatch: pytest.MonkeyPatch) -> Any:
    def register(measure: str) -> None:
        monkeypatch.setitem(METRICS._added, "nothing", Nothing)
        monkeypatch.setattr(Language, "selection", ("nothing", measure))

    return register


def test_without_any_value_it_says_why(choosing_by: Any) -> None:
    choosing_by("nothing")
    policy = tiny_policy(backspace=False, context=12)
    with pytest.raises(ConfigError, match=r"nothing has no value at any temperature \(nothing to see here\)"):
        chosen(policy, splits_of(EMPTY[:4]), config())


@dataclass(frozen=True)
class Areas:
    """An area of each temperature in turn, as ties leave it and along its curve."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "area": Measure("1", "higher", "an area"),
        "area_curve": Measure("1", "higher", "the same along the curve"),
        "other": Measure("1", "higher", "another"),
    }
    found: ClassVar[list[tuple[Any, Any]]] = []
    definition: str = "package"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        return {"k": 3}

    def count(self, evaluation: Evaluation) -> int:
        return 0

    def measure(self, evaluation: Evaluation) -> Mapping[str, Any]:
        area, along = self.found.pop(0)
        return {"area": area, "area_curve": along, "other": Unscorable("none")}


FAIR = (0.8, 0.8)
NEAR, EQUAL = (0.9999, 0.9999), (0.75, 1.0)


@pytest.mark.parametrize(
    ("areas", "temperature", "by", "moved"),
    [
        ([FAIR, NEAR, EQUAL, FAIR, FAIR, FAIR], 0.8, "area_curve", 1),
        ([EQUAL, EQUAL, NEAR, FAIR, NEAR, EQUAL], 1.2, "area_curve", 3),  # of equal ones the nearest to 1
        ([FAIR, (0.81, 0.79), (0.7, 0.8), FAIR, FAIR, (0.79, 0.82)], 1.2, "area_curve", 3),
        ([FAIR, NEAR, FAIR, FAIR, FAIR, FAIR], 0.6, "area", 0),
        ([FAIR, (0.9, 0.9 + 1e-12), FAIR, FAIR, FAIR, FAIR], 0.6, "area", 0),
        ([FAIR, (Unscorable("no"), 1.0), EQUAL, FAIR, FAIR, NEAR], 0.8, "area_curve", 1),
    ],
)
def test_where_ties_move_an_area_the_area_along_the_curve_chooses(
    areas: list[tuple[Any, Any]], temperature: float, by: str, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score keeps its name, so that its column holds all seeds; provenance says what chose."""
    monkeypatch.setitem(METRICS._added, "area", Areas)
    monkeypatch.setattr(Language, "selection", ("area", "area"))
    Areas.found[:] = areas
    found, _ = chosen(tiny_policy(backspace=False, context=12), splits_of(EMPTY[:2]), config(rollouts=2))
    assert (found.temperature, found.by, found.moved) == (temperature, f"{by}@package[k=3]", moved)
    assert found.as_score("texts").name == "temperature@best-on-validation[by=area]"
    facts = found.facts()
    assert facts["by"] == found.by
    said = f"move area at {moved} temperature(s), so the area along the curve chose"
    assert facts.get("ties") == (said if moved else None)


@pytest.mark.parametrize("measure", ["close", "far"])
def test_a_measure_that_cannot_choose_is_refused(measure: str, choosing_by: Any) -> None:
    choosing_by(measure)
    with pytest.raises(
        ConfigError, match=f"names the measure '{measure}' of nothing, which cannot choose; use one of nothing"
    ):
        selection(config())


def test_a_benchmark_without_a_selection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Language, "selection")
    with pytest.raises(ConfigError, match="has no `selection` to choose by; write a temperature"):
        selection(config())


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_can_choose(name: str) -> None:
    metric, measure = selection(config(name))
    assert metric.measures[measure].direction in ("higher", "lower")


def test_the_reference_lm_is_there_when_the_choice_needs_it() -> None:
    assert temperature_needs_reference(config("text"))
    assert not temperature_needs_reference(config("language"))
    assert not temperature_needs_reference(config("text", temperature=1.0))
