"""One table of the leaderboard: its rows, columns, ranks and differences, from the runs of one benchmark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis import costs
from harness.analysis.costs import Cost, Unit
from harness.analysis.filters import Filter, written
from harness.analysis.groups import (
    AT_BEST,
    Group,
    at_best_temperature,
    benchmark,
    biased,
    default_baseline,
    grouped_rows,
    keys_apart,
    mean,
)
from harness.config.keys import short_keys
from harness.config.run import BASELINE
from harness.config.written import split_pairs, unquoted
from harness.errors import ConfigError
from harness.report import sentences
from harness.report.board import Cell, Column, ColumnComparison, Row, Table
from harness.report.ties import ranked_by
from harness.stats.intervals import Interval, t_intervals
from harness.stats.ranks import RANKED_ROWS, differences, rank
from harness.storage.queries import Nodes, Run, ScoreName, TrialRun, Values
from harness.system.model_files import model_id

PLAIN = "plain"  # a row that has none of the keys by which the others differ
PREFERRED = (
    "exact_kl",
    "out_of_support",
    "bad_texts",
    "exact_match",
    "exact_match_corrupted_1",
    "mauve",
    "copied_8",
    "length",
    "perplexity",
    "diversity",
    "backspace_rate",
)
"""Metrics shown where none is asked for, as far as they are stored."""


@dataclass(frozen=True)
class LeaderboardRequest:
    """Options of a leaderboard, as `leaderboard` describes them, with the stored values that it needs.

    `values` are numbers by full name and run id, `nodes` the tokens not learned from by run id, `trials` the runs
    by which the settings were tuned, `again` says how MLE at its best temperature is added (empty: it is not).
    """

    values: Values
    names: Mapping[str, ScoreName]
    metrics: Sequence[str] | None = None
    keys: Sequence[str] | None = None
    baseline: Sequence[Filter] = ()
    per: Unit | None = None
    nodes: Mapping[str, Nodes] | None = None
    sort: str | None = None
    trials: Sequence[TrialRun] = ()
    again: str = ""


def matches(asked: str, score: ScoreName | Column) -> bool:
    """True if `asked` names this score: a short name, `name@definition`, its full name, or some of its parameters.

    Those are written as for a run: quoted where they hold commas, and a featuriser or a base as its directory.
    """
    if asked in (score.metric, score.name) or score.name.startswith(f"{asked}["):
        return True
    head, bracket, inside = asked.partition("[")
    stored_head, _, stored = score.name.partition("[")
    if not bracket or head != stored_head or not inside.endswith("]"):
        return False
    return all(
        equals and any(_has(stored.removesuffix("]"), key, one) for one in (unquoted(value), _by_content(value)))
        for key, equals, value in split_pairs(inside[:-1])
    )


def _by_content(value: str) -> str:
    """A parameter's value with a directory, as in `DIR` and `base:DIR`, replaced by what names its content."""
    bare = unquoted(value)
    head = "base:" if bare.startswith("base:") else ""
    return head + model_id(bare.removeprefix(head))


def _has(stored: str, key: str, value: str) -> bool:
    """True if stored parameters have this value, or begin with it where a pooling stands behind (`DIR/last`)."""
    return re.search(rf"(?<![^,]){re.escape(key)}={re.escape(value)}(/\w+)?(?![^,])", stored) is not None


