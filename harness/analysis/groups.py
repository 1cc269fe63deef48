"""Groups of finished runs: one table per benchmark, one row per configuration, control rows apart."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from harness.analysis.filters import written
from harness.config.keys import last_part
from harness.config.run import BASE_TRAINER, BASELINE, key_order
from harness.config.sampling import SamplingConfig
from harness.plugins.trainer import BIASED
from harness.storage.queries import Run, Seeds

Record = dict[str, Any]
AT_BEST = f"{BASE_TRAINER} at its best temperature"
"""The control row that an objective must beat, too, if it claims more than a sharper distribution."""
T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Runs that make one row.

    Attributes:
        label: configuration key to value, for the keys that distinguish the rows; a key it lacks is left out.
        runs: in the store's order.
        control: the kind of control row, None for a row that is compared.
        source: the seed by which the table's rows are paired, `train`, `sample` or `metric`.
    """

    label: Record
    runs: tuple[Run, ...]
    control: str | None
    source: str

    def at_seeds(self, values: Mapping[str, float | str]) -> dict[int, float]:
        """The row's value at each of its seeds, given numbers (or reasons) by run id.

        Runs that share the seed are no independent evidence: the value is their mean.  Where a row merges several
        configurations it is the mean over these, and only at seeds that all of them have.
        """
        if self._one_run_each is not None:
            return {seed: v for seed, run in self._one_run_each if isinstance(v := values.get(run), float)}
        found: dict[int, dict[str, list[float]]] = {}
        for run in self.runs:
            value = values.get(run.run_id)
            if isinstance(value, float):
                at = found.setdefault(getattr(run.seeds, self.source), {})
                at.setdefault(run.group_id, []).append(value)
        parts = len(self.configs)
        return {
            seed: mean([mean(several) for several in by_config.values()])
            for seed, by_config in found.items()
            if len(by_config) == parts
        }

    @cached_property
    def _one_run_each(self) -> list[tuple[int, str]] | None:
        """(seed, run id) where no two runs share a seed, as is usual; None otherwise."""
        found = [(getattr(run.seeds, self.source), run.run_id) for run in self.runs]
        return found if len(self.configs) == 1 and len(dict(found)) == len(found) else None

    @cached_property
    def configs(self) -> list[Mapping[str, Any]]:
        """The different configurations behind the row; one unless a grouping merges some."""
        return list({run.group_id: run.config for run in self.runs}.values())

    @property
    def merged(self) -> list[str]:
        """The settings in which its runs differ beside their seeds."""
        return varying([settings(config) for config in self.configs]) if len(self.configs) > 1 else []


def benchmark(run: Run) -> Record:
    """The run's benchmark: its name and options, which `split` was scored, the `data_hash` of the texts it gave."""
    options = {k.removeprefix("benchmark."): v for k, v in run.config.items() if k.startswith("benchmark.")}
    split = run.config.get("evaluation.split", "test")  # numbers of different splits do not compare either
    return options | {"split": split, "data_hash": run.data_hash}


def settings(config: Mapping[str, Any]) -> Record:
    """Settings that may distinguish the rows of a table: all but the benchmark and `control`."""
    return {key: value for key, value in config.items() if not key.startswith("benchmark.") and key != "control"}


def control(config: Mapping[str, Any]) -> str | None:
    """The kind of control row that a configuration is for, None for none.

    Controls are the scale of a score: expert texts and unigrams are ceiling and floor, and an objective that claims
    more than a sharper distribution must beat the baseline at its best temperature.
    """
    if config.get("control") is not None:
        return str(config["control"])
    if config.get("trainer.name") == BASE_TRAINER and config.get("sampling.temperature") == "best":
        return AT_BEST
    return None


def source(members: Iterable[Run]) -> str:
    """The seed by which rows are paired: the first of `train`, `sample` and `metric` that varies.

    Runs that share what comes earlier share its luck, so that the later seeds alone are no evidence of their own.
    """
    runs = list(members)
    varied = (name for i, name in enumerate(Seeds._fields) if len({run.seeds[i] for run in runs}) > 1)
    return next(varied, "train")


