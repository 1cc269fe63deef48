"""Names of runs among others: the label, and the settings in which runs of one label differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.config.keys import short_keys
from harness.config.run import RunConfig, key_order


def run_names(configs: Iterable[RunConfig]) -> dict[str, str]:
    """A name for each of these runs, by run id, that no other one of them has: `language mle lr=0.003 seed 1`."""
    runs = list(configs)
    rows = row_names(runs)
    return {run.run_id: f"{rows[run.group_id]} {_seeds(run)}" for run in runs}


def row_names(configs: Iterable[RunConfig]) -> dict[str, str]:
    """A name for each configuration without its seeds, by group id, that no other one of them has.

    To the label come the settings that tell configurations of one label apart, as few as do, in a file's order: what
    is swept, and of what is swept together the first.
    """
    groups = {config.group_id: config for config in configs}
    alike: dict[str, list[str]] = {}
    for group_id, config in groups.items():
        alike.setdefault(config.label.rpartition(" seed ")[0], []).append(group_id)
    found: dict[str, str] = {}
    for label, ids in alike.items():
        flats = [{} if len(ids) == 1 else groups[group_id].flat() for group_id in ids]
        keys = _telling(flats)
        short = dict(zip(keys, short_keys(keys), strict=True))
        said = [[f"{short[key]}={_text(flat[key])}" for key in keys if flat.get(key) is not None] for flat in flats]
        names = [" ".join([label, *words]) for words in said]
        for group_id, name in zip(ids, names, strict=True):  # the rest differ in what has no key, as a metric's options
            found[group_id] = name if names.count(name) == 1 else f"{name} ({group_id[:8]})"
    return {group_id: found[group_id] for group_id in groups}


def _telling(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that tell configurations apart: each, in order, that splits those which are alike up to there."""
    chosen: list[str] = []
    parts = [""] * len(flats)
    for key in sorted({key for flat in flats for key in flat if not key.startswith("seeds.")}, key=key_order):
        finer = [f"{part} {flat.get(key)!r}" for part, flat in zip(parts, flats, strict=True)]
        if len(set(finer)) > len(set(parts)):
            chosen.append(key)
            parts = finer
    return chosen


def _text(value: Any) -> str:
    """A value as a grid has it; lists without blanks, so that a name's words stay apart."""
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seeds(run: RunConfig) -> str:
    """`seed 1`, and what differs from it: `seed 1, sample seed 2`."""
    others = {"sample": run.seeds.sample, "metric": run.seeds.metric}
    apart = [f"{source} seed {seed}" for source, seed in others.items() if seed != run.seeds.train]
    return ", ".join([f"seed {run.seeds.train}", *apart])
