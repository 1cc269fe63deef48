"""Overhead of an objective over MLE: time and tokens of a training step, as ratios at the same seed.

A run is compared with MLE without `<backspace>` on the same data, with the same model, and as many expert rows in a
step, so that only the objective, the action space and its mistakes differ.  One step is compared, so that
budgets need not agree; where they do not, and a trainer samples every so many steps only, its share is of its own run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.costs import tokens
from harness.analysis.filters import known_keys, select
from harness.analysis.groups import Record, canonical, control, grouped_rows, mean, tables, titles
from harness.config.run import BASELINE
from harness.errors import ConfigError
from harness.report.board import plain_interval
from harness.report.leaderboard import check_grid
from harness.report.leaderboard_table import row_labels
from harness.stats.intervals import Interval, t_interval
from harness.storage.queries import Nodes, Run, Timing, read_facts, read_nodes, read_runs, read_timings
from harness.storage.store import Store

SAME = ("training.rows", "training.accumulation", "training.scope")
"""Keys that decide, beside the model, how much work a step of MLE is."""
FREE = ("sampling.", "evaluation.", "metrics", "group_id")
"""Beginnings of the keys that have no part in training: rows that differ in them alone share one."""
MEASURES = ("seconds", "tokens", "seconds a token")
"""Quantities compared: a step's time, the tokens that it sends through the model, and their ratio."""


@dataclass(frozen=True)
class OverheadRow:
    """One row.  Means are geometric, and intervals Student's of the mean logarithm over seeds of training, single ones.

    Attributes:
        group: key to value, for the keys that distinguish the rows.
        milliseconds: of one step, what it samples for training included.
        ratios: by measure, a step's divided by that of MLE's run of the same seed, over the seeds that both have;
            nothing for MLE itself, and where there is no such run.
    """

    group: Record
    milliseconds: Interval
    ratios: Mapping[str, Interval]

    @property
    def n(self) -> int:
        """Number of training seeds; rows that only sample differently share their trainings."""
        return self.milliseconds.n


@dataclass(frozen=True)
class Overhead:
    """Overhead of one benchmark's runs; `keys` distinguish the rows, `notes` qualify the numbers."""

    title: str
    keys: tuple[str, ...]
    lines: tuple[OverheadRow, ...]
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
    """Compare the cost of a training step of finished runs, benchmark by benchmark.

    Args:
        store: where the runs are.
        grid: whose runs to look at; None takes all.
        filters: as for `leaderboard`, for the rows; the MLE that they are compared with need not pass them.

    Raises:
        UnknownName: no such grid.
        ConfigError: no finished run was trained.
    """
    check_grid(store, grid)
    done = [run for run in read_runs(store, grid) if run.status == "done"]
    trained = [run for run in done if _is_timed(run)]
    shown = {run.run_id for run in select(done, filters, known_keys(done))}
    if not any(run.run_id in shown for run in trained):
        chosen = f" among those with {' and '.join(filters)}" if filters else ""
        raise ConfigError(f"no finished run was trained{chosen}, so there is no cost to compare; see `harness ls runs`")
    nodes = read_nodes(store, grid)
    facts = read_facts(store, grid, ("cpu", "accelerators", "device", "training_threads", "trained_by"))
    times = read_timings(store, None, ["done", "failed", "running"])
    found = []
    members = tables(trained)
    for title, part in zip(titles(members), members, strict=True):
        mine = [run for run in part if run.run_id in shown]
        if mine:
            mle = [run for run in part if _is_mle(run.config)]
            keys, lines, notes = _compared(mine, mle, nodes)
            ids = {run.run_id for run in (*mine, *mle)}
            found.append(Overhead(title, keys, lines, (*notes, *_machines(ids, facts), *_company(ids, times))))
    return found


def _is_timed(run: Run) -> bool:
    return control(run.config) is None and bool(run.steps and run.tokens and run.seconds)


