"""Cost of a step of an objective, beside MLE's at the same seed."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from boards import ME, SM, add, mauve
from scipy import stats

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.records.training import Step
from harness.report.overhead import Overhead, OverheadRow, overhead
from harness.report.rendering import as_plain
from harness.report.rendering import overhead as drawn
from harness.storage.store import Store

BACK = {"backspace": True}


def trained(store: Store, config: dict[str, Any], seconds: float, tokens: int = 100, **more: Any) -> str:
    """A finished run whose training took this long, over ten steps unless `number` says otherwise."""
    step = Step(more.pop("number", 10), tokens=tokens, seconds=seconds, loss=1.0, lr=1e-3, terms={})
    return add(store, config, [mauve(0.5)], steps=[step], **more)


def only(found: list[Overhead]) -> Overhead:
    (one,) = found
    return one


def by_trainer(found: Overhead) -> dict[str, OverheadRow]:
    return {line.group["trainer.name"]: line for line in found.lines}


def test_ratios_are_geometric_means_over_seeds(store: Store) -> None:
    """2 and 8 times as long: 4 times, with Student's interval of the two logarithms; tokens are twice as many."""
    for seed, (mle, bc) in enumerate([(1.0, 2.0), (3.0, 24.0)]):
        trained(store, {}, mle, seed=seed)
        trained(store, {"trainer": "bc", "actions": BACK}, bc, tokens=200, seed=seed)
    found = only(overhead(store, grid="g"))
    lines = by_trainer(found)
    assert lines["mle"].ratios == {}
    assert lines["mle"].milliseconds.mean == pytest.approx(math.sqrt(100 * 300))
    ratios = lines["bc"].ratios
    assert ratios["seconds"].mean == pytest.approx(4)
    low, high = stats.t.interval(0.95, 1, math.log(4), stats.sem([math.log(2), math.log(8)]))
    assert (ratios["seconds"].low, ratios["seconds"].high) == pytest.approx((math.exp(low), math.exp(high)))
    assert (ratios["tokens"].mean, ratios["tokens"].low, ratios["tokens"].high) == pytest.approx((2, 2, 2))
    assert ratios["seconds a token"].mean == pytest.approx(2)
    text = " ".join(as_plain(drawn(found)).split())
    assert "mle false 2 " in text
    assert "4.00 [0.000599, 2.67e+04]" in text
    assert "2.00 [2.00, 2.00]" in text
    (row,) = (row for row in found.to_dict()["rows"] if row["group"]["trainer.name"] == "bc")
    assert row["ratios"]["tokens"]["n"] == 2


def test_one_step_is_compared_whatever_the_budget(store: Store) -> None:
    trained(store, {}, 1.0)
    trained(store, {"trainer": "bc", "training": {"steps": 40}}, 8.0, tokens=400, number=40)
    line = by_trainer(only(overhead(store)))["bc"]
    assert {name: one.mean for name, one in line.ratios.items()} == pytest.approx(
        {"seconds": 2, "tokens": 1, "seconds a token": 2}
    )


def test_tokens_of_older_runs_include_what_was_sampled(store: Store) -> None:
    trained(store, {}, 1.0)
    trained(store, {"trainer": SM}, 1.0, sampled_actions=50)
    assert by_trainer(only(overhead(store)))["sequence_match"].ratios["tokens"].mean == pytest.approx(1.5)


def test_the_partner_has_the_same_model_and_rows(store: Store) -> None:
    """A wider model and a larger batch have no MLE here, and are not compared with another one's."""
    trained(store, {}, 1.0)
    for config in ({"model": {"name": "gpt2", "width": 32}}, {"training": {"rows": 7}}):
        trained(store, {"trainer": "bc", **config}, 5.0)
    found = only(overhead(store))
    assert [bool(line.ratios) for line in found.lines] == [False, False, False]
    assert "to compare with: bc width=32 rows=32; bc width=64 rows=7; run" in found.notes[2]
    assert found.notes[2].endswith("run the grid with trainer=mle actions.backspace=false and their other settings")
    trained(store, {"training": {"rows": 7}}, 2.5)
    ratios = [line.ratios["seconds"].mean for line in only(overhead(store)).lines if line.ratios]
    assert ratios == pytest.approx([2])


def test_mle_that_sees_mistakes_is_no_partner(store: Store) -> None:
    trained(store, {}, 1.0)
    trained(store, {"actions": {"context_noise": 0.1}}, 4.0)
    (line,) = (line for line in only(overhead(store)).lines if line.ratios)
    assert line.group["actions.context_noise"] == 0.1
    assert line.ratios["seconds"].mean == pytest.approx(4)


def test_the_partner_has_the_same_budget_where_there_is_one(store: Store) -> None:
    """400 steps of MLE took 10 ms each, 800 took 30: a BC of one of these has its own, one of 200 steps their mean."""
    for steps, seconds in ((400, 4.0), (800, 24.0)):
        trained(store, {"training": {"steps": steps}}, seconds, number=steps)
        trained(store, {"trainer": "bc", "training": {"steps": steps}}, 2 * seconds, number=steps)
    found = only(overhead(store))
    ratios = [line.ratios["seconds"].mean for line in found.lines if line.ratios]
    assert (ratios, len(found.notes)) == (pytest.approx([2, 2]), 2)
    trained(store, {"trainer": "bc", "training": {"steps": 200}}, 4.0, number=200)
    found = only(overhead(store))
    assert [line.ratios["seconds"].mean for line in found.lines if line.ratios] == pytest.approx([2, 2, 1])
    assert found.notes[2].startswith("mle ran with other settings of training only, and is their mean, for: bc step")


