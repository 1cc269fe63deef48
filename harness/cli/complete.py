"""Completion of names on the command line, from what lists read: no torch, and no plug-in is imported but for measures.

A shell asks once for every press of the tab key, so that nothing here may take a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import typer


def grids(incomplete: str) -> list[str]:
    """Shipped grids, and the .yaml files and folders where the path that is begun leads."""
    from harness.grids.grid import grid_names

    return [*_beginning(grid_names(), incomplete), *_files(incomplete)]


def benchmarks(incomplete: str) -> list[str]:
    """Registered benchmarks."""
    from harness.registry import BENCHMARKS

    return _beginning(BENCHMARKS, incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics for the last part of a list, `length,mau` to `length,mauve`."""
    from harness.registry import METRICS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(METRICS, last)]


def described(incomplete: str) -> list[str]:
    """Names for `harness info`: plug-ins and shipped grids."""
    from harness.grids.grid import grid_names
    from harness.registry import BENCHMARKS, DIVERGENCES, METRICS, TRAINERS

    return _beginning(sorted({*chain(TRAINERS, DIVERGENCES, METRICS, BENCHMARKS), *grid_names()}), incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Trainers and benchmarks for `trainer=` and `benchmark=`, lists included."""
    from harness.registry import BENCHMARKS, TRAINERS

    registries: dict[str, Mapping[str, object]] = {"trainer": TRAINERS, "benchmark": BENCHMARKS}
    words = list(ctx.params.get("overrides") or ())  # bash takes `trainer=ml` for three, and completes the last
    if words[1:] and words[-1] == "=":
        key, shown = words[-2], ""
    elif words and words[-1] in registries and not incomplete:  # of `trainer=`, typer leaves the sign out
        key, shown = words[-1], ""
    else:
        key, equals, incomplete = incomplete.partition("=")
        if not equals:
            return [f"{name}=" for name in _beginning(registries, key)]
        shown = f"{key}="
    before, comma, last = incomplete.rpartition(",")
    return [f"{shown}{before}{comma}{name}" for name in _beginning(registries.get(key, ()), last)]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    folder, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return []
    known = [entry for entry in entries if entry.suffix in (".yaml", ".yml") or ((begun or slash) and entry.is_dir())]
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in known if not entry.name.startswith(".")]
    return [f"{folder}{slash}{name}" for name in _beginning(names, begun)]
