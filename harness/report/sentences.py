"""Findings in words: the differences between a table's rows that the seeds support, and those that they leave open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.filters import written
from harness.analysis.groups import AT_BEST, grouped
from harness.report.board import Column, ColumnComparison
from harness.stats.intervals import Interval
from harness.stats.power import detectable_effect
from harness.stats.ranks import LARGE_FAMILY, SEEDS_NEEDED, TELLING, Difference, Ranking
from harness.storage.queries import Run, Seeds

ENOUGH = 8
"""Number of seeds of a table that is meant to convince."""
_POWER = "with probability .8, between any two of {} rows, in sd of their paired differences"
JOINT = "[low, high] of differences: simultaneous 95 % intervals, which leave 0 out exactly where they are separated"
MOST_WINNERS = 3
"""Most rows that a headline names; the others are counted."""
MOST_WORDS = 6
"""Most clauses about one column; beyond them it is counted, not listed."""

TUNED = (
    "settings were chosen on the validation split among equally many distinct trials a row, one where there is nothing "
    "to tune; what all trials of a row took together stands apart and is in no other cost"
)
CHOOSING = "scores on the validation split: these runs are there to choose from, not to be reported"


def findings(found: Sequence[ColumnComparison], labels: Sequence[str], base: int | None) -> list[str]:
    """Findings of each column: rows that are separated, the detectable difference, the seeds that would help."""
    ranked = [(one.column.metric, one.ranking) for one in found if one.ranking is not None]
    lines = [*_powerless(ranked), *_separated(ranked, labels)]
    if base is not None:
        lines += [*_against(found, labels, base), *_needed(found, labels, base)]
    return [*lines, *_left_out(ranked, labels)]


def bounded(interval: Interval, sign: str = "") -> str:
    """`mean [low, high]`, to the second significant digit of the half-width; the mean alone without an interval.

    An end that is not 0 but would read so is written 0 with a round bracket: the interval leaves 0 out.

    >>> bounded(Interval(0.51234, 0.2, 0.82468, 8)), bounded(Interval(0.5, 1e-13, 1.0, 8), "+")
    ('0.51 [0.20, 0.82]', '+0.50 (0, 1.00]')
    """
    mean, low, high, half = interval.mean, interval.low, interval.high, interval.half_width
    if low is None or high is None or half is None or not math.isfinite(mean):
        return f"{mean:{sign}.4g}"
    if half <= 1e-14 * abs(mean):
        return f"{mean:{sign}.4g} [{mean:.4g}, {mean:.4g}]"
    extreme = abs(mean) >= 1e6 or half < 1e-6
    digits = ".3g" if extreme else f".{min(6, max(0, 1 - int(f'{half:.1e}'.partition('e')[2])))}f"
    ends = [f"{end:z{digits}}" for end in (low, high)]
    lower = "(0" if low > 0 and float(ends[0]) == 0 else f"[{ends[0]}"
    upper = "0)" if high < 0 and float(ends[1]) == 0 else f"{ends[1]}]"
    return f"{mean:{sign}z{digits}} {lower}, {upper}"


def given(runs: Sequence[Run]) -> str:
    """The start that all runs share, so that no seed's variance covers it; empty where none, or only controls ran.

    Weights of a base that was trained for no step are an initialisation; a loaded model is a base.
    """
    configs = [run.config for run in runs if run.config.get("control") is None]
    steps = {config.get("model.base_steps") for config in configs}
    if not configs or len({config.get("model.base_seed") for config in configs} - {None}) > 1:
        return ""
    return ", given one base model" if 0 not in steps else ", given one initialisation" if steps == {0} else ""


def coverage(runs: Sequence[Run], alone: bool = False) -> str:
    """Note on the intervals: number of values, and the sources of variance that they cover.

    There are none where each row stands `alone`, a single run.
    """
    if alone:
        return f"no intervals: every row is one run{given(runs)}"
    groups = grouped(runs, lambda run: run.group_id)
    varied = [
        name
        for i, name in enumerate(Seeds._fields)
        if any(len({run.seeds[i] for run in group}) > 1 for group in groups)
    ]
    text = f"intervals (±): single 95 % Student t, one row each, over n seeds{given(runs)}"
    if varied:
        text += f"; {_list(varied)} seeds vary"
        fixed = [name for name in Seeds._fields if name not in varied]
        text += f", {_list(fixed)} seeds do not: their variance is not in it" if fixed else ""
        first = Seeds._fields.index(varied[0])
        if any(len({run.seeds[first] for run in group}) < len(group) for group in groups):
            text += f"; runs of one {varied[0]} seed are averaged first"
    return text


def reading() -> str:
    """Note on how ranks are read."""
    return (
        "1-3 beside a mean: the row's rank may be 1, 2 or 3; rows are separated by sign flips over the seeds they "
        "share, p <= .05 for all pairs of a column together (not for all columns together); ± is no test. "
        f"{JOINT}"
    )


def _powerless(ranked: Sequence[tuple[str, Ranking]]) -> list[str]:
    """Notes on columns whose rows share too few seeds for any separation."""
    lines = []
    few = [(metric, ranking) for metric, ranking in ranked if len(ranking.pairing.seeds) < SEEDS_NEEDED]
    for alike in grouped(few, lambda one: (len(one[1].pairing.seeds), len(one[1].ranks))):
        n, rows = len(alike[0][1].pairing.seeds), len(alike[0][1].ranks)
        seeds = "no shared seed" if n == 0 else _count(n, "shared seed" if len(alike) < len(ranked) else "seed")
        where = "" if len(alike) == len(ranked) else f" on {_list([metric for metric, _ in alike])}"
        effect = _detectable(ENOUGH, rows)
        more = (
            "" if effect is None else f"; {ENOUGH} would detect a difference of {effect:.1f} sd ({_POWER.format(rows)})"
        )
        lines.append(f"{seeds} cannot separate these rows{where}: a sign flip needs at least {SEEDS_NEEDED}{more}")
    return lines


def _separated(ranked: Sequence[tuple[str, Ranking]], labels: Sequence[str]) -> list[str]:
    """Rows that beat others, for columns whose seeds suffice."""
    clauses: dict[str, list[str]] = {}
    power: dict[str, None] = {}
    for metric, ranking in ranked:
        n, rows = len(ranking.pairing.seeds), len(ranking.ranks)
        if n < SEEDS_NEEDED:
            continue
        clauses.setdefault(_wins(ranking, labels), []).append(metric)
        effect = _detectable(n, rows)
        if effect is not None:
            power[f"{n} seeds detect a difference of {effect:.1f} sd ({_POWER.format(rows)})"] = None
    return [*(f"{_list(metrics)}: {words}" for words, metrics in clauses.items()), *power]


def _detectable(n: int, rows: int) -> float | None:
    """The effect that n seeds detect between any two rows; None where that takes long to compute."""
    pairs = rows * (rows - 1) // 2
    return detectable_effect(n, pairs) if pairs <= LARGE_FAMILY else None


def _wins(ranking: Ranking, labels: Sequence[str]) -> str:
    rows = len(ranking.ranks)
    pairs = rows * (rows - 1) // 2
    if not ranking.wins:
        return "everything ties"
    beaten: dict[int, list[int]] = {}
    for better, worse in ranking.wins:
        beaten.setdefault(better, []).append(worse)
    losers = {row: tuple(sorted(found)) for row, found in beaten.items()}
    clauses = [
        f"{_list([labels[row] for row in alike])} {'beat' if len(alike) > 1 else 'beats'} "
        f"{_list([labels[row] for row in losers[alike[0]]])}"
        for alike in grouped(sorted(losers), losers.__getitem__)
    ]
    if len(clauses) > MOST_WORDS:
        return f"{len(ranking.wins)} of {pairs} pairs are separated; the ranks say where"
    return "; ".join(clauses) + ("" if len(ranking.wins) == pairs else "; everything else ties")


def _against(found: Sequence[ColumnComparison], labels: Sequence[str], base: int) -> list[str]:
    """Rows separated from the baseline in the family of comparisons with it, which is smaller than all pairs."""
    clauses, tested = [], False
    for one in found:
        tested = tested or any(each.found.n >= SEEDS_NEEDED for each in one.against.values())
        sides: dict[str, list[str]] = {}
        for row, difference in one.against.items():
            if difference.separated:
                higher = difference.interval.mean > 0
                better = "better" if higher == one.column.higher_is_better else "worse"
                word = better if one.column.ranked_by is not None else "higher" if higher else "lower"
                sides.setdefault(word, []).append(labels[row])
        clauses += [f"{one.column.metric}: {_side(sides)}"] if sides else []
    if clauses:
        return [f"against {labels[base]}: {' | '.join(clauses)}"]
    return [f"against {labels[base]}: nothing is separated from it on any column"] if tested else []


def _side(sides: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        f"{word} {_list(rows) if len(rows) <= MOST_WORDS else _count(len(rows), 'row')}" for word, rows in sides.items()
    )


def _needed(found: Sequence[ColumnComparison], labels: Sequence[str], base: int) -> list[str]:
    """Number of seeds that would separate the largest open effect of each column, were it as observed."""
    clauses = []
    for one in found:
        effects = {
            row: effect
            for row, difference in one.against.items()
            if not difference.separated
            and difference.found.n >= TELLING
            and (effect := abs(difference.found.effect or 0)) < float("inf")
        }
        row = max(effects, key=effects.__getitem__, default=None)
        if row is not None and (seeds := one.against[row].seeds_needed) is not None:
            clauses.append(f"{one.column.metric} {seeds} ({labels[row]})")
    if not clauses:
        return []
    return [
        f"seeds that would separate the clearest open difference from {labels[base]}, were it as observed: "
        + _list(clauses)
    ]


def _left_out(ranked: Sequence[tuple[str, Ranking]], labels: Sequence[str]) -> list[str]:
    clauses: dict[str, list[str]] = {}
    for metric, ranking in ranked:
        pairing = ranking.pairing
        if pairing.unused:
            kept = _count(len(pairing.seeds), "seed")
            words = f"paired over the {kept} that all rows have; {pairing.unused} more left out"
            clauses.setdefault(words, []).append(metric)
        if pairing.apart:
            rows = _list(labels[i] for i in pairing.apart)
            words = f"too few seeds in common with the other rows, so tied with all: {rows}"
            clauses.setdefault(words, []).append(metric)
    return [f"{_list(metrics)}: {words}" for words, metrics in clauses.items()]


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


# ------------------------------------------------------------------------------------------------ the headline


@dataclass(frozen=True)
class _Win:
    """A row that is separated from the baseline on a score, and better; `beyond` is its difference from the control."""

    row: int
    column: Column
    difference: Difference
    beyond: Difference | None

    @property
    def holds(self) -> bool:
        """False if the row does not beat the control too; True where the control has no number."""
        return self.beyond is None or (self.beyond.separated and _is_better(self.column, self.beyond))


def no_baseline(plain: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> str:
    """The headline of a table without a baseline row: none is plain MLE, or several are, and how to choose one.

    Args:
        plain: the rows that are plain MLE: label to values of the table's keys.
        keys: of the table.
    """
    if not plain:
        return (
            "No row here is plain maximum likelihood (trainer mle without <backspace>), so nothing can be said to beat "
            "it; ranks compare the rows with each other."
        )
    apart = [key for key in keys if len({str(row.get(key)) for row in plain.values()}) > 1]
    first = next(iter(plain.values()))
    chosen = next((f"{key}={written(first[key])}" for key in apart if key in first), None)
    how = "" if chosen is None else f" Choose one: filter the Leaderboard by {chosen}, or type --baseline {chosen}."
    rows = f" ({_and(list(plain))})" if len(plain) <= MOST_WINNERS else ""
    return f"{len(plain)} rows here are plain maximum likelihood{rows}, so that no single one is the row to beat.{how}"


def headline(found: Sequence[ColumnComparison], labels: Sequence[str], base: int, best: int | None, hint: str) -> str:
    """Rows that beat the baseline and MLE at its best temperature, by how much, in one sentence or two.

    Args:
        found: the columns' comparisons.
        labels: of all rows.
        base: index of the baseline row.
        best: index of the row of MLE at its best temperature, None without one.
        hint: the clause for a table without that row: what to type.
    """
    name = labels[base]
    if not is_tested(found):
        ranked = [(one.column.metric, one.ranking) for one in found if one.ranking is not None]
        why = next(iter(_powerless(ranked)), "no row shares its seeds").partition("; ")[0]
        return f"Nothing can be said to beat {name} yet: {why}."
    ordered = [one for one in found if one.column.ranked_by is not None]
    wins = [
        _Win(row, one.column, each, one.beyond.get(row))
        for one in ordered
        for row, each in one.against.items()
        if each.separated and _is_better(one.column, each)
    ]
    worse: dict[int, list[str]] = {}
    for one in ordered:
        for row, each in one.against.items():
            if each.separated and not _is_better(one.column, each):
                worse.setdefault(row, []).append(one.column.metric)
    held, fallen = [win for win in wins if win.holds], [win for win in wins if not win.holds]
    missing = "" if best is None else f" ({AT_BEST} has no number of it)"
    parts = [_beats(held, labels, name, missing) if held else f"Nothing beats {name} here"]
    parts += [_beats_nothing(fallen, labels, name)] if fallen else []
    parts += [f"Worse than {name if wins else 'it'}: {_rows(worse, labels)}"] if worse else []
    parts += [hint] if best is None and wins and hint else []
    parts += ["The seeds separate no other row from it"]
    return ". ".join(parts) + "." + (f" {JOINT}." if wins else "")


def is_tested(found: Sequence[ColumnComparison]) -> bool:
    """True if some row shares seeds enough with the baseline to be separated from it."""
    return any(each.found.n >= SEEDS_NEEDED for one in found for each in one.against.values())


def _is_better(column: Column, difference: Difference) -> bool:
    return (difference.interval.mean > 0) == column.higher_is_better


def _beats(wins: Sequence[_Win], labels: Sequence[str], base: str, missing: str) -> str:
    """Each winner with its margins on the first score, and the other scores by name.

    `missing` is said where the control has no number of that score.
    """
    clauses = []
    for alike in grouped(wins, lambda win: win.row)[:MOST_WINNERS]:
        first, others = alike[0], [_score(win.column) for win in alike[1:]]
        text = (
            f"{labels[first.row]} beats {base} on {_score(first.column)} by {_margin(first.column, first.difference)}"
        )
        text += missing if first.beyond is None else f" and {AT_BEST} by {_margin(first.column, first.beyond)}"
        clauses.append(text + (f", and on {_and(others)}" if others else ""))
    left = len({win.row for win in wins}) - MOST_WINNERS
    return "; ".join(
        [*clauses, *([f"and so do {_count(left, 'more row')} on one score or another"] if left > 0 else [])]
    )


def _beats_nothing(wins: Sequence[_Win], labels: Sequence[str], base: str) -> str:
    """Rows that beat the baseline alone, which a sharper distribution does as well."""
    rows = grouped(wins, lambda win: win.row)
    clauses = []
    for alike in rows[:MOST_WINNERS]:
        first = alike[0]
        assert first.beyond is not None
        text = f"{labels[first.row]} on {_and([_score(win.column) for win in alike])} (by "
        text += (
            f"{_margin(first.column, first.difference)}, but {_margin(first.column, first.beyond)} from that control)"
        )
        clauses.append(text)
    clauses += [f"{_count(len(rows) - MOST_WINNERS, 'more row')}"] if len(rows) > MOST_WINNERS else []
    return f"Better than {base} but not than {AT_BEST}, so beating nothing: {'; '.join(clauses)}"


def _rows(metrics: Mapping[int, Sequence[str]], labels: Sequence[str]) -> str:
    """`b, c on mauve; d on length`."""
    alike = grouped(metrics, lambda row: tuple(metrics[row]))
    clauses = [
        f"{_and([labels[row] for row in rows]) if len(rows) <= MOST_WINNERS else _count(len(rows), 'row')} on "
        f"{_and(metrics[rows[0]])}"
        for rows in alike
    ]
    more = sum(map(len, alike[MOST_WINNERS:]))
    return "; ".join(
        [*clauses[:MOST_WINNERS], *([f"{_count(more, 'more row')} on one score or another"] if more else [])]
    )


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{_list(words[:-1])} and {words[-1]}"


def _score(column: Column) -> str:
    """The short name of the score that orders the column."""
    return (column.ranked_by or column.name).partition("@")[0]


def _margin(column: Column, difference: Difference) -> str:
    """The amount by which a row is better, with the simultaneous interval, in the score's unit; below 0 if worse."""
    found = difference.interval
    if not column.higher_is_better:
        low, high = (None if end is None else -end for end in (found.high, found.low))
        found = Interval(-found.mean, low, high, found.n)
    return bounded(found) + (f" {column.unit}" if column.unit else "")
