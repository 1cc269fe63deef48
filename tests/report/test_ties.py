"""Ranks and differences of MAUVE do not turn on ties in mauve-text's area: .75 for equal texts, .9999 for near ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from boards import MAUVE, add, score

from harness.records.score import Score
from harness.report.board import Cell, Table
from harness.report.compare import compare
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store

CURVE = MAUVE.replace("mauve@", "mauve_curve@")
NEAR = [0.9991, 0.9992, 0.9993, 0.9994, 0.9995, 0.9996]


def area(value: float | None, along: float | None = None, metric: str = "mauve", **more: Any) -> list[Score]:
    """A stored area and the same along its curve; an area alone, as earlier revisions stored it, without one."""
    given: dict[str, Any] = {"definition": "mauve-text", "parameters": {"featuriser": "tiny"}} | more
    both = [score(metric, value, **given)]
    return both if along is None else [*both, score(f"{metric}_curve", along, **given)]


def two_rows(store: Store, b: Sequence[list[Score]], mle: Sequence[list[Score]] = ()) -> None:
    for seed, scores in enumerate(b):
        near = mle[seed] if mle else area(NEAR[seed], NEAR[seed])
        add(store, {}, near, seed=seed)
        add(store, {"trainer": "b"}, scores, seed=seed)


def only(found: Sequence[Any]) -> Any:
    (one,) = found
    return one


def cells(table: Table, name: str = MAUVE) -> dict[str, Cell]:
    return {row.label: row.scores[name] for row in table.rows}


def ranks(table: Table, name: str = MAUVE) -> dict[str, tuple[int, int] | None]:
    return {label: cell.rank for label, cell in cells(table, name).items()}


def test_texts_equal_to_the_experts_are_best_at_every_seed(store: Store) -> None:
    """The mean that is shown is mauve-text's own .75; ranks, differences and order are of the area along the curve."""
    two_rows(store, [area(0.75, 1.0)] * 6)
    table = only(leaderboard(store, sort="mauve").tables)
    assert [row.label for row in table.rows] == ["b", "mle"]
    assert ranks(table) == {"b": (1, 1), "mle": (2, 2)}
    shown, difference = cells(table)["b"].interval, cells(table)["b"].difference
    assert shown is not None
    assert difference is not None
    assert shown.mean == 0.75
    assert difference.interval.mean == pytest.approx(0.00065)
    assert only(table.columns).ranked_by == CURVE
    assert (
        "mauve: ties along the curve move 6 run(s) by up to 0.25; ranks and differences are of mauve_curve, "
        "which has none" in table.notes
    )
    found = only(compare(store, ["trainer=mle", "trainer=b"], metrics=["mauve"]))
    (line,) = found.lines
    assert line.means[1].mean == 0.75
    assert line.differences[0].interval.mean == pytest.approx(0.00065)
    assert any("ties along the curve move 6 run(s)" in note for note in found.notes)


def test_a_tie_at_some_k_means_seeds_of_one_run_is_enough(store: Store) -> None:
    """One of five k-means seeds of one run finds equal histograms: .95 for what is .9999."""
    two_rows(store, [*(area(value + 1e-4, value + 1e-4) for value in NEAR[:5]), area(0.95, NEAR[5] + 1e-4)])
    table = only(leaderboard(store).tables)
    assert ranks(table) == {"b": (1, 1), "mle": (2, 2)}
    assert any(note.startswith("mauve: ties along the curve move 1 run(s) by up to 0.05") for note in table.notes)


def test_smoothed_areas_and_ties_that_add_are_the_same_kind(store: Store) -> None:
    """`mauve_star` has ties of its own; where the curve underflows ties add: .23 for disjoint texts instead of 0."""
    star = [area(0.75, 1.0, "mauve_star") for _ in NEAR]
    adds = [area(0.23, 0.0, parameters={"scaling": 100000.0}) for _ in NEAR]
    other = [area(n, n, "mauve_star") + area(n / 10, n / 10, parameters={"scaling": 100000.0}) for n in NEAR]
    two_rows(store, [one + two for one, two in zip(star, adds, strict=True)], other)
    table = only(leaderboard(store, metrics=["mauve_star", "mauve"]).tables)
    assert ranks(table, MAUVE.replace("mauve@", "mauve_star@")) == {"b": (1, 1), "mle": (2, 2)}
    assert ranks(table, "mauve@mauve-text[scaling=100000.0]") == {"b": (2, 2), "mle": (1, 1)}


def test_without_ties_the_area_ranks_as_it_is(store: Store) -> None:
    """Two sums differ by rounding, a run without a number has a reason; neither is a tie."""
    two_rows(store, [*(area(value - 0.1, value - 0.1 + 1e-15) for value in NEAR[:5]), area(None, reason="no texts")])
    table = only(leaderboard(store).tables)
    assert only(table.columns).ranked_by == MAUVE
    assert not any("ties along" in note for note in table.notes)
    assert cells(table)["b"].unscored == {"no texts": 1}


def test_runs_without_the_area_along_the_curve_rank_as_ever_until_a_tie_is_known(store: Store) -> None:
    """Earlier revisions stored no `mauve_curve`: ranks as before, and none, with the way out, beside a known tie."""
    two_rows(store, [area(value - 0.1) for value in NEAR], [area(value) for value in NEAR])
    assert ranks(only(leaderboard(store).tables)) == {"b": (2, 2), "mle": (1, 1)}
    for seed in range(6):
        add(store, {"trainer": "bc"}, area(0.75, 1.0), seed=seed)
    table = only(leaderboard(store).tables)
    assert ranks(table) == {"b": None, "mle": None, "bc": None}
    assert (
        "mauve: ties along the curve move 6 run(s) by up to 0.25; no ranks, for 12 run(s) have no mauve_curve: "
        "`harness rescore GRID --metrics mauve@mauve-text` adds it" in table.notes
    )


def test_where_both_definitions_are_stored_ours_is_shown(store: Store) -> None:
    two_rows(
        store,
        [area(0.75, 1.0) + area(1.0, definition="curve")] * 6,
        [area(n) + area(n, definition="curve") for n in NEAR],
    )
    table = only(leaderboard(store).tables)
    assert [column.name for column in table.columns] == ["mauve@curve[featuriser=tiny]"]
    assert ranks(table, "mauve@curve[featuriser=tiny]") == {"b": (1, 1), "mle": (2, 2)}
    assert "mauve is stored as @mauve-text, too: --metric mauve shows all" in table.notes
