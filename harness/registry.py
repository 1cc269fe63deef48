"""Registries of trainers, divergences, metrics, benchmarks and speed rows, found by entry point.

Built-ins and third-party plug-ins are found in the same way.  Listing names reads only the metadata of entry points and
imports nothing; a plug-in is imported at its first use.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.errors import ConfigError, UnknownName, did_you_mean, message_of

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Named plug-ins of one kind; `registry[name]` imports the plug-in, `list(registry)` does not."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._added: dict[str, T] = {}

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:  # read once: it looks at every installed package
        return {point.name: point for point in entry_points(group=self.group)}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator for files given with `--include`: `@TRAINERS.register("mine")`."""

        def add(plugin: Any) -> Any:
            # the same file included again may register its names again
            taken = name in self._added and self._added[name].__module__ != plugin.__module__
            if taken or name in self._points:
                raise ConfigError(f"{self.kind} {name!r} exists already; choose another name")
            self._added[name] = plugin
            return plugin

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._added:
            point = self._points.get(name)
            if point is None:
                raise UnknownName(f"unknown {self.kind} {name!r}; {did_you_mean(name, self)}")
            try:
                self._added[name] = point.load()
            except ImportError as error:
                raise ConfigError(f"{self.kind} {name!r} ({point.value}) does not import: {error}") from error
        return self._added[name]

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._points, *self._added}))

    def __len__(self) -> int:
        return len({*self._points, *self._added})


TRAINERS: Registry[Any] = Registry("trainer", "sequencematch_harness.trainers")
DIVERGENCES: Registry[Any] = Registry("divergence", "sequencematch_harness.divergences")
METRICS: Registry[Any] = Registry("metric", "sequencematch_harness.metrics")
BENCHMARKS: Registry[Any] = Registry("benchmark", "sequencematch_harness.benchmarks")
SPEED: Registry[Any] = Registry("speed row", "sequencematch_harness.speed")


def include(path: Path) -> None:
    """Import a Python file whose decorators register plug-ins.

    Raises:
        ConfigError: the file is missing or fails while it is imported.
    """
    module_name = f"included_{path.stem}_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"--include {path}: no such Python file; give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == spec.origin]
        where = f", line {lines[-1]}" if lines else ""  # a SyntaxError names its line itself
        raise ConfigError(f"--include {path}{where}: {type(error).__name__}: {message_of(error)}") from error
