"""Scores at an equal budget and along the way, against numbers put into the store by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from boards import ME, add, mauve

from harness.analysis.budgets import EqualBudget, pareto_front, score_curve, values_at
from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.records.training import Interim, Spent
from harness.report.board import Table
from harness.report.leaderboard import leaderboard
from harness.storage.queries import InterimValue, read_interims, read_runs
from harness.storage.store import Store

NAME = "mauve@mauve-text[featuriser=tiny]"


def scored(store: Store, trainer: str, seed: int, *points: tuple[int, int, float | None]) -> str:
    """A finished run with scores at points (step, tokens, mauve; None has a reason), at one second and ten tokens a
    step."""
    seeds = {"train": seed, "sample": seed, "metric": seed}
    run = RunConfig.model_validate({"benchmark": "text", "trainer": trainer, "seeds": seeds})
    store.enqueue("g", [run])
    assert store.claim(run.run_id, ME)
    found = []
    for step, tokens, value in points:
        given = mauve(value, reason=None if value is not None else "too short")
        spent, before = Spent(step, tokens, float(step)), Spent(step - 1, tokens - 10, step - 1.0)
        found.append(Interim(spent, before, (given,)))
    store.log(run.run_id, ME, [], None, found)
    facts = {"data_hash": "d"}
    store.finish(run.run_id, ME, scores=[mauve(0.9)], prompts=[], rollouts=[], backspace_id=None, provenance=facts)
    return run.run_id


def only(store: Store, **asked: Any) -> Table:
    (table,) = leaderboard(store, grid="g", **asked).tables
    return table


def means(table: Table) -> dict[str, float | None]:
    cells = {row.label: row.scores.get(NAME) for row in table.rows}
    return {label: cell and cell.interval and cell.interval.mean for label, cell in cells.items()}


def test_budgets_are_read() -> None:
    assert EqualBudget.parse("tokens=200000") == EqualBudget("tokens", 200_000)
    assert str(EqualBudget.parse(" seconds = 1.5")) == "seconds=1.5"
    assert EqualBudget.parse("steps=1e3") == EqualBudget("steps", 1000)
    for text, wanted in (
        ("tokens", "not a budget; write tokens=200000"),
        ("tokens=0", "not a budget"),
        ("tokens=-3", "not a budget"),
        ("token=3", "unknown unit 'token'; did you mean 'tokens'"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            EqualBudget.parse(text)


def test_the_last_score_within_the_budget_counts(store: Store) -> None:
    """mle stands at 100 and 200 tokens, bc at 150 and 300: at 250 tokens they have .2 and .5, at 120 bc has none."""
    for seed in (0, 1):
        scored(store, "mle", seed, (1, 100, 0.1), (2, 200, 0.2), (3, 300, 0.3))
        scored(store, "bc", seed, (1, 150, 0.5), (2, 300, 0.6))
    assert means(only(store, at="tokens=250")) == pytest.approx({"mle": 0.2, "bc": 0.5})
    assert means(only(store, at="tokens=300")) == pytest.approx({"mle": 0.3, "bc": 0.6})
    assert means(only(store, at="steps=2")) == pytest.approx({"mle": 0.2, "bc": 0.6})
    early = only(store, at="tokens=120")
    assert means(early) == {"mle": pytest.approx(0.1), "bc": None}
    assert "mauve: no value for 2 run(s): its first score while training stands at 150 tokens" in early.notes
    notes = leaderboard(store, grid="g", at="tokens=250").notes
    assert any("they stand at 150 to 200 tokens" in note for note in notes)
    assert means(only(store)) == pytest.approx({"mle": 0.9, "bc": 0.9}), "without a budget: at the end"


def test_rows_that_were_not_scored_on_the_way_say_so(store: Store) -> None:
    scored(store, "mle", 0, (1, 100, 0.1), (2, 200, None))
    add(store, {"trainer": "bc"}, [mauve(0.5)])
    table = only(store, at="tokens=100")
    assert "mauve: no value for 1 run(s): it was not scored while it trained: set evaluation.at_tokens" in table.notes
    assert "mauve: no value for 1 run(s): too short" in only(store, at="tokens=200").notes


def test_without_any_such_score_a_budget_is_refused(store: Store) -> None:
    add(store, {"trainer": "bc"}, [mauve(0.5)])
    with pytest.raises(ConfigError, match=r"no finished run was scored while training; set evaluation\.at_tokens"):
        leaderboard(store, grid="g", at="tokens=5")
    with pytest.raises(ConfigError, match="leave --per token out"):
        leaderboard(store, grid="g", at="tokens=5", per="token")


def test_values_are_those_of_the_store(store: Store) -> None:
    one = scored(store, "mle", 0, (1, 100, 0.1), (2, 200, None))
    names, interims = read_interims(store, "g")
    assert list(names) == [NAME]
    assert interims[NAME][one] == [
        InterimValue(1, 100, 1.0, 0.1, 90, 0.0),
        InterimValue(2, 200, 2.0, "too short", 190, 1.0),
    ]
    found, _ = values_at(interims, read_runs(store, "g"), EqualBudget("seconds", 1.0))
    assert found == {NAME: {one: 0.1}}
    assert read_interims(store, "other") == ({}, {})


def at(step: int, tokens: int, seconds: float, value: float) -> InterimValue:
    return InterimValue(step, tokens, seconds, value, 0, 0.0)


def test_a_budget_reaches_as_far_as_a_run_with_it(store: Store) -> None:
    """The step from 190 to 200 tokens is the last of a run with 191 to 200 of them, and none of a run with 190."""
    scored(store, "mle", 0, (1, 100, 0.1), (2, 200, 0.2))
    found = {tokens: means(only(store, at=f"tokens={tokens}"))["mle"] for tokens in (190, 191, 200, 222)}
    assert found == {190: pytest.approx(0.1), **dict.fromkeys((191, 200, 222), pytest.approx(0.2))}


def test_a_run_that_ended_far_below_the_budget_has_no_value_there(store: Store) -> None:
    """A run that ended at 200 tokens: 90 % of 222 is 199.8, of 223 it is 200.7."""
    scored(store, "mle", 0, (1, 100, 0.1), (2, 200, 0.2))
    table = only(store, at="tokens=223")
    assert means(table)["mle"] is None
    wanted = "mauve: no value for 1 run(s): it ended at 200 tokens, more than 10% below that budget"
    assert wanted in table.notes


def test_learning_rates_that_fell_are_told(store: Store) -> None:
    run_id = scored(store, "mle", 0, (1, 100, 0.1))
    (run,), (_, interims) = read_runs(store, "g"), read_interims(store, "g")
    assert run.run_id == run_id
    for schedule, noted in (("cosine", True), ("constant", False)):
        one = replace(run, config={**run.config, "training.schedule": schedule})
        _, where = values_at(interims, [one], EqualBudget("tokens", 100))
        assert (f"learning rates fell ({schedule}) over each run's own budget" in where) == noted


def test_a_way_is_the_mean_over_runs_at_each_point() -> None:
    """Two runs at (100, 120) and (200, 220) tokens: means 110 with .15 and 210 with .25; a third point has one run only
    and is left out."""
    scored = {
        "a": [at(1, 100, 1.0, 0.1), at(2, 200, 2.0, 0.2), at(3, 300, 3.0, 0.3)],
        "b": [at(1, 120, 2.0, 0.2), at(2, 220, 4.0, 0.3)],
    }
    first, second = score_curve(["a", "b", "never scored"], scored)
    assert (first.tokens, first.seconds, first.score.mean, first.score.n) == (110, 1.5, pytest.approx(0.15), 2)
    assert (second.steps, second.tokens, second.score.mean) == (2, 210, pytest.approx(0.25))
    assert score_curve(["never scored"], scored) == []


def test_a_front_by_hand() -> None:
    """Lower is better: (1, .5) and (3, .2) are on it; (2, .5) costs more for the same, (3, .4) is the worse of two."""
    assert pareto_front([1, 2, 3, 3], [0.5, 0.5, 0.2, 0.4], higher=False) == [True, False, True, False]
    assert pareto_front([1, 1], [0.5, 0.5], higher=True) == [True, True]
    assert pareto_front([], [], higher=True) == []
