"""A table ranks what the seeds separate, takes differences from its baseline, and pins control rows at its end."""

from __future__ import annotations

import pytest
from boards import MAUVE, SM, add, add_groups, mauve, score

from harness.errors import ConfigError
from harness.records.training import Step
from harness.report.board import Leaderboard, Row, Table
from harness.report.leaderboard import leaderboard
from harness.report.rendering import as_text
from harness.storage.queries import read_runs
from harness.storage.store import Store

UP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def only(board: Leaderboard) -> Table:
    (table,) = board.tables
    return table


def ranks(table: Table, name: str = MAUVE) -> dict[str, tuple[int, int] | None]:
    return {row.label: row.scores[name].rank for row in table.rows if name in row.scores}


def row(table: Table, label: str) -> Row:
    return next(row for row in table.rows if row.label == label)


def test_ranks_and_differences_from_mle(store: Store) -> None:
    """Six seeds: b is one better than mle everywhere (p = 2/64), c equals mle."""
    add_groups(store, {"mle": UP, "b": [value + 1 for value in UP], "c": UP})
    table = only(leaderboard(store))
    assert ranks(table) == {"mle": (2, 3), "b": (1, 1), "c": (2, 3)}
    assert table.baseline == 0
    assert row(table, "mle").scores[MAUVE].difference is None
    difference = row(table, "b").scores[MAUVE].difference
    assert difference is not None
    assert (difference.interval.mean, difference.found.p) == (pytest.approx(1), 2 / 64)
    assert table.findings[0] == table.headline
    assert table.findings[1] == "mauve: b beats mle, c; everything else ties"
    assert "against mle: mauve: better b" in table.findings
    text = " ".join(as_text(leaderboard(store)).split())
    assert "b 6 1.35 ± 0.20 1 " in text
    assert "mle 6 0.35 ± 0.20 2-3" in text


def test_too_few_seeds_say_so_and_what_more_would_show(store: Store) -> None:
    """2 seeds: 2 / 2**6 <= .05 < 2 / 2**5 needs 6; three rows are three pairs."""
    add_groups(store, {"mle": UP[:2], "b": [5.0, 6.0], "c": UP[:2]})
    table = only(leaderboard(store))
    assert set(ranks(table).values()) == {(1, 3)}
    (finding,) = table.findings
    assert finding.startswith("2 seeds cannot separate these rows: a sign flip needs at least 6; 8 would detect a diff")
    assert finding.endswith("sd (with probability .8, between any two of 3 rows, in sd of their paired differences)")


def test_nothing_separated_is_a_finding_too(store: Store) -> None:
    add_groups(store, {"mle": [0.0, 1.0] * 4, "b": [1.0, 0.0] * 4})
    table = only(leaderboard(store))
    assert table.findings[0] == "Nothing beats mle here. The seeds separate no other row from it."
    assert table.findings[1] == "mauve: everything ties"
    assert "against mle: nothing is separated from it on any column" in table.findings


def test_a_row_without_a_number_is_not_in_the_count(store: Store) -> None:
    add_groups(store, {"mle": UP, "b": UP})
    add(store, {"trainer": "c"}, [mauve(None, reason="no texts")])
    assert ranks(only(leaderboard(store))) == {"mle": (1, 2), "b": (1, 2), "c": None}


def test_reference_scores_are_ranked_by_their_distance_alone(store: Store) -> None:
    """Human diversity is .9: row b at .8 is closer than mle at 1.2; without distances there is no order."""
    for seed in range(6):
        for trainer, value in (("mle", 1.2 + seed / 100), ("b", 0.8 + seed / 100)):
            near = [score("diversity", value, direction="reference")]
            near += [score("diversity_gap", abs(value - 0.9), direction="lower")]
            add(store, {"trainer": trainer}, [*near, score("backspace_rate", value, direction="reference")], seed=seed)
    board = leaderboard(store)
    table = only(board)
    assert ranks(table, "diversity@exact") == {"mle": (2, 2), "b": (1, 1)}
    assert ranks(table, "backspace_rate@exact") == {"mle": None, "b": None}
    difference = row(table, "b").scores["backspace_rate@exact"].difference
    assert difference is not None
    assert difference.interval.mean == pytest.approx(-0.4)
    assert "backspace_rate: lower b" in next(line for line in table.findings if line.startswith("against mle"))
    text = " ".join(as_text(board).split())
    assert "closest to the experts' value is best, ranked by that distance" in text
    assert "compare with the experts' value (no distance measured: no rank)" in text


