"""Comparison of two or more groups: settings that differ, and differences of each score paired by seed.

Scores are stored per run, not per prompt: where each side is a single run there is nothing to pair, and a note says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.filters import known_keys, select, written
from harness.analysis.groups import Group, Record, benchmark, control, settings, source, tables, titles
from harness.config.run import key_order
from harness.config.written import split_list
from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.report.board import plain_difference, plain_interval
from harness.report.leaderboard import check_grid, check_metrics
from harness.report.leaderboard_table import matches
from harness.report.ties import ranked_by
from harness.stats.intervals import Interval, t_interval
from harness.stats.ranks import SEEDS_NEEDED, Difference, differences
from harness.storage.queries import Run, ScoreName, read_names, read_runs, read_values
from harness.storage.store import Store

NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its letter, the filter as given, its run ids."""

    name: str
    asked: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class ScoreLine:
    """One score: each side's mean (None: no value), and each further side minus the first (None: not both have it).

    Differences are of the area along the curve where ties move the score; a note says so.
    """

    score: ScoreName
    means: tuple[Interval | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Comparison:
    """The comparison on one benchmark.

    Attributes:
        title: the benchmark.
        sides: the things compared; differences are from the first.
        settings: configuration keys in which the sides differ, with each side's value (`a | b` for several, `–` for
            none).
        lines: one per score that at least two sides have.
        notes: conditions that qualify the numbers.
    """

    title: str
    sides: tuple[Side, ...]
    settings: Mapping[str, tuple[str, ...]]
    lines: tuple[ScoreLine, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> Record:
        """Plain JSON values."""
        return {
            "title": self.title,
            "sides": [vars(side) for side in self.sides],
            "settings": {key: list(values) for key, values in self.settings.items()},
            "scores": [
                vars(line.score)
                | {"means": [plain_interval(mean) for mean in line.means]}
                | {"differences": [None if one is None else plain_difference(one) for one in line.differences]}
                for line in self.lines
            ],
            "notes": list(self.notes),
        }


def compare(
    store: Store, asked: Sequence[str], *, grid: str | None = None, metrics: Sequence[str] | None = None
) -> list[Comparison]:
    """Compare finished runs, benchmark by benchmark where all sides have been.

    Args:
        store: where the runs are.
        asked: for each side a group's id, a run's id (the beginning of either is enough), or filters with commas
            between them: `trainer=bc,backspace=true`.
        grid: whose runs to look at; None takes all.
        metrics: as for `leaderboard`; None takes every score that two sides have.

    Raises:
        UnknownName: no such grid, run or group.
        ConfigError: fewer than two sides, a side without runs or with several meanings, or no benchmark in common.
    """
    if not 2 <= len(asked) <= len(NAMES):
        raise ConfigError(f"{len(asked)} side(s); compare two or more, say trainer=mle trainer=bc")
    check_grid(store, grid)
    done = [run for run in read_runs(store, grid) if run.status == "done"]
    names = {score.name: score for score in read_names(store, grid)}
    if metrics is not None:
        check_metrics(metrics, names.values())
        names = {name: score for name, score in names.items() if any(matches(one, score) for one in metrics)}
    sides = [_chosen(text, done) for text in asked]
    parts = tables(done)
    shared = [
        (title, part)
        for title, part in zip(titles(parts), parts, strict=True)
        if all({run.run_id for run in part} & {run.run_id for run in side} for side in sides)
    ]
    if not shared:
        where = "; ".join(
            f"{text}: {', '.join(sorted({benchmark(run)['name'] for run in side}))}"
            for text, side in zip(asked, sides, strict=True)
        )
        raise ConfigError(f"the sides have no benchmark (with the same data) in common: {where}")
    values = read_values(store, grid, {name for score in names.values() for name in (score.name, score.curve)})
    found = []
    for title, part in shared:
        here = {run.run_id for run in part}
        paired_by = source(part)
        groups = [Group({}, tuple(run for run in side if run.run_id in here), None, paired_by) for side in sides]
        compared = [run.run_id for group in groups for run in group.runs]
        lines, ties = [], []
        for score in names.values():
            by, note = ranked_by(score, values, compared)
            line = _line(score, groups, values.get(score.name, {}), values.get(by or score.name, {}))
            lines += [line] if line is not None else []
            ties += [note] if line is not None and note is not None else []
        shown = tuple(
            Side(name, text, tuple(run.run_id for run in group.runs))
            for name, text, group in zip(NAMES, asked, groups, strict=False)
        )
        found.append(Comparison(title, shown, _differing(groups), tuple(lines), (*_notes(shown, groups, lines), *ties)))
    return found


def _chosen(text: str, runs: Sequence[Run]) -> list[Run]:
    """The runs of one side.

    Raises:
        UnknownName: no finished run or group has such an id.
        ConfigError: the filters leave no run, or an id's beginning fits several.
    """
    if "=" in text or " in " in text:
        left = select(runs, [part for part in split_list(text) if part], known_keys(runs))
        if not left:
            raise ConfigError(f"no finished run has {text}; see `harness ls runs`")
        # control rows are configured like the baseline, but `trainer=mle` is not meant to select expert texts
        return [run for run in left if control(run.config) is None] or left
    groups = {run.group_id for run in runs if run.group_id.startswith(text)}
    single = {run.run_id for run in runs if run.run_id.startswith(text)}
    if not text or len(groups) + len(single) > 1:
        some = ", ".join(sorted(groups | single)[:4])
        raise ConfigError(
            f"{text!r} is the beginning of {len(groups) + len(single)} ids ({some}, ...); write more of it"
        )
    found = [run for run in runs if run.group_id in groups or run.run_id in single]
    if not found:
        ids = [*{run.group_id for run in runs}, *(run.run_id for run in runs)]
        hint = did_you_mean(text, ids) if len(text) >= 8 else "`harness ls runs` lists them; or filter: trainer=bc"
        raise UnknownName(f"no finished run or group has an id that begins with {text!r}; {hint}")
    return found


def _line(
    score: ScoreName, groups: Sequence[Group], stored: Mapping[str, float | str], by: Mapping[str, float | str]
) -> ScoreLine | None:
    """Means of the stored numbers and differences of those `by` which runs are ordered; None with fewer than two."""
    by_seeds = [group.at_seeds(stored) for group in groups]
    if sum(map(bool, by_seeds)) < 2:
        return None
    means = tuple(t_interval(list(values.values())) if values else None for values in by_seeds)
    found = differences(dict(enumerate(group.at_seeds(by) for group in groups)), 0)
    return ScoreLine(score, means, tuple(found.get(i) for i in range(1, len(groups))))


def _differing(groups: Sequence[Group]) -> dict[str, tuple[str, ...]]:
    each = [[settings(config) | {"control": config.get("control")} for config in group.configs] for group in groups]
    different = {}
    for key in sorted({key for configs in each for config in configs for key in config}, key=key_order):
        values = [
            " | ".join(dict.fromkeys(written(c[key]) if c.get(key) is not None else "–" for c in configs))
            for configs in each
        ]
        if len(set(values)) > 1:
            different[key] = tuple(values)
    return different


def _notes(sides: Sequence[Side], groups: Sequence[Group], lines: Sequence[ScoreLine]) -> list[str]:
    notes = []
    for side, group in zip(sides, groups, strict=True):
        if group.merged:
            differ = ", ".join(group.merged)
            notes.append(f"{side.name} merges runs that differ in {differ}: its mean is over all of them")
    shared = [{getattr(run.seeds, group.source) for run in group.runs} for group in groups]
    common = set.intersection(*shared)
    n = len(common)
    by = f"{groups[0].source} seed"
    if all(len(seeds) == 1 for seeds in shared):
        notes.append("one seed each: differences have no interval; scores are stored per run, not per prompt, so texts")
        notes[-1] += " cannot be paired; run more seeds"
    elif not n:
        notes.append(f"the sides share no {by}: nothing is paired, only their means stand side by side")
    elif n < SEEDS_NEEDED:
        notes.append(f"{n} shared seeds cannot separate anything: a sign flip needs at least {SEEDS_NEEDED}")
    if any(len(seeds) > n > 0 for seeds in shared):
        notes.append(f"paired over the {n} {by}s that all sides share")
    family = f"the {len(sides) - 1} comparisons with {sides[0].name}" if len(sides) > 2 else "one comparison"
    notes.append(
        f"p: two-sided sign flip, adjusted for {family}, not for the {len(lines)} scores; [low, high]: simultaneous "
        "95 % interval of the same, which leaves 0 out exactly where they separate; ±: single 95 % interval of one side"
    )
    overlap = [f"{a.name} and {b.name}" for a, b in itertools.combinations(sides, 2) if set(a.runs) & set(b.runs)]
    return [*notes, *(f"{pair} share runs, which pulls their difference to 0" for pair in overlap)]
