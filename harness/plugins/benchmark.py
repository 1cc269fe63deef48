"""The contract of a benchmark, and the selection metric by which it ranks policies on the validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.plugins.metric import Metric
from harness.plugins.metric_names import parse_metric
from harness.plugins.options import build
from harness.records.data import Splits
from harness.registry import BENCHMARKS, METRICS

TIED = 1e-9
"""Sums over one curve in two orders differ by less; a tie moves a share of the area."""


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


def moved_by_ties(measure: str, found: Sequence[Mapping[str, float]]) -> int:
    """The number of computations in which ties move an area `MEASURE`: it differs from `MEASURE_curve` beside it.

    Where ties move any, `MEASURE_curve` decides, the area along the curve, which ties cannot move: mauve-text's number
    of two equal histograms, .75, is below that of nearly equal ones.

    Args:
        measure: name of the measure.
        found: numbers of one computation each, by measure.

    >>> moved_by_ties("mauve", [{"mauve": 0.75, "mauve_curve": 1.0}, {"mauve": 0.9, "mauve_curve": 0.9}, {"mauve": 1}])
    1
    """
    both = (one for one in found if measure in one and f"{measure}_curve" in one)
    return sum(abs(one[f"{measure}_curve"] - one[measure]) > TIED for one in both)


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
