"""The leaderboard groups by everything but the seeds, shows what it averages, and keeps the grid's order."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from boards import MAUVE, SM, add, mauve, score

from harness.config.run import RunConfig
from harness.errors import ConfigError, UnknownName
from harness.report.board import Leaderboard
from harness.report.leaderboard import leaderboard
from harness.report.rendering import as_text, rounded
from harness.stats.intervals import Interval
from harness.storage.store import Store


def demo(store: Store) -> None:
    """Three seeds of mle (mauve .1 .2 .3) and of sequence_match with <backspace> (.4 .5 .9)."""
    for seed, (a, b) in enumerate([(0.1, 0.4), (0.2, 0.5), (0.3, 0.9)]):
        add(store, {}, [mauve(a), score("perplexity", 10.0 + seed, direction="lower")], seed=seed)
        add(store, {"trainer": SM, "actions": {"backspace": True}}, [mauve(b)], seed=seed)


def rows(board: Leaderboard) -> list[dict[str, Any]]:
    (table,) = board.to_dict()["tables"]
    return list(table["rows"])


def test_mean_interval_and_n_by_hand(store: Store) -> None:
    """mle: mean .2, sd .1, half-width 4.302653 * .1 / sqrt(3) = .248414."""
    demo(store)
    first, second = rows(leaderboard(store, grid="g"))
    assert first["group"] == {"trainer.name": "mle", "actions.backspace": False}
    assert second["group"] == {"trainer.name": "sequence_match", "actions.backspace": True}
    assert (first["n"], len(set(first["runs"]))) == (3, 3)
    cell = first["scores"][MAUVE]
    assert cell["mean"] == pytest.approx(0.2)
    assert cell["high"] - cell["mean"] == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert (cell["n"], cell["unscored"]) == (3, {})
    assert second["scores"][MAUVE]["mean"] == pytest.approx(0.6)
    assert set(second["scores"]) == {MAUVE}


def test_only_keys_that_tell_groups_apart_are_columns(store: Store) -> None:
    """`alpha` and `divergence` exist in one trainer only and have one value there: they would say nothing.  A second
    alpha makes it a column; the noise rate of a run without <backspace> is no setting at all."""
    demo(store)
    assert leaderboard(store).tables[0].keys == ("trainer.name", "actions.backspace")
    add(store, {"trainer": SM | {"alpha": 0.1}, "actions": {"backspace": True}}, [mauve(0.5)])
    board = leaderboard(store)
    assert board.tables[0].keys == ("trainer.name", "trainer.alpha", "actions.backspace")
    assert [row["group"].get("trainer.alpha") for row in rows(board)] == [None, 0.01, 0.1]


def test_rows_stand_in_the_order_of_the_grid_whatever_the_scores(store: Store) -> None:
    for trainer, value in (("c", 0.1), ("a", 0.9), ("b", 0.5)):
        add(store, {"trainer": trainer}, [mauve(value)])
    board = leaderboard(store, grid="g")
    assert [row["group"]["trainer.name"] for row in rows(board)] == ["c", "a", "b"]
    assert board.notes[-1] == "rows stand in the grid's order, which is no rank"


def test_one_group_still_says_what_it_is(store: Store) -> None:
    add(store, {}, [mauve(0.5)])
    assert rows(leaderboard(store))[0]["group"] == {"trainer.name": "mle"}


def test_groups_that_differ_in_their_metrics_alone_stay_apart(store: Store) -> None:
    add(store, {"metrics": ["a"]}, [mauve(0.5)])
    add(store, {"metrics": ["b"]}, [mauve(0.5)])
    assert len({row["group"]["group_id"] for row in rows(leaderboard(store))}) == 2


def test_benchmarks_and_their_data_have_their_own_tables(store: Store) -> None:
    add(store, {}, [mauve(0.1)])
    add(store, {}, [mauve(0.2)], data_hash="other", seed=1)
    add(store, {"benchmark": {"name": "language", "length": 8}}, [score("exact_kl", 0.3)])
    add(store, {"benchmark": {"name": "language", "length": 9}}, [score("exact_kl", 0.4)])
    titles = [table.title for table in leaderboard(store).tables]
    assert titles == [
        "text (data_hash=d)",
        "text (data_hash=other)",
        "language (length=8, data_hash=d)",
        "language (length=9, data_hash=d)",
    ]


def test_full_names_never_share_a_column(store: Store) -> None:
    add(store, {}, [mauve(0.1), mauve(0.9, "large")])
    add(store, {}, [mauve(0.3)], seed=1)
    (row,) = rows(leaderboard(store, metrics=["mauve"]))
    assert row["scores"][MAUVE]["mean"] == pytest.approx(0.2)
    assert row["scores"]["mauve@mauve-text[featuriser=large]"]["mean"] == 0.9
    for asked in (MAUVE, "mauve@mauve-text"):
        assert MAUVE in rows(leaderboard(store, metrics=[asked]))[0]["scores"]
    assert list(rows(leaderboard(store, metrics=[MAUVE]))[0]["scores"]) == [MAUVE]


def test_the_short_list_takes_one_definition_and_names_the_others(store: Store) -> None:
    add(store, {}, [score("diversity", 0.9), score("diversity", 0.8, "simctg"), score("rep_2", 0.1)])
    (table,) = leaderboard(store).tables
    assert [column.name for column in table.columns] == ["diversity@exact"]
    assert table.notes == ("diversity is stored as @simctg, too: --metric diversity shows all",)
    assert table.findings == ()
    assert len(leaderboard(store, metrics=["diversity", "rep_2"]).tables[0].columns) == 3


def test_without_any_usual_metric_every_score_is_shown(store: Store) -> None:
    add(store, {}, [score("mine", 0.9), score("yours", 0.8)])
    assert [column.metric for column in leaderboard(store).tables[0].columns] == ["mine", "yours"]


def test_missing_numbers_are_reasons_and_infinite_ones_stay_infinite(store: Store) -> None:
    """Of three runs one has no mauve: the mean is over two, and says so; an infinite perplexity is not left out."""
    for seed, value in enumerate([0.2, 0.4, None]):
        reason = None if value is not None else "fewer than 32 texts"
        ppl = score("perplexity", math.inf if seed == 0 else 3.0)
        add(store, {}, [mauve(value, reason=reason), ppl, score("diversity", None, reason="no text")], seed=seed)
    board = leaderboard(store)
    cells = rows(board)[0]["scores"]
    assert cells[MAUVE]["mean"] == pytest.approx(0.3)
    assert (cells[MAUVE]["n"], cells[MAUVE]["unscored"]) == (2, {"fewer than 32 texts": 1})
    assert cells["perplexity@exact"]["mean"] == "inf"
    assert cells["perplexity@exact"]["low"] is None
    none = dict.fromkeys(("mean", "low", "high", "rank", "difference"))
    assert cells["diversity@exact"] == none | {"n": 0, "unscored": {"no text": 3}}
    assert board.tables[0].notes == (
        "mauve: no value for 1 run(s): fewer than 32 texts",
        "diversity: no value for 3 run(s): no text",
    )
    json.dumps(board.to_dict(), allow_nan=False)
    text = as_text(board)
    assert "0.3 ± 1.3 (n=2)" in text
    assert "no value" in text
    assert " inf" in text


def test_a_reason_stands_in_the_column_of_the_numbers_that_it_explains(store: Store) -> None:
    """Without a likelihood a perplexity does not know its window, so that its full name has no parameters."""
    add(store, {}, [score("perplexity", 3.0, parameters={"window": 8})])
    add(store, {"trainer": "b"}, [score("perplexity", None, reason="no likelihood")])
    board = leaderboard(store)
    assert [column.name for column in board.tables[0].columns] == ["perplexity@exact[window=8]"]
    cell = rows(board)[1]["scores"]["perplexity@exact[window=8]"]
    assert (cell["mean"], cell["unscored"]) == (None, {"no likelihood": 1})
    assert "perplexity: no value for 1 run(s): no likelihood" in board.tables[0].notes
    add(store, {}, [score("perplexity", 4.0, parameters={"window": 9})], seed=1)
    assert len(leaderboard(store).tables[0].columns) == 2


@pytest.mark.parametrize(
    ("more", "key", "value"),
    [
        ({"training": {"steps": 60}}, "training.steps", 60),
        ({"training": {"lr": 0.5}}, "training.lr", 0.5),
        ({"sampling": {"temperature": 0.7}}, "sampling.temperature", 0.7),
        ({"model": {"width": 8}}, "model.width", 8),
    ],
)
def test_no_grouping_averages_over_another_setting(store: Store, more: Any, key: str, value: Any) -> None:
    """A store in which two grids were mixed: 2 seeds with one value and 2 with another are two rows of 2."""
    for seed in (0, 1):
        add(store, {}, [mauve(0.2)], seed=seed)
        add(store, more, [mauve(0.9)], seed=seed)
    board = leaderboard(store, group_by=["trainer", "backspace"])
    assert [(row["n"], row["group"][key] == value) for row in rows(board)] == [(2, False), (2, True)]
    (note,) = [note for note in board.tables[0].notes if note.startswith("rows differ in")]
    assert key in note
    assert "--filter" in note
    alone = leaderboard(store, group_by=["trainer", "backspace"], filters=[f"{key}={value}"])
    assert [row["n"] for row in rows(alone)] == [2]


def test_grouping_by_less_than_what_varies_keeps_the_rows_apart(store: Store) -> None:
    demo(store)
    add(store, {"actions": {"backspace": True}}, [mauve(0.8)])
    board = leaderboard(store, group_by=["backspace"])
    assert [set(row["group"]) for row in rows(board)] == [{"actions.backspace", "trainer.name"}] * 3
    assert all("over n runs" not in note for note in board.notes)
    both = leaderboard(store, group_by=["trainer", "backspace"])
    assert not both.tables[0].notes
    assert len(rows(both)) == 3


def test_biased_settings_are_called_so_under_the_table(store: Store) -> None:
    """`per_sequence` is a column, and a note says what is wrong with it; the constant needs no note."""
    add(store, {"trainer": {"name": "mle", "normalisation": "constant"}}, [mauve(0.1)])
    assert not leaderboard(store).tables[0].notes
    add(store, {"trainer": {"name": "mle", "normalisation": "per_sequence"}}, [mauve(0.2)])
    (table,) = leaderboard(store).tables
    assert "trainer.normalisation" in table.keys
    assert table.notes[-1].startswith("trainer.normalisation=per_sequence is biased: ")


def test_filters_select_by_value(store: Store) -> None:
    demo(store)
    add(store, {"trainer": SM | {"alpha": 0.1}, "actions": {"backspace": True}}, [mauve(0.5)])
    for text, n in (
        ("trainer=mle", 3),
        ("trainer.name = 'sequence_match'", 4),
        ("backspace=True", 4),
        ("alpha=1e-1", 1),
        ("train=0", 3),
    ):
        assert sum(row["n"] for row in rows(leaderboard(store, filters=[text]))) == n
    assert leaderboard(store, filters=["trainer=mle", "alpha=0.1"]).tables == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_by": ["backspce"]}, "did you mean 'backspace'"),
        ({"group_by": ["name"]}, "may be benchmark.name, trainer.name, model.name"),
        ({"filters": ["trainer=mel"]}, "did you mean 'mle'"),
        ({"filters": ["trainer"]}, "not key=value"),
        ({"metrics": ["mauv"]}, "did you mean 'mauve'"),
        ({"metrics": ["mauve@mauve-txt"]}, "did you mean 'mauve@mauve-text"),
        ({"grid": "gg"}, "did you mean 'g'"),
    ],
)
def test_wrong_questions_get_a_hint(store: Store, arguments: dict[str, Any], message: str) -> None:
    demo(store)
    with pytest.raises((ConfigError, UnknownName), match=message):
        leaderboard(store, **arguments)


def test_unfinished_grids_and_empty_stores(store: Store) -> None:
    assert leaderboard(store).notes == ("no runs yet; `harness run GRID` starts some",)
    run = RunConfig.model_validate({"benchmark": "text", "trainer": "bc"})
    store.enqueue("g", [run])
    assert leaderboard(store, grid="g").notes == ("1 runs: 1 pending; only finished ones are shown",)
    demo(store)
    assert leaderboard(store).notes[0] == "7 runs: 6 done, 1 pending; only finished ones are shown"


def test_plain_text_shows_arrows_definitions_and_brackets(store: Store) -> None:
    """Full names hold square brackets, which are rich's markup: they must come out as they are."""
    demo(store)
    text = as_text(leaderboard(store))
    assert "mauve ↑" in text
    assert f"mauve ↑  {MAUVE}; fraction; higher is better" in text
    assert "perplexity ↓" in text
    assert "0.20 ± 0.25" in text
    add(store, {}, [mauve(0.5, "large")], seed=3)
    header = as_text(leaderboard(store), width=200).splitlines()[2]
    assert "mauve@mauve-text[featuriser=large] ↑" in header
    assert "sequence_match true 3 0.60 ± 0.66" in " ".join(text.split())


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        (Interval(0.834567, 0.812, 0.857, 3), "0.835 ± 0.022"),
        (Interval(0.5, 0.40019, 0.59981, 3), "0.50 ± 0.10"),
        (Interval(123.4, 89.0, 157.8, 3), "123 ± 34"),
        (Interval(0.123456, None, None, 1), "0.1235"),
        (Interval(12345.6, None, None, 1), "12346"),
        (Interval(0.5, 0.5, 0.5, 2), "0.5 ± 0"),
        (Interval(0.0, -0.3, 0.3, 2), "0.00 ± 0.30"),
        (Interval(2.5e7, 2.4e7, 2.6e7, 2), "2.5e+07 ± 1e+06"),
        (Interval(1.5, 1.5 - 2e-9, 1.5 + 2e-9, 2), "1.500000 ± 2e-09"),
        (Interval(math.inf, None, None, 2), "inf"),
    ],
)
def test_numbers_are_rounded_by_their_interval(interval: Interval, shown: str) -> None:
    assert rounded(interval) == shown