def _compared(
    runs: Sequence[Run], mle: Sequence[Run], nodes: Mapping[str, Nodes]
) -> tuple[tuple[str, ...], tuple[OverheadRow, ...], list[str]]:
    """Keys, rows and notes of one benchmark's runs, given its runs of plain MLE."""
    keys = [key for key in grouped_rows(runs, None)[0] if not key.startswith(FREE)] or ["trainer.name"]
    all_runs = {run.run_id: run for run in (*runs, *mle)}.values()
    seconds = {run.run_id: (run.seconds or 0.0) / (run.steps or 1) for run in all_runs}
    processed = {run.run_id: tokens(run, nodes) / (run.steps or 1) for run in all_runs}
    each = {run: seconds[run] / processed[run] for run in seconds}
    measures = dict(zip(MEASURES, (seconds, processed, each), strict=True))
    lines, alone, unlike = [], [], []
    groups = grouped_rows(runs, keys)[1]
    for group, name in zip(groups, row_labels(groups), strict=True):
        config = group.configs[0]  # in what has a part in training, the others are the same
        ratios = {}
        if not _is_mle(config):
            work = [run for run in mle if _work(run.config) == _work(config)]
            partners = [run for run in work if _training(run.config) == _training(config)] or work
            found = {key: _ratio(_at_seeds(group.runs, of), _at_seeds(partners, of)) for key, of in measures.items()}
            ratios = {key: ratio for key, ratio in found.items() if ratio is not None}
            if not ratios:
                alone.append(name)
            elif partners == work and _training(partners[0].config) != _training(config):
                unlike.append(name)
        took = [1000 * value for value in _at_seeds(group.runs, seconds).values()]
        lines.append(OverheadRow(group.label, _geometric(took), ratios))
    notes = [
        "ms a step and, after ×, a step divided by mle's (without <backspace>; same seed, data, model and rows): "
        "geometric means, [single 95 % Student t of the logarithms] over n seeds, one number each",
        "seconds are of training, with what is sampled for it and without scoring; tokens are all that go through the "
        "model",
    ]
    if unlike:
        notes.append(
            f"mle ran with other settings of training only, and is their mean, for: {'; '.join(unlike)}; sampling "
            "comes every so many steps, so runs of unlike length have unlike shares of it"
        )
    if alone:
        notes.append(
            f"no mle at the same seed, model and rows to compare with: {'; '.join(alone)}; run the grid with "
            "trainer=mle actions.backspace=false and their other settings"
        )
    return tuple(keys), tuple(lines), notes


def _is_mle(config: Mapping[str, Any]) -> bool:
    """True for the reference of the comparison: MLE that sees no mistakes."""
    return all(config.get(key) == value for key, value in BASELINE.items()) and not config.get("actions.context_noise")


def _work(config: Mapping[str, Any]) -> Record:
    """Settings that must agree for two runs' steps to be the same work but for the objective."""
    return {k: v for k, v in config.items() if k in SAME or (k.startswith("model.") and not k.startswith("model.base"))}


def _training(config: Mapping[str, Any]) -> Record:
    """Settings that should agree as well: budget, learning rate and the like."""
    return {key: value for key, value in config.items() if key.startswith("training.")}


def _at_seeds(runs: Iterable[Run], values: Mapping[str, float]) -> dict[int, float]:
    """The mean value by the seed of training."""
    found: dict[int, list[float]] = {}
    for run in runs:
        found.setdefault(run.seeds.train, []).append(values[run.run_id])
    return {seed: mean(several) for seed, several in found.items()}


def _ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval | None:
    """Ours divided by theirs over the seeds that both have, None where there are none."""
    found = [ours[seed] / theirs[seed] for seed in ours if seed in theirs]
    return _geometric(found) if found else None


def _geometric(values: Sequence[float]) -> Interval:
    """The geometric mean of positive values, and the Student interval of their mean logarithm."""
    found = t_interval([math.log(value) for value in values])
    low, high = (None if end is None else math.exp(min(end, 700.0)) for end in (found.low, found.high))
    return Interval(math.exp(found.mean), low, high, found.n)


def _machines(ids: Iterable[str], facts: Mapping[str, Record]) -> list[str]:
    """Reasons why seconds of these runs do not compare: unlike machines or numbers of threads."""
    own = [facts.get(run, {}) for run in ids]
    mine = [facts.get(one.get("trained_by") or "", one) for one in own]  # of the run that trained, if another did
    machines = {canonical([one.get(name) for name in ("cpu", "accelerators", "device")]) for one in mine}
    threads = {canonical(one.get("training_threads")) for one in mine}
    notes = []
    if len(machines) > 1:
        notes.append(f"these runs are from {len(machines)} machines, whose seconds do not compare")
    if len(threads) > 1:
        counts = ", ".join(sorted(threads))
        notes.append(f"these runs were trained with unlike numbers of threads ({counts}); seconds do not compare")
    return notes


def _company(ids: Iterable[str], times: Sequence[Timing]) -> list[str]:
    """Note on runs that were under way while another run of the store was, which may have slowed them."""
    spans = [(one.run_id, one.started, one.finished or "~") for one in times if one.started]  # ~ comes after all times
    known, beside, latest = set(ids), 0, ""
    for i, (run, started, finished) in enumerate(spans):  # in order of their start
        follower = spans[i + 1][1] if i + 1 < len(spans) else "~"
        beside += run in known and (started < latest or follower < finished)
        latest = max(latest, finished)
    if not beside:
        return []
    return [
        f"{beside} of {len(known)} runs had another one of this store beside them, which may have slowed them: to "
        "measure seconds, run the grid with one worker and nothing beside it"
    ]