def test_two_definitions_are_two_columns_with_ranks_of_their_own(store: Store) -> None:
    for seed, value in enumerate(UP):
        add(store, {}, [mauve(value), mauve(value, "large")], seed=seed)
        add(store, {"trainer": "b"}, [mauve(value + 1), mauve(value - 1, "large")], seed=seed)
    table = only(leaderboard(store))
    assert ranks(table) == {"mle": (2, 2), "b": (1, 1)}
    assert ranks(table, "mauve@mauve-text[featuriser=large]") == {"mle": (1, 1), "b": (2, 2)}


def test_runs_that_share_a_training_are_one_piece_of_evidence(store: Store) -> None:
    """Two trainings of four samples each: n = 2 per row, although every row has 8 runs that differ by one."""
    for train in range(2):
        for sample in range(4):
            for trainer, value in (("mle", 0.0), ("b", 1.0)):
                seeds = {"train": train, "sample": sample, "metric": 0}
                add(store, {"trainer": trainer}, [mauve(value + train + sample / 8)], seeds=seeds)
    board = leaderboard(store)
    table = only(board)
    assert ranks(table) == {"mle": (1, 2), "b": (1, 2)}
    interval = row(table, "mle").scores[MAUVE].interval
    assert interval is not None
    assert (interval.n, interval.mean) == (2, pytest.approx(0.5 + 1.5 / 8))
    assert table.findings[0].startswith("2 seeds cannot separate")
    assert board.notes[0] == (
        "intervals (±): single 95 % Student t, one row each, over n seeds, given one base model; train, sample seeds "
        "vary, metric seeds do not: their variance is not in it; runs of one train seed are averaged first"
    )


def test_control_rows_stand_last_and_are_never_ranked(store: Store) -> None:
    """The baseline at its best temperature is a control row: merely sharpening must not win."""
    best = {"trainer": "mle", "sampling": {"temperature": "best"}}
    for seed, value in enumerate(UP):
        add(store, best, [mauve(value + 3)], seed=seed)
        add(store, {"trainer": "mle", "control": "expert"}, [mauve(value + 5)], seed=seed)
        add(store, {}, [mauve(value)], seed=seed)
        add(store, {"trainer": "b"}, [mauve(value + 1)], seed=seed)
    board = leaderboard(store)
    table = only(board)
    assert [found.control for found in table.rows] == [None, None, "mle at its best temperature", "expert"]
    assert ranks(table) == {"mle": (2, 2), "b": (1, 1), "mle at its best temperature": None, "expert": None}
    assert table.keys == ("trainer.name",)
    lines = as_text(board).splitlines()
    last = next(i for i, line in enumerate(lines) if line.startswith(" b "))
    assert set(lines[last + 1].strip()) == {"─"}
    assert lines[last + 2].split("   ")[0].strip() == "control: mle at its best temperature"
    assert [row.label for row in only(leaderboard(store, sort="mauve")).rows][:2] == ["b", "mle"]
    by_trainer = only(leaderboard(store, group_by=["trainer"], baseline=["control=expert"]))
    assert [row.n for row in by_trainer.rows] == [6, 6, 6, 6]
    assert by_trainer.baseline == 3
    difference = by_trainer.rows[0].scores[MAUVE].difference
    assert difference is not None
    assert difference.interval.mean == pytest.approx(-5)


def test_the_baseline_can_be_chosen_and_may_be_missing(store: Store) -> None:
    add_groups(store, {"bc": UP, "td_mle": UP})
    table = only(leaderboard(store))
    assert table.baseline is None
    assert table.notes == (
        "no row has trainer.name=mle, actions.backspace=false, so no differences from a baseline; "
        "name one with --baseline key=value,...",
    )
    assert only(leaderboard(store, baseline=["trainer=td_mle"])).baseline == 1
    with pytest.raises(ConfigError, match=r"fits 2 rows \(bc; td_mle\); add a key"):
        leaderboard(store, baseline=["backspace=false"])
    with pytest.raises(ConfigError, match="did you mean 'bc'"):
        leaderboard(store, baseline=["trainer=bcc"])


def test_mle_is_the_baseline_at_the_usual_decoding(store: Store) -> None:
    """Of four mle rows the one that samples and trains as usual; a sweep of learning rates leaves it open."""
    add(store, {"sampling": {"temperature": 0.7}}, [mauve(0.5)])
    add(store, {}, [mauve(0.5)])
    add(store, {"trainer": SM}, [mauve(0.5)])
    add(store, {"actions": {"context_noise": 0.1}}, [mauve(0.5)])
    add(store, {"training": {"scope": "head"}}, [mauve(0.5)])
    assert only(leaderboard(store)).baseline == 1
    add(store, {"training": {"lr": 0.5}}, [mauve(0.5)])
    table = only(leaderboard(store))
    assert table.baseline is None
    assert [table.rows[i].group["training.lr"] for i in table.baselines] == [1e-3, 0.5]
    assert table.notes[0].startswith("2 rows have trainer.name=mle, actions.backspace=false, so no differences")


