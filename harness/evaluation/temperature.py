"""Choice of the sampling temperature on the validation split, so that no objective wins merely by being sharper."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.evaluation.evaluate import of_texts
from harness.evaluation.features import Features
from harness.generation.generate import sample_prompts
from harness.generation.prompts import choose_prompts
from harness.models.policy import Policy
from harness.plugins.benchmark import cost, selection
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
        measure: the measure that it was chosen by; `by` is that score's full name.
        values: the score at each temperature that gave one.
        n: number of rollouts per temperature.
    """

    temperature: float
    measure: str
    by: str
    values: dict[float, float]
    n: int

    def facts(self) -> dict[str, Any]:
        """The choice as JSON values, for the run's provenance."""
        tried = {f"{temperature:g}": value for temperature, value in self.values.items()}
        return {"chosen": self.temperature, "by": self.by, "on_validation": tried, "n": self.n}

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

    The other sampling settings stay as they are, and every temperature draws from the same streams.  Of equally good
    temperatures the one nearest to 1 is chosen.  With few texts, n-gram distances favour a slightly lower temperature
    than the true one, since sharper samples vary less.  The cost is `len(TEMPERATURES)` times the sampling of a run, on
    at most `sampling.rollouts` validation prompts.  Yields its progress.

    Raises:
        ConfigError: the metric has no value at any temperature.
    """
    metric, measure = selection(config)
    prompts = choose_prompts(policy, splits.tuning_prompts, config.sampling)
    values: dict[float, float] = {}
    reason, name = "", ""
    for done, temperature in enumerate(TEMPERATURES):
        yield StageProgress("sample", done / len(TEMPERATURES))
        sampling = config.at_temperature(temperature).sampling
        rollouts = tuple(sample_prompts(policy, prompts, sampling, key(config.seeds.sample, "tuning")))
        evaluation = of_texts(prompts, rollouts, policy.space, splits, config, features)
        value: float | Unscorable
        try:
            value = metric.measure(evaluation)[measure]
        except Unscorable as unscorable:
            value = unscorable
        if isinstance(value, Unscorable):
            reason = str(value)
            continue
        name = full_name(measure, metric.definition, metric.parameters(evaluation))
        if not math.isnan(value):
            values[temperature] = value
    if not values:
        raise ConfigError(f"sampling.temperature=best: {measure} has no value at any temperature ({reason}); write one")
    best = min(values, key=lambda temperature: (cost(metric, measure, values[temperature]), abs(temperature - 1)))
    return ChosenTemperature(best, measure, name, values, len(prompts))
