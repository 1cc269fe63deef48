"""Choice of the sampling temperature on the validation split, so that no objective wins merely by being sharper."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.evaluation.evaluate import of_texts
from harness.evaluation.features import Features
from harness.generation.generate import sample_prompts
from harness.generation.prompts import choose_prompts
from harness.models.policy import Policy
from harness.plugins.benchmark import cost, moved_by_ties, selection
from harness.plugins.metric import Unscorable
from harness.records.data import Splits
from harness.records.events import StageProgress
from harness.records.score import Score, full_name
from harness.seeding import key


@dataclass(frozen=True)
class ChosenTemperature:
    """A chosen temperature and how it was chosen.

    Attributes:
        temperature: the chosen one.
        measure: the benchmark's measure for choosing.
        by: full name of the score that it was chosen by: the measure's, or its area along the curve where ties move it.
        values: that score at each temperature that gave one.
        n: number of rollouts per temperature.
        moved: the number of temperatures at which ties move the measure.
    """

    temperature: float
    measure: str
    by: str
    values: dict[float, float]
    n: int
    moved: int = 0

    def facts(self) -> dict[str, Any]:
        """The choice as JSON values, for the run's provenance."""
        tried = {f"{temperature:g}": value for temperature, value in self.values.items()}
        found = {"chosen": self.temperature, "by": self.by, "on_validation": tried, "n": self.n}
        if self.moved:
            found["ties"] = f"move {self.measure} at {self.moved} temperature(s), so the area along the curve chose"
        return found

    def as_score(self, texts_hash: str) -> Score:
        """The temperature as a score of the run, so that it can be a column; no leaderboard ranks it."""
        return Score(
            metric="temperature",
            definition="best-on-validation",
            parameters={"by": self.measure},
            value=self.temperature,
            reason=None,
            n=self.n,
            unit="1",
            direction="reference",
            texts_hash=texts_hash,
        )


def temperature_needs_reference(config: RunConfig) -> bool:
    """True if choosing the temperature needs features of the benchmark's reference LM."""
    return config.sampling.temperature == "best" and (
        getattr(selection(config)[0], "featuriser", None) == "reference-lm"
    )


TEMPERATURES = (0.3, 0.6, 0.8, 0.9, 1.0, 1.2)


def best_temperature(
    policy: Policy, splits: Splits, config: RunConfig, features: Features
) -> Generator[StageProgress, None, ChosenTemperature]:
    """Choose among `TEMPERATURES` by the benchmark's selection metric on rollouts from validation prompts.

    Where ties move an area at some temperature, the area along the curve chooses (see `moved_by_ties`).

    The other sampling settings stay as they are, and every temperature draws from the same streams.  Of equally good
    temperatures the one nearest to 1 is chosen.  With few texts, n-gram distances favour a slightly lower temperature
    than the true one, since sharper samples vary less.  The cost is `len(TEMPERATURES)` times the sampling of a run, on
    at most `sampling.rollouts` validation prompts.  Yields its progress.

    Raises:
        ConfigError: the metric has no value at any temperature.
    """
    metric, measure = selection(config)
    prompts = choose_prompts(policy, splits.tuning_prompts, config.sampling)
    found: dict[float, Mapping[str, float]] = {}
    parameters: Mapping[str, Any] = {}
    reason = ""
    for done, temperature in enumerate(TEMPERATURES):
        yield StageProgress("sample", done / len(TEMPERATURES))
        sampling = config.at_temperature(temperature).sampling
        rollouts = tuple(sample_prompts(policy, prompts, sampling, key(config.seeds.sample, "tuning")))
        evaluation = of_texts(prompts, rollouts, policy.space, splits, config, features)
        numbers: Mapping[str, float | Unscorable]
        try:
            numbers = metric.measure(evaluation)
        except Unscorable as unscorable:
            numbers = {measure: unscorable}
        if isinstance(value := numbers[measure], Unscorable):
            reason = str(value)
            continue
        parameters = metric.parameters(evaluation)
        if not math.isnan(value):
            found[temperature] = {name: one for name, one in numbers.items() if not isinstance(one, Unscorable)}
    if not found:
        raise ConfigError(f"sampling.temperature=best: {measure} has no value at any temperature ({reason}); write one")
    moved = moved_by_ties(measure, list(found.values()))
    by = f"{measure}_curve" if moved else measure
    values = {temperature: numbers[by] for temperature, numbers in found.items()}
    best = min(values, key=lambda temperature: (cost(metric, measure, values[temperature]), abs(temperature - 1)))
    name = full_name(by, metric.definition, parameters)
    return ChosenTemperature(best, measure, name, values, len(prompts), moved)
