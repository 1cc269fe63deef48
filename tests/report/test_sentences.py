"""Findings in words are counted from comparisons, not from means."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.board import Column, ColumnComparison
from harness.report.sentences import coverage, findings, given
from harness.stats.ranks import differences, rank
from harness.storage.queries import Run, Seeds

UP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def compared(values: Sequence[Sequence[float]], metric: str = "m", direction: str = "higher") -> ColumnComparison:
    """A column in which row i has values[i] at seeds 0, 1, ...; the first row is the baseline."""
    column = Column(metric, metric, "", direction, None if direction == "reference" else metric)
    by_seeds = {i: dict(enumerate(row)) for i, row in enumerate(values)}
    ranking = rank(by_seeds, column.higher_is_better) if column.ranked_by else None
    return ColumnComparison(column, ranking, differences(by_seeds, 0))


def shifted(*by: float) -> list[list[float]]:
    return [[value + shift for value in UP] for shift in by]


def test_winners_of_the_same_rows_are_told_together() -> None:
    """a and b lose to c and d; lower is better in the second column, where the first two win."""
    labels = ["a", "b", "c", "d"]
    columns = [compared(shifted(0, 0, 9, 9), "up"), compared(shifted(0, 0, 9, 9), "down", "lower")]
    first, second, power, against = findings(columns, labels, 0)
    assert first == "up: c, d beat a, b; everything else ties"
    assert second == "down: a, b beat c, d; everything else ties"
    assert power.startswith("6 seeds detect a difference of ")
    assert against == "against a: up: better c, d | down: worse c, d"


def test_a_complete_order_leaves_no_ties_and_a_long_one_is_counted() -> None:
    """Three rows in order are three pairs; of nine rows in order all 36 pairs are separated, in eight clauses."""
    assert findings([compared(shifted(0, 1, 2))], list("abc"), None)[0] == "m: b beats a; c beats a, b"
    many = findings([compared(shifted(*range(9)))], list("abcdefghi"), None)[0]
    assert many == "m: 36 of 36 pairs are separated; the ranks say where"


def test_columns_that_say_the_same_say_it_once() -> None:
    found = findings([compared(shifted(0, 0), "m"), compared(shifted(0, 0), "k")], ["a", "b"], None)
    assert found[0] == "m, k: everything ties"


def test_the_seeds_that_an_open_difference_would_take_are_named() -> None:
    """c is more by 1 or 0 in turn, an effect of .8: not separated by 6 seeds, by more of them it would be."""
    rows = [UP, [value + wiggle for value, wiggle in zip(UP, [1, 0] * 3, strict=True)]]
    *_, last = findings([compared(rows)], ["a", "c"], 0)
    assert last.startswith("seeds that would separate the clearest open difference from a, were it as observed: m ")
    assert last.endswith(" (c)")
    assert 6 < int(last.split()[-2]) < 40


def test_without_an_order_a_row_is_higher_or_lower_not_better() -> None:
    assert findings([compared(shifted(0, 1), direction="reference")], ["a", "b"], 0) == ["against a: m: higher b"]


def run(group: str, train: int, sample: int, metric: int, **model: object) -> Run:
    config = {f"model.{key}": value for key, value in ({"base_steps": 400, "base_seed": 0} | model).items()}
    return Run(
        f"{group}{train}{sample}{metric}", group, "done", "d", config, Seeds(train, sample, metric), None, None, None
    )


def test_the_intervals_say_which_variance_they_cover() -> None:
    start = "intervals (±): single 95 % Student t, one row each, over n seeds, given one base model"
    assert coverage([run("a", 0, 0, 0)]) == start
    together = [run("a", 0, 0, 0), run("a", 1, 1, 1), run("b", 0, 0, 0)]
    assert coverage(together) == f"{start}; train, sample, metric seeds vary"
    sampled = coverage([run("a", 0, 0, 0), run("a", 0, 1, 0)])
    assert sampled == f"{start}; sample seeds vary, train, metric seeds do not: their variance is not in it"


def test_one_base_is_said_only_where_there_is_one() -> None:
    """A loaded model has no base seed and is one; a base of no steps is weights; two base seeds vary."""
    plain, other = run("a", 0, 0, 0), run("b", 1, 0, 0, base_seed=1)
    loaded = run("c", 0, 0, 0, base_steps=None, base_seed=None)
    bare = run("d", 0, 0, 0, base_steps=0)
    assert [given(runs) for runs in ([plain, loaded], [plain, other], [bare], [bare, plain], [])] == [
        ", given one base model", "", ", given one initialisation", "", "",
    ]  # fmt: skip
    assert coverage([plain, other]) == "intervals (±): single 95 % Student t, one row each, over n seeds"
    assert coverage([plain], alone=True) == "no intervals: every row is one run, given one base model"