def tables(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs by benchmark, options and data included: numbers of different benchmarks do not compare."""
    by_config = {run.group_id: canonical(benchmark(run) | {"data_hash": None}) for run in runs}
    return grouped(runs, lambda run: (by_config[run.group_id], run.data_hash))


def titles(members: Sequence[Sequence[Run]]) -> list[str]:
    """A title for each table: its benchmark's name, and the options in which it differs from the other tables."""
    kinds = [benchmark(runs[0]) for runs in members]
    distinguishing = sorted(varying(kinds), key="data_hash".__eq__)
    shown = [
        ", ".join(f"{last_part(key)}={written(kind[key])}" for key in distinguishing if key != "name" and key in kind)
        for kind in kinds
    ]
    return [kind["name"] + (f" ({more})" if more else "") for kind, more in zip(kinds, shown, strict=True)]


def grouped_rows(members: Sequence[Run], group_by: Sequence[str] | None) -> tuple[list[str], list[Group]]:
    """The keys that distinguish a table's rows, and the rows: those that are compared, then the control rows.

    `group_by` None groups by everything but the seeds.
    """
    paired_by = source(members)
    first = {run.group_id: run.config for run in members}
    kinds = {group_id: control(config) for group_id, config in first.items()}
    compared = [settings(config) for group_id, config in first.items() if kinds[group_id] is None]
    if group_by is None:
        groups = grouped(members, lambda run: run.group_id)
        keys = sorted(varying(compared or [settings(config) for config in first.values()]), key=key_order)
        keys = keys or ["trainer.name"]
    else:
        keys = list(group_by)
        row_of = {
            group_id: canonical(_label(config, keys) if kinds[group_id] is None else {"group_id": group_id})
            for group_id, config in first.items()
        }
        seeded = [key for key in keys if key.startswith("seeds.")]
        groups = grouped(members, lambda run: (row_of[run.group_id], *(run.get(key) for key in seeded)))
    found = []
    for kind, alike in grouped_by_kind(groups, lambda group: kinds[group[0].group_id]):
        of_kind = keys if kind is None else varying([settings(group[0].config) for group in alike])
        labels = [{key: g[0].get(key) for key in of_kind if _has(g[0], key)} for g in alike]
        if len({canonical(label) for label in labels}) < len(alike):  # they differ in a list of metrics, say
            labels = [label | {"group_id": g[0].group_id} for label, g in zip(labels, alike, strict=True)]
            keys = keys if "group_id" in keys else [*keys, "group_id"]
        found += [Group(label, tuple(group), kind, paired_by) for label, group in zip(labels, alike, strict=True)]
    return keys, found


def keys_apart(members: Sequence[Run], group_by: Sequence[str]) -> list[str]:
    """The keys, and those in which the runs of one row would differ: a mean over these is no mean over seeds."""
    configs = {run.group_id: run.config for run in members}.values()
    compared = [settings(config) for config in configs if control(config) is None]
    rows = grouped(compared, lambda config: canonical(_label(config, group_by)))
    apart = {key for alike in rows for key in varying(alike)}.difference(group_by)
    return [*group_by, *sorted(apart, key=key_order)]


def grouped_by_kind(groups: Iterable[T], of: Callable[[T], str | None]) -> list[tuple[str | None, list[T]]]:
    """Groups by kind of control, those without a control first."""
    kinds: dict[str | None, list[T]] = {None: []}
    for group in groups:
        kinds.setdefault(of(group), []).append(group)
    return [(kind, alike) for kind, alike in kinds.items() if alike]


def default_baseline(groups: Sequence[Group]) -> list[int]:
    """The rows that `config.BASELINE` describes; a key that the grouping merged away in a row counts as right there.

    Where several fit, those that sample and train in the usual way are preferred.
    """
    found = [i for i, group in enumerate(groups) if group.control is None and _is_baseline(group)]
    plain = [i for i in found if all(_usual(config) for config in groups[i].configs)]
    return plain or found


def at_best_temperature(groups: Sequence[Group], base: int) -> int | None:
    """The row of MLE at its best temperature, of several the one that shares most settings with the base; or None."""
    wanted = groups[base].configs[0]
    found = [i for i, group in enumerate(groups) if group.control == AT_BEST and i != base]

    def shared(i: int) -> int:
        return sum(wanted.get(key) == value for key, value in groups[i].configs[0].items())

    return max(found, key=shared, default=None)


def biased(members: Sequence[Run]) -> list[str]:
    """Notes on biased settings that some of the runs have (`BIASED`)."""
    configs = {run.group_id: run.config for run in members}.values()
    return [
        f"{key}={value} is biased: {why}"
        for (key, value), why in BIASED.items()
        if any(config.get(key) == value for config in configs)
    ]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def grouped(items: Iterable[T], of: Callable[[T], Hashable]) -> list[list[T]]:
    """Items by a key, in order of first appearance."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(of(item), []).append(item)
    return list(groups.values())


def varying(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys with at least two values, among the records that have them."""
    values: dict[str, set[Hashable]] = {}
    for record in records:
        for key, value in record.items():
            plain = value is None or isinstance(value, (bool, int, float, str))
            values.setdefault(key, set()).add((type(value), value) if plain else canonical(value))
    return [key for key, found in values.items() if len(found) > 1]


def canonical(value: Any) -> str:
    """One text for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def _label(config: Mapping[str, Any], keys: Sequence[str]) -> Record:
    return {key: config[key] for key in keys if key in config}


def _has(run: Run, key: str) -> bool:
    return key in run.config or key.startswith("seeds.")


def _is_baseline(group: Group) -> bool:
    for key, wanted in BASELINE.items():
        values = [config.get(key) for config in group.configs]
        merged_away = key not in group.label and any(value != wanted for value in values) and wanted in values
        if not merged_away and any(value != wanted for value in values):
            return False
    return True


def _usual(config: Mapping[str, Any]) -> bool:
    """True if a configuration samples by the default decoder, and trains all weights on clean contexts."""
    if config.get("actions.context_noise") or config.get("training.scope", "full") != "full":
        return False
    default = SamplingConfig()
    given = {key.removeprefix("sampling."): value for key, value in config.items() if key.startswith("sampling.")}
    sized = ("rollouts", "length")  # how much is written, not how
    return all(getattr(default, key, value) == value for key, value in given.items() if key not in sized)
