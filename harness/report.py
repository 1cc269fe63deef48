"""The leaderboard: finished runs grouped by configuration, with n, mean and a 95 % interval per score, and no rank.

Numbers of different benchmarks do not compare, so every benchmark (its options and data included) has its own
table; scores of different full names never share a column.  Rows stand in the grid's order.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.plugins import BIASED
from harness.stats import Interval, t_interval
from harness.store import Store

# shown when no metric is asked for, where they are stored
PREFERRED = (
    "exact_kl",
    "out_of_support",
    "bad_texts",
    "exact_match",
    "exact_match_corrupted_1",
    "mauve",
    "perplexity",
    "diversity",
    "backspace_rate",
)
SEEDS_NEEDED = 6  # the smallest n with 2 / 2**n <= .05: a sign flip's least two-sided p

Record = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One score: its full name, short name, unit and which way is better."""

    name: str
    metric: str
    unit: str
    direction: str


@dataclass(frozen=True)
class Table:
    """One benchmark's groups.

    Attributes:
        benchmark: its name and options (`name`, `corpus`, ...) and the `data_hash` of the texts it gave.
        title: its name, and what tells it from the other tables.
        keys: the configuration keys that tell the rows apart.
        columns: the scores shown.
        rows: `group` (key: value; a key the group does not have is left out), `n` runs, their `runs` ids, and
            `scores`: full name to an `Interval` in the score's unit (None: no run has a value) and the `unscored`
            reasons with the number of runs.
        notes: what a reader of this table must know.
    """

    benchmark: Record
    title: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Record, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """One table per benchmark, and what holds for all of them."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> Record:
        """Plain JSON values; a mean that is not finite becomes the text `inf`, `-inf` or `nan`."""
        return {"tables": [_table_dict(table) for table in self.tables], "notes": list(self.notes)}


def leaderboard(
    store: Store,
    *,
    grid: str | None = None,
    metrics: Sequence[str] | None = None,
    group_by: Sequence[str] | None = None,
    filters: Sequence[str] = (),
) -> Leaderboard:
    """Compare the finished runs of a grid, or of the whole store.

    Args:
        store: where the runs are.
        grid: its name; None takes every run.
        metrics: short names (`mauve`: every definition and parameter of it), `name@definition`, or full names; None
            shows a short list.
        group_by: configuration keys, of which the last part is enough where it is unambiguous (`backspace`), as is
            the section of a plug-in or model (`trainer` is `trainer.name`); None groups by everything but the seeds.
        filters: `key=value`, all of which must hold.

    Raises:
        UnknownName: the store has no such grid.
        ConfigError: an unknown or ambiguous key, a value that no run has, or a metric that no run stored.
    """
    if grid is not None and grid not in store.grids():
        hint = did_you_mean(grid, store.grids())
        raise UnknownName(f"no run of grid {grid!r} in {store.url}; {hint} (`harness run {grid}` starts it)")
    runs = store.runs(grid)
    everything = [_record(row) for row in runs.to_dict("records")]
    done = [record for record in everything if record["status"] == "done"]
    notes = _progress(everything)
    if not done:
        return Leaderboard((), tuple(notes or ["no runs yet; `harness run GRID` starts some"]))
    known = [key for key in runs.columns if any(key in record["config"] for record in done)]
    for text in filters:
        done = _filtered(done, text, known)
    if not done:
        return Leaderboard((), (*notes, f"no finished run has {' and '.join(filters)}"))
    keys = None if group_by is None else [_key(given, known) for given in group_by]
    scores: dict[str, list[Record]] = {record["run_id"]: [] for record in done}
    for score in store.scores(grid).to_dict("records"):
        if score["run_id"] in scores:
            scores[score["run_id"]].append({str(key): value for key, value in score.items()})
    if metrics is not None:
        _check_metrics(metrics, [score for found in scores.values() for score in found])
    benchmarks = _grouped(done, lambda record: _canonical(_benchmark(record)))
    told_apart = sorted(_varying([_benchmark(members[0]) for members in benchmarks]), key="data_hash".__eq__)
    tables = tuple(_table(members, scores, metrics, keys, known, told_apart) for members in benchmarks)
    merged = any("merges runs" in note for table in tables for note in table.notes)
    return Leaderboard(tables, (*notes, _interval_note(tables, merged), "rows stand in the grid's order: no rank"))


# -------------------------------------------------------------------------------------------------- one table


def _table(
    members: list[Record],
    scores: Mapping[str, list[Record]],
    metrics: Sequence[str] | None,
    group_by: Sequence[str] | None,
    known: list[str],
    told_apart: Sequence[str],
) -> Table:
    notes: list[str] = []
    columns = _columns([score for record in members for score in scores[record["run_id"]]], metrics, notes)
    if group_by is None:
        groups = _grouped(members, lambda record: record["group_id"])
        keys = sorted(_varying([_settings(group[0]) for group in groups]), key=known.index) or ["trainer.name"]
    else:
        keys = list(group_by)
        groups = _grouped(members, lambda record: _canonical(_label(record, keys)))
        merged = [key for group in groups for key in _varying([_settings(record) for record in group])]
        if merged:
            differ = ", ".join(dict.fromkeys(merged))
            notes.append(f"this grouping merges runs that differ in {differ}: their spread is not that of seeds alone")
    labels = [_label(group[0], keys) for group in groups]
    if len({_canonical(label) for label in labels}) < len(groups):  # they differ in a list of metrics, say
        keys.append("group_id")
        labels = [label | {"group_id": group[0]["group_id"]} for label, group in zip(labels, groups, strict=True)]
    rows = tuple(_row(label, group, columns, scores) for label, group in zip(labels, groups, strict=True))
    for column in columns:
        reasons: Counter[str] = Counter()
        for row in rows:
            reasons.update(row["scores"].get(column.name, {}).get("unscored", {}))
        notes += [f"{column.metric}: no value for {count} run(s): {reason}" for reason, count in reasons.items()]
    used = {setting for record in members for setting in record["config"].items()}
    notes += [f"{key}={value} is biased: {why}" for (key, value), why in BIASED.items() if (key, value) in used]
    benchmark = _benchmark(members[0])
    shown = [f"{last_part(key)}={written(benchmark[key])}" for key in told_apart if key != "name" and key in benchmark]
    title = benchmark["name"] + (f" ({', '.join(shown)})" if shown else "")
    return Table(benchmark, title, tuple(keys), tuple(columns), rows, tuple(notes))


def _row(label: Record, group: list[Record], columns: list[Column], scores: Mapping[str, list[Record]]) -> Record:
    cells = {}
    for column in columns:
        found = [score for run in group for score in scores[run["run_id"]] if score["name"] == column.name]
        values = [score["value"] for score in found if score["kind"] is not None]
        unscored = Counter(str(score["reason"]) for score in found if score["kind"] is None)
        if found:
            cells[column.name] = {"interval": t_interval(values) if values else None, "unscored": dict(unscored)}
    return {"group": label, "n": len(group), "runs": [record["run_id"] for record in group], "scores": cells}


def _columns(stored: Sequence[Record], metrics: Sequence[str] | None, notes: list[str]) -> list[Column]:
    known = {score["name"]: score for score in sorted(stored, key=lambda score: str(score["name"]))}
    chosen: dict[str, None] = {}
    for asked in metrics or ():
        chosen |= dict.fromkeys(name for name in known if _matches(asked, known[name]))
    if metrics is None:
        short = {score["metric"] for score in known.values()}
        for metric in [one for one in PREFERRED if one in short] or sorted(short):
            mine = [name for name in known if known[name]["metric"] == metric]
            definitions = sorted({known[name]["definition"] for name in mine})
            chosen |= dict.fromkeys(name for name in mine if known[name]["definition"] == definitions[0])
            notes += [f"{metric} is stored as @{other}, too: --metric {metric} shows all" for other in definitions[1:]]
    return [Column(name, known[name]["metric"], known[name]["unit"], known[name]["direction"]) for name in chosen]


def _matches(asked: str, score: Record) -> bool:
    return asked in (score["metric"], score["name"]) or str(score["name"]).startswith(f"{asked}[")


def _check_metrics(metrics: Sequence[str], stored: Sequence[Record]) -> None:
    for asked in metrics:
        if not any(_matches(asked, score) for score in stored):
            hint = did_you_mean(asked, {score["name" if "@" in asked else "metric"] for score in stored})
            raise ConfigError(f"metric {asked!r}: no finished run has such a score; {hint}")


# ------------------------------------------------------------------------------------------------- configurations


def _record(row: Mapping[Any, Any]) -> Record:
    """A run with its configuration as a mapping of the keys it has."""
    config = {key: value for key, value in row.items() if "." in key and value == value}  # NaN: it has no such key
    if not config["actions.backspace"]:  # nothing is injected then: the noise fields only have neutral values
        config = {key: value for key, value in config.items() if not key.startswith("actions.noise_")}
    return {key: row[key] for key in ("run_id", "group_id", "status", "data_hash")} | {"config": config}


def _benchmark(record: Record) -> Record:
    config = record["config"].items()
    options = {key.removeprefix("benchmark."): value for key, value in config if key.startswith("benchmark.")}
    return options | {"data_hash": record["data_hash"]}


def _label(record: Record, keys: Sequence[str]) -> Record:
    return {key: record["config"][key] for key in keys if key in record["config"]}


def _settings(record: Record) -> Record:
    """What a group's runs share by default: everything but the benchmark (the table's) and the seeds."""
    return {key: value for key, value in record["config"].items() if not key.startswith(("benchmark.", "seeds."))}


def _varying(records: Sequence[Record]) -> list[str]:
    """Keys with at least two values, among the records that have them."""
    values: dict[str, set[str]] = {}
    for record in records:
        for key, value in record.items():
            values.setdefault(key, set()).add(_canonical(value))
    return [key for key, found in values.items() if len(found) > 1]


def _grouped(records: Sequence[Record], of: Callable[[Record], str]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(of(record), []).append(record)
    return list(groups.values())


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _key(given: str, known: Sequence[str]) -> str:
    """The configuration key that `given` names."""
    wanted = given.strip().replace("-", "_")
    if wanted in known:
        return wanted
    found = [key for key in known if key == f"{wanted}.name" or key.endswith(f".{wanted}")]
    if len(found) > 1:
        raise ConfigError(f"{given!r} may be {', '.join(found)}; write the whole key")
    if not found:
        spellings = [*known, *(last_part(key) for key in known)]
        raise ConfigError(f"no finished run has a configuration key {given!r}; {did_you_mean(wanted, spellings)}")
    return found[0]


def _filtered(records: list[Record], text: str, known: Sequence[str]) -> list[Record]:
    given, equals, value = text.partition("=")
    if not equals or not given.strip():
        raise ConfigError(f"filter {text!r} is not key=value; write, say, trainer.name=mle")
    key, wanted = _key(given, known), value.strip().strip("'\"")
    spellings = sorted({written(record["config"][key]) for record in records if key in record["config"]})
    kept = [record for record in records if key in record["config"] and _equal(record["config"][key], wanted)]
    if not kept and spellings:
        raise ConfigError(f"filter {text!r}: no finished run has {key}={wanted}; {did_you_mean(wanted, spellings)}")
    return kept


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(ValueError):
            return float(wanted) == value
        return False
    return written(value) == (wanted.lower() if value is None or isinstance(value, bool) else wanted)


def _progress(records: Sequence[Record]) -> list[str]:
    count = Counter(record["status"] for record in records)
    if count["done"] == len(records):
        return []
    parts = ", ".join(f"{count[one]} {one}" for one in ("done", "running", "pending", "failed") if count[one])
    return [f"{len(records)} runs: {parts}; only finished ones are shown"]


def _interval_note(tables: Sequence[Table], merged: bool) -> str:
    sizes = sorted({row["n"] for table in tables for row in table.rows})
    over = "n runs" if merged else "n seeds, given one base model"
    few = [str(n) for n in sizes if n < SEEDS_NEEDED]
    if few:
        power = f"n = {' or '.join(few)} cannot separate groups: "
        power += f"a paired sign flip needs at least {SEEDS_NEEDED} seeds to reach p <= .05 (2/2^n)"
    else:
        power = f"with n = {sizes[0]} a paired sign flip can reach p = {2 / 2 ** sizes[0]:.2g} (2/2^n)"
    return f"intervals: 95 % Student t over {over}; {power}"


# ------------------------------------------------------------------------------------------------- plain values


def last_part(key: str) -> str:
    """The last part of a configuration key, as column heads have it."""
    return key.removesuffix(".name").rpartition(".")[2]


def written(value: Any) -> str:
    """A configuration value as a person writes it."""
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _table_dict(table: Table) -> Record:
    def cell(found: Record) -> Record:
        interval: Interval = found["interval"] or Interval(math.nan, None, None, 0)
        mean: float | str | None = interval.mean if math.isfinite(interval.mean) else str(interval.mean)
        numbers = {"mean": mean if interval.n else None, "low": interval.low, "high": interval.high}
        return numbers | {"n": interval.n, "unscored": found["unscored"]}

    return {
        "benchmark": table.benchmark,
        "title": table.title,
        "keys": list(table.keys),
        "metrics": [vars(column) for column in table.columns],
        "rows": [row | {"scores": {name: cell(found) for name, found in row["scores"].items()}} for row in table.rows],
        "notes": list(table.notes),
    }
