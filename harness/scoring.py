"""From an evaluation to scores and profiles: every metric that was asked for, and why one has no value.  No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.config import Plugin
from harness.errors import UnknownName, did_you_mean
from harness.plugins import Metric, Profiled, Unscorable, build, known_metrics, parse_metric
from harness.records import Evaluation, Point, Profile, Score
from harness.registry import METRICS


@dataclass(frozen=True)
class Asked:
    """A metric with its options, and which of its measures are wanted."""

    plugin: Plugin
    measures: tuple[str, ...]


def asked(names: Sequence[str]) -> list[Asked]:
    """What metric names ask for: a metric's own name all that it measures, a measure's name that one alone.

    Raises:
        UnknownName: neither a metric nor a measure.
        ConfigError: an option that the metric does not have, or a value out of its domain.
    """
    found: list[Asked] = []
    for text in names:
        plugin, name = parse_metric(text), text.partition("@")[0]
        if plugin.name not in METRICS:
            raise UnknownName(f"unknown metric {name!r}; {did_you_mean(name, known_metrics())}")
        plugin = Plugin(name=plugin.name, options=dataclasses.asdict(build(METRICS, plugin, text)))
        known = tuple(METRICS[plugin.name].measures)
        wanted = known if name == plugin.name else (name,)
        same = next((one for one in found if one.plugin == plugin), Asked(plugin, ()))
        both = Asked(plugin, tuple(measure for measure in known if measure in {*same.measures, *wanted}))
        found = [both if one is same else one for one in found] if same in found else [*found, both]
    return found


def score_asked(evaluation: Evaluation, wanted: Sequence[Asked]) -> Iterator[Score]:
    """The scores that were asked for, in that order."""
    for one in wanted:
        yield from (found for found in score(evaluation, [one.plugin]) if found.metric in one.measures)


def score(evaluation: Evaluation, metrics: Sequence[Plugin]) -> Iterator[Score]:
    """Every number of every named metric; one that has no value says why."""
    for index, given in enumerate(metrics):
        metric: Metric = build(METRICS, given, f"metrics[{index}]")
        values: Mapping[str, float | Unscorable]
        try:
            values = metric.measure(evaluation)
        except Unscorable as unscorable:
            values = dict.fromkeys(metric.measures, unscorable)
        for name, measure in metric.measures.items():
            value = values.get(name, Unscorable(f"metric {given.name!r} gave no {name}"))
            yield Score(
                metric=name,
                definition=metric.definition,
                parameters=metric.parameters(evaluation),
                value=None if isinstance(value, Unscorable) else value,
                reason=str(value) if isinstance(value, Unscorable) else None,
                n=metric.count(evaluation),
                unit=measure.unit,
                direction=measure.direction,
                texts_hash=evaluation.texts_hash,
            )


def profiles(evaluation: Evaluation, metrics: Sequence[Plugin]) -> Iterator[Profile]:
    """Every curve by position of every named metric that has one here."""
    for index, given in enumerate(metrics):
        metric = build(METRICS, given, f"metrics[{index}]")
        if not isinstance(metric, Profiled):
            continue
        found: Mapping[str, Sequence[Point]] = {}
        with suppress(Unscorable):  # the metric's scores carry the reason
            found = metric.profiles(evaluation)
        for name, points in found.items():
            yield Profile(
                metric=name,
                definition=metric.definition,
                parameters=metric.parameters(evaluation),
                axis=metric.profile_measures[name].axis,
                unit=metric.profile_measures[name].unit,
                direction=metric.profile_measures[name].direction,
                points=tuple(points),
            )