def table(members: Sequence[Run], title: str, request: LeaderboardRequest) -> Table:
    """The table of one benchmark's runs.

    Raises:
        ConfigError: the baseline that was asked for fits several rows, or the metric to sort by several columns.
    """
    request = replace(request, values=_folded(members, request))
    keys, groups = grouped_rows(members, None if request.keys is None else keys_apart(members, request.keys))
    labels = row_labels(groups)
    columns, notes = _columns(request, [run.run_id for run in members])
    base = baseline_row(groups, labels, request.baseline, notes)
    notes += [] if request.keys is None else _apart(keys, request.keys, groups)
    compared = [i for i, group in enumerate(groups) if group.control is None]
    pairing = groups[0].source
    if f"seeds.{pairing}" in keys:
        compared = []
        notes.append(f"rows of one {pairing} seed each have none in common that would pair them: no ranks")
    notes += [sentences.CHOOSING] if benchmark(members[0])["split"] != "test" else []
    searched = costs.tuning(groups, request.trials)
    notes += [sentences.TUNED] if any(searched) else []
    spent: list[Cost | None] = [None] * len(groups)
    if request.per is not None:
        spent = costs.costs(groups, request.nodes or {}, request.per, base)
        reference = "the cheapest row" if base is None else labels[base]
        notes += costs.cost_notes(request.per, [(labels[i], spent[i]) for i in compared], reference)
        compared = [i for i in compared if (cost := spent[i]) is not None and cost.equal]
    best = None if base is None else at_best_temperature(groups, base)
    found = [_compared(column, groups, compared, base, best, request.values) for column in columns]
    cells = {one.column.name: _cells(groups, one, request.values) for one in found}
    made = []
    for i, group in enumerate(groups):
        scores = {name: cell for name, column in cells.items() if (cell := column[i]) is not None}
        ids = tuple(run.run_id for run in group.runs)
        made.append(Row(group.label, len(ids), ids, scores, group.control, labels[i], spent[i], searched[i]))
    if len(compared) > RANKED_ROWS:
        notes.append(f"{len(compared)} rows are too many to compare every pair: no ranks; filter or group them")
    notes += [*_reasons(columns, made), *biased(members)]
    fit = () if request.baseline else default_baseline(groups)
    hint = _hint(request.again if benchmark(members[0])["split"] == "test" else "")
    hint = "" if base is not None and groups[base].control == AT_BEST else hint
    if base is not None:
        headline = sentences.headline(found, labels, base, best, hint)
    elif request.baseline:
        headline = f"No row here has {','.join(map(str, request.baseline))}, so nothing can be said to beat it."
    else:
        headline = sentences.no_baseline({labels[i]: groups[i].label for i in fit}, keys)
    findings = [*([headline] if sentences.is_tested(found) else []), *sentences.findings(found, labels, base)]
    order = list(range(len(made))) if request.sort is None else _order(groups, columns, request.sort, request.values)
    return Table(
        benchmark=benchmark(members[0]),
        title=title,
        keys=tuple(keys),
        columns=tuple(columns),
        rows=tuple(made[i] for i in order),
        findings=tuple(findings),
        notes=tuple(notes),
        baseline=None if base is None else order.index(base),
        given=sentences.given(members),
        baselines=tuple(sorted(map(order.index, fit))),
        headline=headline,
    )


def row_labels(groups: Sequence[Group]) -> list[str]:
    """A short label for each row: `bc backspace`, `sequence_match alpha=0.1`; values that are off are left out."""
    keys = list(dict.fromkeys(key for group in groups for key in group.label))
    short = dict(zip(keys, short_keys(keys), strict=True))
    brief = [" ".join(_words(short, group)) or PLAIN for group in groups]
    if len(set(brief)) == len(brief):
        return brief
    return [
        ", ".join(f"{short[k]}={written(v)}" for k, v in group.label.items()) or group.control or PLAIN
        for group in groups
    ]


def baseline_row(
    groups: Sequence[Group], labels: Sequence[str], asked: Sequence[Filter], notes: list[str]
) -> int | None:
    """Index of the row that differences are from; without one None, and a note is added to `notes`.

    Raises:
        ConfigError: several rows fit what was asked for.
    """
    wanted = ",".join(map(str, asked)) or ", ".join(f"{key}={written(value)}" for key, value in BASELINE.items())
    if asked:
        fit = [i for i, group in enumerate(groups) if all(keep(run) for keep in asked for run in group.runs)]
        found = [i for i in fit if groups[i].control is None] or fit
        if len(found) > 1:
            fitting = "; ".join(labels[i] for i in found)
            raise ConfigError(
                f"--baseline {wanted} fits {len(found)} rows ({fitting}); add a key that distinguishes them"
            )
    else:
        found = default_baseline(groups)
    if len(found) == 1:
        return found[0]
    if len(groups) > 1:
        many = f"{len(found)} rows have {wanted}" if found else f"no row has {wanted}"
        notes.append(f"{many}, so no differences from a baseline; name one with --baseline key=value,...")
    return None


def _folded(members: Sequence[Run], request: LeaderboardRequest) -> Values:
    """The table's numbers and reasons, where reasons stand in the column of the numbers that they explain.

    A metric that finds nothing to measure may not know its parameters, so that its reason has a full name of its own:
    `perplexity@sliding-window` beside `perplexity@sliding-window[stride=32,...]`.
    """
    ids = {run.run_id for run in members}
    stored = {name: values for name, values in request.values.items() if not ids.isdisjoint(values)}
    measured = {name for name, values in stored.items() if any(isinstance(values.get(run), float) for run in ids)}
    folded = dict(stored)
    for name in stored.keys() - measured:
        score = request.names[name]
        same = [other for other in measured if (request.names[other].metric, request.names[other].definition)
                == (score.metric, score.definition)]  # fmt: skip
        for other in same:
            folded[other] = {**{run: why for run, why in stored[name].items() if run in ids}, **folded[other]}
        if same:
            del folded[name]
    return folded