def test_rows_that_a_grouping_would_merge_are_ranked_apart(store: Store) -> None:
    """Two trainers with and without <backspace>, one of the four rows without seed 6: 6 seeds count in every pair."""
    for seed in range(7):
        for trainer in ("mle", "bc"):
            if seed < 6 or trainer == "mle":
                add(store, {"trainer": trainer}, [mauve(seed / 10)], seed=seed)
            on = {"trainer": trainer, "actions": {"backspace": True}}
            add(store, on, [mauve(seed / 10 + 1)], seed=seed)
    table = only(leaderboard(store, group_by=["backspace"]))
    assert ranks(table) == {"mle": (3, 4), "bc": (3, 4), "backspace mle": (1, 2), "backspace bc": (1, 2)}
    assert "mauve: paired over the 6 seeds that all rows have; 1 more left out" in table.findings
    assert only(leaderboard(store, group_by=["trainer"])).baseline == 0


def test_equal_cost_is_shown_and_only_such_rows_are_ranked(store: Store) -> None:
    """mle processes 100 tokens, b 95 and 10 sampled ones (ratio 1.05), c 200: c is out, and the others are 1 and 2."""
    tokens = {"mle": 100, "b": 95, "c": 200}
    for seed, value in enumerate(UP):
        for trainer, gain in (("mle", 0), ("b", 1), ("c", 2)):
            last = Step(step=9, tokens=tokens[trainer], seconds=3.0, loss=1.0, lr=0.1, terms={})
            sampled = 10 if trainer == "b" else 0
            add(store, {"trainer": trainer}, [mauve(value + gain)], seed=seed, steps=[last], sampled_actions=sampled)
    board = leaderboard(store, per="token")
    table = only(board)
    assert ranks(table) == {"mle": (2, 2), "b": (1, 1), "c": None}
    cost = row(table, "b").cost
    assert cost is not None
    assert (cost.steps, cost.tokens, cost.seconds, cost.ratio) == (9, 105, 3, 1.05)
    assert "c: not at equal cost, so not ranked: its score needs 2 times the tokens of mle" in table.notes
    assert "to compare these, run the grid with one budget: training.tokens=N" in table.notes
    assert "2.00x" in as_text(board)
    assert ranks(only(leaderboard(store, per="step"))) == {"mle": (3, 3), "b": (2, 2), "c": (1, 1)}
    assert only(leaderboard(store)).rows[0].cost is None


def test_a_run_of_unknown_cost_is_not_ranked_by_cost(store: Store) -> None:
    add_groups(store, {"mle": UP, "b": UP})
    table = only(leaderboard(store, per="second"))
    assert set(ranks(table).values()) == {None}
    assert "b: what it cost is unknown, so it is not ranked" in table.notes


def test_rows_are_sorted_on_request(store: Store) -> None:
    """Best mean first; a row without a value last; the baseline stays the baseline."""
    for trainer, value in (("mle", 0.3), ("b", None), ("c", 0.2), ("d", 0.5)):
        add(store, {"trainer": trainer}, [mauve(value, reason=None if value else "none"),
                                          score("perplexity", value and -value, direction="lower")])  # fmt: skip
    for metric in ("mauve", "perplexity"):
        board = leaderboard(store, sort=metric)
        assert [found.label for found in only(board).rows] == ["d", "mle", "c", "b"]
        assert only(board).baseline == 1
        assert board.notes[-1] == f"rows stand by their mean {metric}, which is no rank"
    with pytest.raises(ConfigError, match="did you mean 'mauve'"):
        leaderboard(store, sort="mauv")
    add(store, {}, [mauve(0.1, "large")], seed=1)
    with pytest.raises(ConfigError, match="write the full name"):
        leaderboard(store, sort="mauve")


def test_seeds_are_read_even_where_an_option_looks_like_them(store: Store) -> None:
    """A plug-in's option that is spelled as the seeds are must not be taken for them."""
    odd = {"name": "text", "seeds": {"metric": 7, "sample": 8, "train": 9}}
    add(store, {"benchmark": odd}, [mauve(1.0)], seed=3)
    (run,) = read_runs(store)
    assert run.seeds == (3, 3, 3)


def test_a_baseline_that_fits_control_rows_too_means_the_trained_one(store: Store) -> None:
    add(store, {}, [mauve(0.5)])
    add(store, {"control": "expert"}, [mauve(0.9)])
    assert only(leaderboard(store, baseline=["trainer=mle"])).baseline == 0
