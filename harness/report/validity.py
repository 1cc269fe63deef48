"""Validity of cheap metrics against an exact one: rank correlations between scores over the runs of a grid."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.filters import known_keys, select
from harness.analysis.groups import Record, control, grouped, mean, tables, titles
from harness.errors import ConfigError
from harness.report.board import plain_interval
from harness.report.leaderboard import check_grid, check_metrics
from harness.report.leaderboard_table import matches
from harness.stats.intervals import ROUNDING, Interval, spearman
from harness.stats.simultaneous import leaves_out_zero, sidak
from harness.storage.queries import Run, ScoreName, read_names, read_runs, read_values
from harness.storage.store import Store

SIGN = {"higher": 1, "lower": -1}
FEW = 30
"""Number of policies below which a rank correlation is too uncertain to use."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of one score with the target over policies.

    Attributes:
        score: the score.
        correlation: Spearman's, with its simultaneous 95 % interval, which holds for all the scores together, and n
            policies that have both; None where there is none.  A perfect order has no such interval: where so many
            policies are that no accident makes one of any of the scores, it is all between 0 and the correlation.
        expected: the sign it has where both agree which policy is better; None where one of them has no better end.
        verdict: `agrees` or `disagrees` where the interval leaves 0 out, `unclear` otherwise; empty without a sign.
        single: the correlation with its single 95 % interval.
    """

    score: ScoreName
    correlation: Interval | None
    expected: int | None
    verdict: Literal["agrees", "disagrees", "unclear", ""]
    single: Interval | None = None


@dataclass(frozen=True)
class Validity:
    """A benchmark's scores against its target, best agreement first."""

    title: str
    target: ScoreName
    agreements: tuple[Agreement, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> Record:
        """Plain JSON values."""
        return {
            "title": self.title,
            "target": vars(self.target),
            "scores": [
                vars(one.score)
                | {"correlation": plain_interval(one.correlation), "expected": one.expected, "verdict": one.verdict}
                | {"single": plain_interval(one.single)}
                for one in self.agreements
            ],
            "notes": list(self.notes),
        }


def validity(
    store: Store,
    target: str,
    *,
    grid: str | None = None,
    filters: Sequence[str] = (),
    over: Literal["runs", "groups"] = "runs",
    among: Collection[str] | None = None,
) -> list[Validity]:
    """Correlate every score with the target over policies, benchmark by benchmark where the target was measured.

    Args:
        store: where the runs are.
        target: the score to track: short name, `name@definition`, or full name.
        grid: whose runs are the policies; None takes all.
        filters: as for `leaderboard`.
        over: whether each run is a policy, or each group is one with the mean over its seeds.  Control rows are none.
        among: ids of the runs that may be policies, say those of one benchmark; None takes all.

    Raises:
        UnknownName: no such grid.
        ConfigError: no run has the target, or it may be several scores.
    """
    check_grid(store, grid)
    done = [run for run in read_runs(store, grid) if run.status == "done"]
    chosen = [run for run in select(done, filters, known_keys(done)) if among is None or run.run_id in among]
    runs = [run for run in chosen if control(run.config) is None]
    names = read_names(store, grid)
    check_metrics([target], names)
    values = read_values(store, grid, {score.name for score in names})
    found = []
    members = tables(runs)
    for title, part in zip(titles(members), members, strict=True):
        ids = {run.run_id for run in part}
        here = [s for s in names if any(isinstance(values.get(s.name, {}).get(run), float) for run in ids)]
        fitting = [score for score in here if matches(target, score)]
        if len(fitting) > 1:
            raise ConfigError(f"--target {target} may be {', '.join(s.name for s in fitting)}; write the full name")
        if fitting:
            found.append(_validity(title, part, fitting[0], here, values, over))
    return found


def _validity(
    title: str,
    runs: Sequence[Run],
    target: ScoreName,
    scores: Sequence[ScoreName],
    values: Mapping[str, Mapping[str, float | str]],
    over: Literal["runs", "groups"],
) -> Validity:
    groups = grouped(runs, lambda run: run.group_id)
    policies = [[run] for run in runs] if over == "runs" else groups

    def numbers(score: ScoreName) -> list[float]:
        stored = values[score.name]
        each = [[v for run in policy if isinstance(v := stored.get(run.run_id), float)] for policy in policies]
        return [mean(one) for one in each]

    goal = numbers(target)
    if len(policies) > 1 and len({value for value in goal if value == value}) < 2:
        raise ConfigError(f"--target {target.name}: it is the same for all {len(policies)} policies; give another one")
    paired, constant = [], []
    for score in scores:
        if score.name == target.name:
            continue
        pairs = [(a, b) for a, b in zip(numbers(score), goal, strict=True) if a == a and b == b]
        single = spearman([a for a, _ in pairs], [b for _, b in pairs]) if len(pairs) > 1 else None
        if single is not None and math.isnan(single.mean):
            constant.append(score.metric)
        else:
            paired.append((score, pairs, single))
    family = sum(single is not None for *_, single in paired)
    agreements = []
    for score, pairs, single in paired:
        correlation = None if single is None else _simultaneous(pairs, single, family)
        sign = SIGN.get(score.direction, 0) * SIGN.get(target.direction, 0) or None
        agreements.append(Agreement(score, correlation, sign, _verdict(correlation, sign), single))
    agreements.sort(key=_strength)
    notes = [
        f"{len(policies)} policies: " + (f"runs of {len(groups)} groups" if over == "runs" else "means over seeds")
    ]
    if constant:
        notes.append(f"the same for every policy, so left out: {', '.join(constant)}")
    if over == "runs" and len(groups) < len(runs):
        notes.append("runs that differ in seeds only are not independent: with few groups the intervals are too narrow")
        notes[-1] += "; --over groups takes means"
    if family:
        notes.append(
            f"intervals are simultaneous: all {family} hold together with probability .95; a verdict stands where one "
            "leaves 0 out"
        )
    if len(policies) < FEW:
        notes.append(f"fewer than {FEW} policies: read the intervals, not the order")
    return Validity(title, target, tuple(agreements), tuple(notes))


def _verdict(correlation: Interval | None, sign: int | None) -> Literal["agrees", "disagrees", "unclear", ""]:
    if sign is None:
        return ""
    if correlation is None or not leaves_out_zero(correlation):
        return "unclear"
    return "agrees" if correlation.mean * sign > 0 else "disagrees"


def _simultaneous(pairs: Sequence[tuple[float, float]], single: Interval, family: int) -> Interval:
    """The correlation with its interval at the level at which so many hold together."""
    level, value = sidak(family), single.mean
    perfect = abs(value) > 1 - 1e-9
    if perfect and 2 / math.factorial(min(single.n, 20)) <= 1 - level:  # of n! orders two are perfect
        return Interval(value, min(value, ROUNDING), max(value, -ROUNDING), single.n)
    return spearman([a for a, _ in pairs], [b for _, b in pairs], level)


def _strength(agreement: Agreement) -> tuple[bool, bool, float]:
    """Scores with a sign first, best agreement first; those without a correlation last."""
    found = agreement.correlation
    if found is None:
        return (True, True, 0.0)
    return (False, agreement.expected is None, -found.mean * (agreement.expected or 1))
