"""The contract of a benchmark, and the selection metric by which it ranks policies on the validation split."""

from __future__ import annotations

from typing import ClassVar, Protocol

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.plugins.metric import Metric
from harness.plugins.metric_names import parse_metric
from harness.plugins.options import build
from harness.records.data import Splits
from harness.registry import BENCHMARKS, METRICS


def selection(config: RunConfig) -> tuple[Metric, str]:
    """The selection metric of the run's benchmark, and the name of its measure.

    Raises:
        ConfigError: the benchmark names none, or one that cannot choose.
    """
    benchmark: Benchmark = build(BENCHMARKS, config.benchmark, "benchmark")
    if not hasattr(benchmark, "selection"):
        raise ConfigError(
            f"benchmark {config.benchmark.name!r} has no `selection` to choose by; write a temperature, do not "
            'tune, or give its class selection = ("METRIC", "MEASURE")'
        )
    given, measure = benchmark.selection
    metric: Metric = build(METRICS, parse_metric(given), f"benchmark {config.benchmark.name!r}: selection")
    if measure not in metric.measures or metric.measures[measure].direction == "reference":
        usable = [name for name, one in metric.measures.items() if one.direction != "reference"]
        raise ConfigError(
            f"benchmark {config.benchmark.name!r}: selection names the measure {measure!r} of {given}, which cannot "
            f"choose; use one of {', '.join(usable)}"
        )
    return metric, measure


def cost(metric: Metric, measure: str, value: float) -> float:
    """The value signed so that less is better, for a minimiser."""
    return value if metric.measures[measure].direction == "lower" else -value


class Benchmark(Protocol):
    """A task: options (its data seed among them) -> splits.

    Attributes:
        metrics: names of the metrics that a run reports where its configuration names none.
        selection: (metric, measure of it), the one number by which a choice among policies or decoders is made on the
            validation split.  It is computed from sampled texts, so that a sharper distribution alone does not win.

    A class may name `later_options: ClassVar[tuple[str, ...]]`, options that it got after its first release: at their
    defaults they are in no run's hash, so that earlier results are found again.
    """

    metrics: ClassVar[tuple[str, ...]]
    selection: ClassVar[tuple[str, str]]

    def splits(self) -> Splits:
        """The data; equal options give equal splits."""
