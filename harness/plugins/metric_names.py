"""Names of metrics: `name@definition[key=value,...]`, or the name of one of the measures."""

from __future__ import annotations

import re
from typing import Any

from harness.config.section import Plugin
from harness.config.written import split_pairs, unquoted
from harness.errors import ConfigError
from harness.registry import METRICS


def parse_metric(text: str) -> Plugin:
    """`name`, `name@definition` or `name@definition[key=value,...]` as a plug-in with options.

    The name is a metric's or one of its measures': `mauve_star` stands for the metric that measures it.

    >>> parse_metric("diversity@simctg").options
    {'definition': 'simctg'}
    >>> parse_metric('mauve@mauve-text[featuriser="m/a,b=c"]').options["featuriser"]
    'm/a,b=c'

    Raises:
        ConfigError: it is none of the three: a missing definition, an open bracket, a part in brackets without a value.
    """
    found = _METRIC.fullmatch(text)
    pairs = split_pairs(found["inside"]) if found and found["inside"] else []
    if found is None or not all(key and equals for key, equals, _ in pairs):
        name = re.split(r"[@\[]", text)[0] or "NAME"
        raise ConfigError(
            f"metric {text!r} is not written as {name}, {name}@DEFINITION or {name}@DEFINITION[key=value,...]; "
            f"`harness info {name}` says its definitions and keys"
        )
    chosen: dict[str, Any] = {"definition": found["definition"]} if found["definition"] else {}
    return Plugin(name=metric_of(found["name"]), options=chosen | {key: unquoted(value) for key, _, value in pairs})


_METRIC = re.compile(r"(?P<name>[^@\[\]]+)(@(?P<definition>[^@\[\]]+)(\[(?P<inside>.+)\])?)?", re.DOTALL)


def metric_of(name: str) -> str:
    """The metric with this name or with a measure of this name; an unknown name comes back as it is."""
    if name in METRICS:
        return name
    return next((metric for metric in METRICS if name in METRICS[metric].measures), name)


def as_measures(text: str) -> list[str]:
    """Expand a name into leaderboard columns: a metric without a measure of its name means all its measures.

    >>> as_measures("repetition@exact"), as_measures("diversity")
    (['rep_2@exact', 'rep_3@exact', 'rep_4@exact'], ['diversity'])
    """
    name, at, rest = text.partition("@")
    measures = METRICS[name].measures if name in METRICS else (name,)
    return [text] if name in measures else [f"{measure}{at}{rest}" for measure in measures]


def known_metrics() -> list[str]:
    """Every name that `metric_of` finds: of metrics and of their measures."""
    return sorted({*METRICS, *(measure for metric in METRICS.values() for measure in metric.measures)})
