"""The description of a trainer, divergence, metric, benchmark or grid for `harness info`, as plain values."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from harness.config.search_space import searches
from harness.errors import UnknownName, did_you_mean
from harness.grids.grid import load_grid, shipped
from harness.grids.tuning import SHARED
from harness.plugins.metric_names import known_metrics, metric_of
from harness.plugins.options import options
from harness.registry import BENCHMARKS, DIVERGENCES, METRICS, TRAINERS

REGISTRIES = {"trainers": TRAINERS, "divergences": DIVERGENCES, "metrics": METRICS, "benchmarks": BENCHMARKS}


def describe(name: str) -> list[dict[str, Any]]:
    """One description for every kind of thing that has this name; a measure's name stands for its metric.

    Keys: kind, name, description, source (a file); for plug-ins `options` (name, type, default, description), for
    trainers `tuned` (setting -> the search space of `harness tune`), for metrics `measures`, for grids `axes`, `seeds`
    and `cells`; `values` holds the facts of a ready-made object.

    Raises:
        UnknownName: no registry and no shipped grid has it.
    """
    found = [_plugin(registry.kind, name, registry[name]) for registry in REGISTRIES.values() if name in registry]
    if name in shipped():
        found.append(_grid(name))
    if not found and (metric := metric_of(name)) in METRICS:
        found.append(_plugin(METRICS.kind, metric, METRICS[metric]))
    if not found:
        known = {known for registry in REGISTRIES.values() for known in registry} | {*shipped(), *known_metrics()}
        raise UnknownName(f"nothing is called {name!r}; {did_you_mean(name, known)}")
    return found


def _plugin(kind: str, name: str, plugin: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": kind, "name": name, "description": inspect.getdoc(plugin) or ""}
    documented = plugin if inspect.isclass(plugin) or inspect.isroutine(plugin) else type(plugin)
    described["source"] = inspect.getsourcefile(documented)
    if inspect.isclass(plugin) and dataclasses.is_dataclass(plugin):
        described["options"] = [
            dataclasses.asdict(option) | {"default": _writable(option.default)} for option in options(plugin)
        ]
        if kind == TRAINERS.kind:
            own = {f"trainer.{option}": search for option, search in searches(plugin).items()}
            described["tuned"] = {key: str(search) for key, search in {**SHARED, **own}.items()}
    elif dataclasses.is_dataclass(plugin):
        described["values"] = dict(_facts(plugin))
    measures = getattr(plugin, "measures", None)
    if measures is not None:
        described["measures"] = {key: dataclasses.asdict(measure) for key, measure in measures.items()}
    return described


def _facts(plugin: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(plugin):
        value = getattr(plugin, field.name)
        if isinstance(value, bool | int | float | str):
            yield field.name, _writable(value)


def _writable(value: Any) -> Any:
    """A value that JSON can hold: infinities and unusual defaults as text."""
    plain = value is None or isinstance(value, bool | int | str)
    return value if plain or (isinstance(value, float) and abs(value) < float("inf")) else str(value)


def _grid(name: str) -> dict[str, Any]:
    grid = load_grid(name)
    axes = [
        {"keys": sorted({key for point in axis for key in point}), "values": len(axis)}
        for axis in (*grid.axes, *grid.sweeps)
    ]
    return {
        "kind": "grid",
        "name": name,
        "description": grid.question,
        "source": grid.source,
        "axes": axes,
        "seeds": list(grid.seeds),
        "cells": len(grid.expand()),
    }