def _apart(keys: Sequence[str], asked: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """The note on keys that were added to those asked for, because a row would have averaged over their values."""
    added = [key for key in keys if key not in asked and key != "group_id"]
    if not added:
        return []
    value = next((group.label[added[0]] for group in groups if added[0] in group.label), None)
    return [
        f"rows differ in {', '.join(added)}, too: a mean over these would not be over seeds; for one value alone add "
        f"--filter {added[0]}={written(value)}"
    ]


def _columns(request: LeaderboardRequest, runs: Collection[str]) -> tuple[list[Column], list[str]]:
    """The scores to show, and notes on definitions that are not shown and on what ranks the rows."""
    known = {name: request.names[name] for name in sorted(request.values)}
    notes: list[str] = []
    chosen: dict[str, None] = {}
    for wanted in request.metrics or ():
        chosen |= dict.fromkeys(name for name, score in known.items() if matches(wanted, score))
    if request.metrics is None:
        short = {score.metric for score in known.values()}
        for metric in [one for one in PREFERRED if one in short] or sorted(short):
            mine = [name for name, score in known.items() if score.metric == metric]
            definitions = sorted({known[name].definition for name in mine})
            chosen |= dict.fromkeys(name for name in mine if known[name].definition == definitions[0])
            notes += [f"{metric} is stored as @{other}, too: --metric {metric} shows all" for other in definitions[1:]]
    columns = []
    for name in chosen:
        score = known[name]
        by, ties = ranked_by(score, request.values, runs)
        notes += [ties] if ties is not None else []
        if score.direction == "reference":
            by = score.gap if score.gap in known else None
        columns.append(Column(name, score.metric, score.unit, score.direction, by))
    return columns, notes


def _hint(again: str) -> str:
    if not again:
        return f"{AT_BEST} has no scores of this kind, so whether that is more than a sharper distribution is open"
    return f"{AT_BEST} is not among these rows, and what does not beat it beats nothing: {again}"


def _compared(
    column: Column,
    groups: Sequence[Group],
    compared: Sequence[int],
    base: int | None,
    best: int | None,
    values: Values,
) -> ColumnComparison:
    measured = values.get(column.ranked_by or column.name, {})
    among = {i: groups[i].at_seeds(measured) for i in compared}
    ranking = rank(among, column.higher_is_better) if column.ranked_by is not None else None
    against = {} if base is None else differences({base: groups[base].at_seeds(measured), **among}, base)
    rivals = {} if best is None else {i: own for i, own in among.items() if i not in (base, best)}
    beyond = {} if best is None else differences({best: groups[best].at_seeds(measured), **rivals}, best)
    return ColumnComparison(column, ranking, against, beyond)


def _cells(groups: Sequence[Group], one: ColumnComparison, values: Values) -> list[Cell | None]:
    """The column's cell of each row."""
    stored = values[one.column.name]
    scored = [[value for run in group.runs if (value := stored.get(run.run_id)) is not None] for group in groups]
    numbers = [
        # runs that share a seed count once; a row that merges configurations shows the spread of all its runs
        list(group.at_seeds(stored).values()) if len(group.configs) == 1 else [v for v in found if isinstance(v, float)]
        for group, found in zip(groups, scored, strict=True)
    ]
    intervals: dict[int, Interval] = {}
    for n in {len(row) for row in numbers if row}:  # rows of equal length at once
        alike = [i for i, row in enumerate(numbers) if len(row) == n]
        intervals |= zip(alike, t_intervals(np.array([numbers[i] for i in alike]), 0.95), strict=True)
    ranks = {} if one.ranking is None else one.ranking.ranks
    return [
        Cell(intervals.get(i), Counter(v for v in found if isinstance(v, str)), ranks.get(i), one.against.get(i))
        if found
        else None
        for i, found in enumerate(scored)
    ]


def _reasons(columns: Sequence[Column], made: Sequence[Row]) -> list[str]:
    notes = []
    for column in columns:
        reasons: Counter[str] = Counter()
        for row in made:
            reasons.update(row.scores[column.name].unscored if column.name in row.scores else {})
        notes += [f"{column.metric}: no value for {count} run(s): {reason}" for reason, count in reasons.items()]
    return notes


def _order(groups: Sequence[Group], columns: Sequence[Column], sort: str, values: Values) -> list[int]:
    """Rows by the mean of the column to sort by, best first, controls last; as they are where it is not shown."""
    chosen = [column for column in columns if matches(sort, column)]
    if len(chosen) > 1:
        names = ", ".join(column.name for column in chosen)
        raise ConfigError(f"--sort {sort} may be {names}; write the full name")
    if not chosen:
        return list(range(len(groups)))
    (column,) = chosen
    measured = values.get(column.ranked_by or column.name, {})

    def key(i: int) -> tuple[bool, bool, float]:
        numbers = [v for run in groups[i].runs if isinstance(v := measured.get(run.run_id), float) and v == v]
        value = mean(numbers)
        return (groups[i].control is not None, not numbers, -value if column.higher_is_better else value)

    return sorted(range(len(groups)), key=key)


def _words(short: Mapping[str, str], group: Group) -> Iterator[str]:
    if group.control is not None:
        yield group.control
    for key, value in group.label.items():
        if isinstance(value, bool):
            yield from [short[key]] if value else []
        elif value is not None:
            yield value if isinstance(value, str) else f"{short[key]}={written(value)}"
