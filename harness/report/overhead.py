"""What an objective costs beside MLE: the time and the tokens of a step of training, as ratios at the same seed.

A run is compared with MLE without `<backspace>` on the same data, with the same model, and as many expert rows in a
step, so that only the objective, the action space and its mistakes differ.  Budgets need not agree: it is one step that
is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import BASELINE
from harness.errors import ConfigError
from harness.report.board import plain_interval
from harness.report.costs import tokens
from harness.report.groups import Record, canonical, control, mean, rows, tables, titles
from harness.report.leaderboard import check_grid
from harness.report.readings import Nodes, Run, read_facts, read_nodes, read_runs, read_timings
from harness.report.selection import known_keys, select
from harness.stats import Interval, t_interval
from harness.store import Store

SAME = ("model.", "training.rows", "training.accumulation", "training.scope")
"""Beginnings of the keys that decide how much work a step of MLE is."""
FREE = ("sampling.", "evaluation.", "metrics", "group_id")
"""Beginnings of the keys that have no part in training: rows that differ in them alone share one."""
MEASURES = ("seconds", "tokens", "seconds a token")
"""What is compared, each of one step."""


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        group: what tells it from the other rows, key to value.
        n: its trainings; what is sampled from one, and how, costs nothing here.
        milliseconds: of one step, over its seeds, what it samples for training included.
        ratios: by measure, a step's by that of MLE's run of the same seed: the geometric mean, and the Student interval
            of the mean logarithm; nothing for MLE, and where there is no such run.
    """

    group: Record
    n: int
    milliseconds: Interval
    ratios: Mapping[str, Interval]


@dataclass(frozen=True)
class Overhead:
    """What one benchmark's runs cost; `keys` tell its rows apart, `notes` are what a reader must know."""

    title: str
    keys: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> Record:
        """Plain JSON values."""
        lines = [
            {"group": line.group, "n": line.n, "milliseconds": plain_interval(line.milliseconds)}
            | {"ratios": {name: plain_interval(found) for name, found in line.ratios.items()}}
            for line in self.lines
        ]
        return {"title": self.title, "keys": list(self.keys), "rows": lines, "notes": list(self.notes)}


def overhead(store: Store, *, grid: str | None = None, filters: Sequence[str] = ()) -> list[Overhead]:
    """Compare what finished runs took for a step of training, benchmark by benchmark.

    Args:
        store: where the runs are.
        grid: whose runs to look at; None takes all.
        filters: as for `leaderboard`.

    Raises:
        UnknownName: no such grid.
        ConfigError: no finished run was trained.
    """
    check_grid(store, grid)
    done = [run for run in read_runs(store, grid) if run.status == "done"]
    trained = [run for run in select(done, filters, known_keys(done)) if _is_timed(run)]
    if not trained:
        chosen = f" among those with {' and '.join(filters)}" if filters else ""
        raise ConfigError(f"no finished run was trained{chosen}, so there is no cost to compare; see `harness ls runs`")
    nodes = read_nodes(store, grid)
    members = tables(trained)
    about = _circumstances(store, grid, trained)
    return [_overhead(title, part, nodes, about) for title, part in zip(titles(members), members, strict=True)]


def _is_timed(run: Run) -> bool:
    return control(run.config) is None and bool(run.steps and run.tokens and run.seconds)


def _overhead(title: str, runs: Sequence[Run], nodes: Mapping[str, Nodes], about: Sequence[str]) -> Overhead:
    keys = [key for key in rows(runs, None)[0] if not key.startswith(FREE)] or ["trainer.name"]
    steps = {run.run_id: float(run.steps or 0) for run in runs}
    seconds = {run.run_id: (run.seconds or 0.0) / steps[run.run_id] for run in runs}
    processed = {run.run_id: tokens(run, nodes) / steps[run.run_id] for run in runs}
    each = {run: seconds[run] / processed[run] for run in seconds}
    measures = dict(zip(MEASURES, (seconds, processed, each), strict=True))
    mle = [run for run in runs if _is_mle(run.config)]
    lines = []
    alone = 0
    for group in rows(runs, keys)[1]:
        ratios = {}
        if not all(map(_is_mle, group.configs)):
            work = [_work(config) for config in group.configs]
            partners = [run for run in mle if _work(run.config) in work]
            found = {name: _ratio(_at_seeds(group.runs, of), _at_seeds(partners, of)) for name, of in measures.items()}
            ratios = {name: ratio for name, ratio in found.items() if ratio is not None}
            alone += not ratios
        took = [1000 * value for value in _at_seeds(group.runs, seconds).values()]
        lines.append(Line(group.label, len(took), t_interval(took), ratios))
    notes = [
        "ratios: a step's by that of mle without <backspace> at the same seed, on the same data, with the same model "
        "and rows; geometric means, 95 % Student t of the logarithms over seeds",
        "seconds are of training, with what is sampled for it and without scoring; tokens are all that go through the "
        "model",
        *about,
    ]
    if alone:
        notes.append(f"{alone} row(s) have no such run of mle to compare with: add one, trainer=mle backspace=false")
    return Overhead(title, tuple(keys), tuple(lines), tuple(notes))


def _is_mle(config: Mapping[str, Any]) -> bool:
    """Whether it is what others are compared with: MLE that sees no mistakes."""
    return all(config.get(key) == value for key, value in BASELINE.items()) and not config.get("actions.context_noise")


def _work(config: Mapping[str, Any]) -> dict[str, str]:
    """What must agree for two runs' steps to be the same work but for the objective."""
    return {key: repr(value) for key, value in config.items() if key.startswith(SAME)}


def _at_seeds(runs: Sequence[Run], values: Mapping[str, float]) -> dict[int, float]:
    """The mean value by the seed of training."""
    seeds = dict.fromkeys(run.seeds.train for run in runs)
    return {seed: mean([values[run.run_id] for run in runs if run.seeds.train == seed]) for seed in seeds}


def _ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval | None:
    """The geometric mean of ours by theirs over the seeds that both have, None where there are none."""
    logs = [math.log(ours[seed] / theirs[seed]) for seed in ours if seed in theirs]
    if not logs:
        return None
    found = t_interval(logs)
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(math.exp(found.mean), low, high, found.n)


def _circumstances(store: Store, grid: str | None, runs: Sequence[Run]) -> list[str]:
    """What makes seconds of these runs incomparable: other machines, other numbers of threads, company."""
    facts = read_facts(store, grid, ("cpu", "accelerators", "device", "training_threads"))
    mine = [facts.get(run.run_id, {}) for run in runs]
    machines = {canonical([one.get(name) for name in ("cpu", "accelerators", "device")]) for one in mine}
    threads = {canonical(one.get("training_threads")) for one in mine}
    told = []
    if len(machines) > 1:
        told.append(f"these runs are from {len(machines)} machines, whose seconds do not compare")
    if len(threads) > 1:
        counts = ", ".join(sorted(threads))
        told.append(f"these runs were trained with unlike numbers of threads ({counts}); seconds do not compare")
    beside, end = 0, ""
    for one in read_timings(store, grid, ["done"]):  # in order of their start
        beside += (one.started or "") < end
        end = max(end, one.finished or "")
    if beside:
        told.append(
            f"{beside} run(s) began before another had ended, and each may have slowed the other: to measure seconds, "
            "run the grid with one worker and nothing beside it"
        )
    return told
