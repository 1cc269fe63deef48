"""The options that plug-ins declare: listed, checked, written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.config.section import Plugin
from harness.config.written import takes_text
from harness.errors import ConfigError, did_you_mean
from harness.plugins.metric_names import known_metrics, parse_metric
from harness.registry import BENCHMARKS, METRICS, TRAINERS, Registry
from harness.system.model_files import content_of, local, spelled


@dataclass(frozen=True)
class Option:
    """One option of a plug-in, as `harness info` prints it."""

    name: str
    type: str
    default: Any
    description: str


@cache
def options(plugin: Callable[..., Any]) -> tuple[Option, ...]:
    """The options that a plug-in class declares, in order.

    Raises:
        ConfigError: the plug-in is not a dataclass.
    """
    if not dataclasses.is_dataclass(plugin):
        raise ConfigError(f"plug-in {plugin!r} is not a dataclass; decorate its class with @dataclass(frozen=True)")
    hints = get_type_hints(plugin, include_extras=True)
    found = []
    for entry in dataclasses.fields(plugin):
        hint, description = hints[entry.name], ""
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, FieldInfo) and extra.description:
                description = extra.description
        bare = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        default = None if entry.default is dataclasses.MISSING else entry.default
        found.append(Option(entry.name, _type_name(bare), default, description))
    return tuple(found)


@cache
def text_options(plugin: Callable[..., Any]) -> frozenset[str]:
    """Names of the options of a plug-in class whose values are text and never numbers."""
    hints = get_type_hints(plugin, include_extras=True)
    return frozenset(option.name for option in options(plugin) if takes_text(hints[option.name]))


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(_type_name(choice) for choice in get_args(hint))
    if hint is NoneType:
        return "None"
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)


def build(registry: Registry[Any], given: Plugin, where: str) -> Any:
    """An instance of the named plug-in with the given options checked and the others at their defaults.

    Raises:
        ConfigError: unknown plug-in, unknown option (with the closest known one), or a value out of its domain.
    """
    if given.name not in registry:
        known = known_metrics() if registry is METRICS else registry
        raise ConfigError(f"{where}.name: unknown {registry.kind} {given.name!r}; {did_you_mean(given.name, known)}")
    cls = registry[given.name]
    declared = {option.name: option for option in options(cls)}
    for key in given.options:
        if key not in declared:
            raise ConfigError(
                f"{where}.{key}: {registry.kind} {given.name!r} has no option {key!r}; {did_you_mean(key, declared)}"
            )
    try:
        return _adapter(cls).validate_python(dict(given.options))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise ConfigError(f"{path}={first['input']!r}: {first['msg']}") from error


@cache
def _adapter(plugin: type[Any]) -> TypeAdapter[Any]:
    """The validator of a plug-in's fields; cached, as making one takes longer than all of a grid's validations."""
    return TypeAdapter(plugin)


def resolve(config: RunConfig) -> RunConfig:
    """The same configuration with all that its hash must cover written out: plug-in options, a model's content.

    Left out are options that a plug-in got after runs of it were stored, its `later_options`, at their defaults.

    Raises:
        ConfigError: as `build`, for the benchmark, the trainer or a metric.
        EnvironmentProblem: a file of the model's directory cannot be read.
    """
    benchmark = build(BENCHMARKS, config.benchmark, "benchmark")
    metrics = config.metrics
    if metrics is None:
        metrics = tuple(parse_metric(text) for text in benchmark.metrics)
    chosen = tuple(_resolved(METRICS, metric, f"metrics[{i}]") for i, metric in enumerate(metrics))
    for i, metric in enumerate(chosen):
        if metric in chosen[:i]:
            raise ConfigError(f"metrics[{i}]: {metric.name!r} stands there twice with the same options; remove one")
    return config.model_copy(
        update={
            "benchmark": Plugin(name=config.benchmark.name, options=_written(benchmark)),
            "trainer": _resolved(TRAINERS, config.trainer, "trainer"),
            "metrics": chosen,
            "model": by_content(config.model),
        }
    )


def _resolved(registry: Registry[Any], given: Plugin, where: str) -> Plugin:
    return Plugin(name=given.name, options=_written(build(registry, given, where)))


def _written(plugin: Any) -> dict[str, Any]:
    """A plug-in's options; its `later_options` only where they are not at their defaults, so that run ids stay."""
    later = getattr(type(plugin), "later_options", ())
    default = {entry.name: entry.default for entry in dataclasses.fields(plugin)}
    found = dataclasses.asdict(plugin)
    return {name: value for name, value in found.items() if name not in later or value != default[name]}


def by_content(model: ModelConfig) -> ModelConfig:
    """The same model, one in a directory with the hash of its content as its revision, unless it has one.

    The name is `spelled` in one way.
    """
    place = None if model.from_scratch else local(model.name)
    if place is None:
        return model
    return model.model_copy(update={"name": spelled(model.name), "revision": model.revision or content_of(place)})
