"""Scoring: an evaluation and the requested metrics to scores and profiles, with a reason for each missing value.

No torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from harness.config.section import Plugin
from harness.errors import UnknownName, did_you_mean
from harness.plugins.metric import Metric, Profiled, Unscorable
from harness.plugins.metric_names import known_metrics, parse_metric
from harness.plugins.options import build
from harness.records.evaluation import Evaluation
from harness.records.score import Point, Profile, Score
from harness.registry import METRICS
from harness.seeding import generator
from harness.stats.intervals import Interval, bootstrap_interval

# Metrics of texts alone, of texts and references, and of texts and training texts that take no model and no minutes.
DEFAULTS = ("length", "diversity", "repetition", "distinct", "repetition_loops", "ngram_js", "memorisation")


@dataclass(frozen=True)
class MetricRequest:
    """A requested metric with its options, and the measures of it that are wanted."""

    plugin: Plugin
    measures: tuple[str, ...]


def parse_requests(names: Sequence[str]) -> list[MetricRequest]:
    """Parse metric names into requests: a measure's name means itself, a metric's name all its measures.

    `diversity` is both a metric and one of its measures, and means the measure, as in `harness leaderboard`.

    Raises:
        UnknownName: neither a metric nor a measure.
        ConfigError: an option that the metric does not have, or a value out of its domain.
    """
    found: list[MetricRequest] = []
    for text in names:
        plugin, name = parse_metric(text), text.partition("@")[0]
        if plugin.name not in METRICS:
            raise UnknownName(f"unknown metric {name!r}; {did_you_mean(name, known_metrics())}")
        plugin = Plugin(name=plugin.name, options=dataclasses.asdict(build(METRICS, plugin, name)))
        known = tuple(METRICS[plugin.name].measures)
        wanted = (name,) if name in known else known
        same = next((one for one in found if one.plugin == plugin), MetricRequest(plugin, ()))
        both = MetricRequest(plugin, tuple(measure for measure in known if measure in {*same.measures, *wanted}))
        found = [both if one is same else one for one in found] if same in found else [*found, both]
    return found


def default_requests() -> list[MetricRequest]:
    """The metrics of `DEFAULTS` with all their measures."""
    return [MetricRequest(parse_requests([name])[0].plugin, tuple(METRICS[name].measures)) for name in DEFAULTS]


def score_requests(evaluation: Evaluation, wanted: Sequence[MetricRequest]) -> Iterator[Score]:
    """The requested scores, in the order of the request."""
    for one in wanted:
        yield from (found for found in score(evaluation, [one.plugin]) if found.metric in one.measures)


def with_value(wanted: Sequence[MetricRequest], scores: Sequence[Score]) -> list[MetricRequest]:
    """The requests, in the order of `score_requests`, without the measures that have no value here."""
    left = iter(scores)
    found = []
    for one in wanted:
        measures = tuple(score.metric for _, score in zip(one.measures, left, strict=False) if score.value is not None)
        found += [MetricRequest(one.plugin, measures)] if measures else []
    return found


def text_intervals(evaluation: Evaluation, wanted: Sequence[MetricRequest], resamples: int) -> dict[str, Interval]:
    """95 % bootstrap intervals over texts of the requested scores, by full name; scores without a value have none.

    References that belong to the texts are drawn with them; a set of references stays as it is, so that a score of the
    references alone has no interval.  An interval is cut to the range of its measure.
    """
    found: dict[str, Interval] = {}
    for one in wanted:
        drawn: dict[bytes, dict[str, float]] = {}  # one computation gives all measures of a metric
        for whole in score_requests(evaluation, [one]):
            if whole.value is not None:
                rng = generator(evaluation.metric_seed, "texts")  # the same halves for every measure
                statistic = partial(_drawn, evaluation, one.plugin, drawn, whole.metric)
                interval = bootstrap_interval(len(evaluation.texts), statistic, rng, resamples)
                found[whole.name] = _bounded(interval, whole)
    return found


def _bounded(interval: Interval, score: Score) -> Interval:
    """The interval cut to the score's range: fractions and probabilities to [0, 1], distances to [0, inf)."""
    share = score.unit in ("fraction", "probability")
    if interval.low is None or interval.high is None or not (share or score.metric.endswith("_gap")):
        return interval
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0) if share else interval.high)


def _drawn(
    evaluation: Evaluation, plugin: Plugin, known: dict[bytes, dict[str, float]], measure: str, indices: np.ndarray
) -> float:
    """Value of a measure on the texts at these indices; NaN without one."""
    key = indices.tobytes()
    if key not in known:
        scores = score(subset(evaluation, indices), [plugin])
        known[key] = {one.metric: math.nan if one.value is None else one.value for one in scores}
    return known[key][measure]


def subset(evaluation: Evaluation, indices: np.ndarray) -> Evaluation:
    """The evaluation of the texts at these indices; a set of references that belong to no text stays whole."""
    texts = None if evaluation.written is None else tuple(evaluation.written[i] for i in indices)
    rollouts = tuple(evaluation.rollouts[i] for i in indices) if texts is None else ()
    prompts = tuple(evaluation.prompts[i] for i in indices)
    return replace(evaluation, prompts=prompts, rollouts=rollouts, written=texts)


def score(evaluation: Evaluation, metrics: Sequence[Plugin]) -> Iterator[Score]:
    """Every score of every named metric; a score without a value has a reason."""
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
                n=_count(metric, name, evaluation),
                unit=measure.unit,
                direction=measure.direction,
                texts_hash=evaluation.texts_hash,
            )


def _count(metric: Metric, measure: str, evaluation: Evaluation) -> int:
    """Number of texts behind a score; for `NAME_reference` beside a measure NAME, of references, which may be a set."""
    alone = measure.endswith("_reference") and measure.removesuffix("_reference") in metric.measures
    return len(evaluation.references) if alone and not evaluation.in_pairs else metric.count(evaluation)


def profiles(evaluation: Evaluation, metrics: Sequence[Plugin]) -> Iterator[Profile]:
    """Every profile (curve by position) of every named metric that has one for this evaluation."""
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
