"""A verdict and the interval beside it say the same, on every board; the headline says by how much."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from boards import add, score

from harness.records.training import Step
from harness.report.board import Leaderboard
from harness.report.compare import compare
from harness.report.exports import board_text
from harness.report.leaderboard import leaderboard
from harness.report.overhead import overhead
from harness.report.rendering import as_plain, as_text, comparison
from harness.report.rendering import validity as validity_drawn
from harness.report.sentences import bounded
from harness.report.validity import validity
from harness.stats.intervals import Interval
from harness.storage.store import Store

BEST = {"trainer": "mle", "sampling": {"temperature": "best"}}
ENDS = re.compile(r"([\[(])([^\[\](),]+), ([^\[\](),]+)([\])])")


def shown_to_leave_out_zero(text: str) -> bool:
    """The reading of the last printed interval: a round bracket leaves its end out, a square one does not."""
    first, low, high, last = ENDS.findall(text)[-1]
    return float(low) > 0 or float(high) < 0 or (float(low), first) == (0, "(") or (float(high), last) == (0, ")")


def random_store(store: Store, draw: np.random.Generator, seeds: int) -> None:
    """Two scores of mle and four trainers; shifts from none to far, noise from none to wide, one row of few seeds."""
    for trainer in ("mle", "a", "b", "c", "d"):
        shift, width = draw.choice([0.0, 0.5, 3.0]), draw.choice([0.0, 0.3, 0.5])
        for seed in range(2 if trainer == "d" else seeds):
            up, down = (seed / 7 + shift + width * one for one in draw.normal(size=2))
            add(store, {"trainer": trainer}, [score("m", up), score("k", down, direction="lower")], seed=seed)


@pytest.mark.parametrize("seeds", [2, 5, 6, 8])
def test_verdicts_agree_with_intervals_wherever_both_stand(store: Store, seeds: int) -> None:
    """CSV, JSON and print of leaderboard and comparison: p <= .05 exactly where the interval leaves 0 out."""
    random_store(store, np.random.default_rng(seeds), seeds)
    lines = list(csv.DictReader(io.StringIO(board_text(leaderboard(store, metrics=["m", "k"]), "csv"))))
    compared = [line for line in lines if line["difference"]]
    assert len(compared) == 8
    for line in compared:
        out = line["difference_low"] != "" and (float(line["difference_low"]) > 0 or float(line["difference_high"]) < 0)
        assert (float(line["p"]) <= 0.05) == out, line
    (found,) = compare(store, [f"trainer={name}" for name in ("mle", "a", "b", "c", "d")])
    for one in found.to_dict()["scores"]:
        for difference in one["differences"]:
            out = difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)
            assert (difference["p"] <= 0.05) == out
    printed = [line for line in as_plain(comparison(found), 200).splitlines() if ENDS.search(line) and "p:" not in line]
    assert len(printed) == 8
    for line in printed:
        assert ("separated" in line) == shown_to_leave_out_zero(line), line


def test_single_intervals_are_called_so_beside_the_joint_ones(store: Store) -> None:
    random_store(store, np.random.default_rng(6), 6)
    board = leaderboard(store, metrics=["m"])
    text = as_text(board, 1000)
    assert "intervals (±): single 95 % Student t, one row each" in text
    assert "[low, high] of differences: simultaneous 95 % intervals" in text
    assert "with single 95 \\% Student-t intervals" in board_text(board, "latex")
    head = board_text(board, "csv").splitlines()[0].split(",")
    assert {"difference_low", "difference_high", "family", "difference_single_low", "difference_single_high"} <= {*head}
    difference = board.to_dict()["tables"][0]["rows"][1]["scores"]["m@exact"]["difference"]
    assert difference["family"] == 4
    assert difference["single_low"] > difference["low"]


def test_overhead_has_single_intervals_and_no_verdict(store: Store) -> None:
    for seed in range(2):
        for trainer, seconds in (("mle", 1.0), ("a", 2.0 + seed)):
            step = Step(10, tokens=100, seconds=seconds, loss=1.0, lr=1e-3, terms={})
            add(store, {"trainer": trainer}, [score("m", 1.0)], seed=seed, steps=[step])
    (found,) = overhead(store)
    assert "single 95 % Student t" in found.notes[0]


@pytest.mark.parametrize(("policies", "agreeing"), [(4, False), (5, False), (8, True), (20, True)])
def test_what_tracks_what_is_judged_by_joint_intervals(store: Store, policies: int, agreeing: bool) -> None:
    """Twelve scores in noise, and one in perfect order, which 5! orders allow too often among 13 scores."""
    draw = np.random.default_rng(policies)
    for i in range(policies):
        noise = [score(f"s{k}", float(draw.normal() - 0.2 * i)) for k in range(12)]
        add(store, {"trainer": f"t{i}"}, [score("exact_kl", i, direction="lower"), score("good", -i), *noise])
    (found,) = validity(store, "exact_kl")
    for one in found.to_dict()["scores"]:
        out = one["correlation"]["low"] is not None and (
            one["correlation"]["low"] > 0 or one["correlation"]["high"] < 0
        )
        assert (one["verdict"] in ("agrees", "disagrees")) == out, one
    assert found.agreements[0].score.metric == "good"
    assert (found.agreements[0].verdict == "agrees") == agreeing
    for line in as_plain(validity_drawn(found), 200).splitlines():
        if re.search(r"\d .*[\[(]-?[\d.]+, ", line) and line.startswith(" "):
            assert ("agrees" in line) == shown_to_leave_out_zero(line), line


def test_an_end_that_reads_as_zero_says_on_which_side_it_is() -> None:
    assert bounded(Interval(1.0, 1e-12, 2.0, 6)) == "1.0 (0, 2.0]"
    assert bounded(Interval(-1.0, -2.0, -1e-12, 6), "+") == "-1.0 [-2.0, 0)"
    assert bounded(Interval(1.0, 0.0, 2.0, 6), "+") == "+1.0 [0.0, 2.0]"
    assert bounded(Interval(2.0, None, None, 1)) == "2"
    assert bounded(Interval(2.0, 2.0, 2.0, 6)) == "2 [2, 2]"


# ---------------------------------------------------------------------------------------------- the headline


def rows(store: Store, values: dict[str, float], direction: str = "higher", best: float | None = None) -> None:
    """Eight seeds of each trainer around its value, and MLE at its best temperature around `best`."""
    wiggle = [0.01, -0.02, 0.03, 0.0, -0.01, 0.02, -0.03, 0.01]
    for seed in range(8):
        for place, (trainer, value) in enumerate(values.items()):
            own = value + wiggle[(seed + place) % 8]
            add(store, {"trainer": trainer}, [score("m", own, direction=direction)], seed=seed)
        if best is not None:
            add(store, BEST, [score("m", best + wiggle[(seed + 5) % 8], direction=direction)], seed=seed)


def headline(board: Leaderboard) -> str:
    """The headline, which is the first finding where the seeds can separate anything."""
    (table,) = board.tables
    if "yet" not in table.headline and "No row" not in table.headline:
        assert table.findings[0] == table.headline
    return table.headline


def test_a_row_beats_mle_and_mle_at_its_best_temperature_by_so_much(store: Store) -> None:
    """b is .5 above mle, and .3 above the control; c .1 above mle, and .1 below the control: it beats nothing."""
    rows(store, {"mle": 0.2, "b": 0.7, "c": 0.3}, best=0.4)
    found = headline(leaderboard(store))
    first, second, *_ = found.split(". ")
    assert re.fullmatch(
        r"b beats mle on m by 0\.50\d [\[(]\S+, \S+\] fraction and mle at its best temperature by 0\.\d+ \[\S+, \S+\] "
        r"fraction",
        first,
    ), first
    assert second.startswith(
        "Better than mle but not than mle at its best temperature, so beating nothing: c on m (by "
    )
    assert " but -0.1" in second
    assert "simultaneous 95 % intervals" in found


def test_where_only_sharpening_wins_nothing_beats_mle(store: Store) -> None:
    """Lower is better, so amounts are turned: b is .3 better than mle and level with the control."""
    rows(store, {"mle": 0.7, "b": 0.4}, direction="lower", best=0.4)
    found = headline(leaderboard(store))
    assert found.startswith(
        "Nothing beats mle here. Better than mle but not than mle at its best temperature, so beating"
    )
    assert re.search(
        r"b on m \(by 0\.3\d* \[0\.\d+, 0\.\d+\] fraction, but -?0\.0\d* \[-0\.\d+, 0\.\d+\] fraction", found
    )


def test_a_control_that_was_not_run_is_asked_for(store: Store) -> None:
    rows(store, {"mle": 0.2, "b": 0.7})
    found = headline(leaderboard(store, grid="g"))
    assert found.startswith("b beats mle on m by 0.50")
    assert re.search(
        r"what does not beat it beats nothing: `harness run g --store \S+` adds it, unless the grid says", found
    )
    assert "a filter may leave it out" in headline(leaderboard(store, grid="g", filters=["temperature=1"]))


def test_a_control_without_the_number_is_said_to_have_none(store: Store) -> None:
    rows(store, {"mle": 0.2, "b": 0.7})
    for seed in range(8):
        add(store, BEST, [score("m", None, reason="none")], seed=seed)
    found = headline(leaderboard(store))
    assert "fraction (mle at its best temperature has no number of it)" in found


def test_too_few_seeds_no_baseline_and_controls_as_baselines(store: Store) -> None:
    for seed in range(3):
        for trainer, value in (("mle", 0.2), ("b", 0.9)):
            add(store, {"trainer": trainer}, [score("m", value)], seed=seed)
    assert headline(leaderboard(store)).startswith("Nothing can be said to beat mle yet: 3 seeds cannot separate")
    assert headline(leaderboard(store, filters=["trainer=b"])).startswith("No row here is plain maximum")


def test_many_winners_are_counted(store: Store) -> None:
    rows(store, {"mle": 0.2} | {f"t{i}": 1.0 + i for i in range(5)}, best=0.3)
    found = headline(leaderboard(store))
    assert found.count(" beats mle on m by ") == 3
    assert "and so do 2 more rows on one score or another" in found


def test_the_control_is_that_of_the_baselines_settings(store: Store) -> None:
    """Another control, of MLE with noise in its contexts, is far better here, and is not the baseline's."""
    rows(store, {"mle": 0.2, "b": 0.7}, best=0.4)
    for seed in range(8):
        noisy = BEST | {"actions": {"context_noise": 0.1}}
        add(store, noisy, [score("m", 5.0)], seed=seed)
    assert "b beats mle on m by" in headline(leaderboard(store))