def test_what_a_row_does_not_have_is_a_dash(store: Store) -> None:
    trained(store, {"training": {"steps": 10}}, 1.0)
    trained(store, {"training": {"tokens": 100}}, 1.0)
    text = " ".join(as_plain(drawn(only(overhead(store)))).split())
    assert " 10 – 1 100 " in text
    assert " – 100 1 100 " in text


def test_a_filter_chooses_rows_and_not_their_partner(store: Store) -> None:
    trained(store, {}, 1.0)
    trained(store, {"trainer": "bc"}, 2.0)
    trained(store, {"trainer": SM}, 4.0)
    (line,) = only(overhead(store, filters=["trainer=bc"])).lines
    assert line.ratios["seconds"].mean == pytest.approx(2)


def test_seeds_that_mle_lacks_are_left_out(store: Store) -> None:
    trained(store, {}, 1.0, seed=0)
    trained(store, {"trainer": "bc"}, 2.0, seed=0)
    trained(store, {"trainer": "bc"}, 50.0, seed=1)
    found = only(overhead(store))
    line = by_trainer(found)["bc"]
    assert (line.n, line.ratios["seconds"].n, line.ratios["seconds"].mean) == (2, 1, pytest.approx(2))
    assert "bc 1 of 2" in " ".join(as_plain(drawn(found)).split())


def test_a_narrow_terminal_loses_no_number(store: Store) -> None:
    for seed in (0, 1):
        trained(store, {}, 1.0 + seed, seed=seed)
        trained(store, {"trainer": {**SM, "divergence": "kl_mixture"}, "actions": BACK}, 2.0, seed=seed)
    found = only(overhead(store))
    wide, narrow = as_plain(drawn(found), 200), as_plain(drawn(found), 60)
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines())) <= 60
    for number in re.findall(r"\d+\.\d+", wide.partition("ms a step and")[0]):
        assert number in narrow


def test_decoders_of_one_training_are_one_row(store: Store) -> None:
    for more in ({}, {"sampling": {"top_p": 0.9}}, {"evaluation": {"at_steps": [5]}}):
        for seed in (0, 1):
            trained(store, more, 1.0, seed=seed)
            trained(store, more | {"trainer": "bc"}, 3.0, seed=seed)
    found = only(overhead(store))
    assert (found.keys, [line.n for line in found.lines]) == (("trainer.name",), [2, 2])
    assert by_trainer(found)["bc"].ratios["seconds"].mean == pytest.approx(3)


def test_controls_and_untrained_runs_cost_nothing(store: Store) -> None:
    add(store, {"control": "expert"}, [mauve(0.9)])
    with pytest.raises(ConfigError, match="no finished run was trained, so there is no cost"):
        overhead(store)
    trained(store, {}, 1.0)
    trained(store, {"sampling": {"temperature": "best"}}, 1.0)
    assert len(only(overhead(store)).lines) == 1
    with pytest.raises(ConfigError, match=r"among those with trainer=mle and trainer!=mle"):
        overhead(store, filters=["trainer=mle", "trainer!=mle"])


def test_what_spoils_seconds_is_told(store: Store) -> None:
    """Another machine, another number of threads, and one that was trained on the first machine by another run."""
    facts = {"cpu": {"model": "a"}, "training_threads": [1]}
    first = trained(store, {}, 1.0, facts=facts)
    trained(store, {"trainer": "bc"}, 1.0, facts=facts)
    trained(store, {"sampling": {"top_p": 0.9}}, 1.0, facts={"cpu": {"model": "b"}, "trained_by": first})
    assert len(only(overhead(store)).notes) == 2
    trained(store, {"trainer": SM}, 1.0, facts={"cpu": {"model": "b"}, "training_threads": [2]})
    assert only(overhead(store)).notes[2:] == (
        "these runs are from 2 machines, whose seconds do not compare",
        "these runs were trained with unlike numbers of threads ([1], [2]); seconds do not compare",
    )
    assert len(only(overhead(store, filters=["trainer=bc"])).notes) == 2
    trained(store, {"benchmark": "language"}, 1.0, facts={"cpu": {"model": "c"}}, data_hash="e")
    assert [note[:27] for note in overhead(store)[0].notes[2:]] == [
        "these runs are from 2 machi",
        "these runs were trained wit",
    ]


def test_company_is_told(store: Store) -> None:
    """A run of any grid that is still going, or has failed, was beside those that were under way meanwhile."""
    trained(store, {}, 1.0)
    other = RunConfig.model_validate({"benchmark": "text", "trainer": "mle", "training": {"rows": 7}})
    store.enqueue("another", [other])
    assert store.claim(other.run_id, ME)
    trained(store, {"trainer": "bc"}, 1.0)
    trained(store, {"trainer": SM}, 1.0)
    note = "2 of 3 runs had another one of this store beside them, which may have slowed them"
    assert only(overhead(store, grid="g")).notes[2].startswith(note)
    store.fail(other.run_id, ME, "no room")
    assert only(overhead(store, grid="g")).notes[2].startswith(note)
    trained(store, {"trainer": "td_mle"}, 1.0)
    assert only(overhead(store, grid="g")).notes[2].startswith("2 of 4 runs")
    long = RunConfig.model_validate({"benchmark": "text", "trainer": "mle", "training": {"rows": 9}})
    store.enqueue("g", [long])
    assert store.claim(long.run_id, ME)
    store.log(long.run_id, ME, [Step(10, tokens=9, seconds=9.0, loss=1.0, lr=1e-3, terms={})])
    trained(store, {"trainer": "bc"}, 1.0, seed=1)
    nothing: dict[str, Any] = {"scores": [], "prompts": [], "rollouts": [], "backspace_id": None}
    store.finish(long.run_id, ME, **nothing, provenance={"data_hash": "d"})
    assert only(overhead(store, grid="g")).notes[-1].startswith("4 of 6 runs")
