"""Findings in words: the differences between a table's rows that the seeds support, and those that they leave open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.analysis.groups import grouped
from harness.report.board import ColumnComparison
from harness.stats.power import detectable_effect
from harness.stats.ranks import LARGE_FAMILY, SEEDS_NEEDED, TELLING, Ranking
from harness.storage.queries import Run, Seeds

ENOUGH = 8
"""Number of seeds of a table that is meant to convince."""
_POWER = "with probability .8, between any two of {} rows, in sd of their paired differences"
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
    text = f"intervals: 95 % Student t over n seeds{given(runs)}"
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
        "share, p <= .05 for all pairs of a column together (not for all columns together)"
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
