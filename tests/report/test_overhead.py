"""What a step of an objective takes, beside MLE's at the same seed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from boards import ME, SM, add, mauve
from scipy import stats

from harness.config import RunConfig
from harness.errors import ConfigError
from harness.records import Step
from harness.report.overhead import Line, Overhead, overhead
from harness.report.rendering import as_plain
from harness.report.rendering import overhead as drawn
from harness.store import Store

BACK = {"backspace": True}


def trained(store: Store, config: dict[str, Any], seconds: float, tokens: int = 100, **more: Any) -> str:
    """A finished run whose training took this long, over ten steps unless `number` says otherwise."""
    step = Step(more.pop("number", 10), tokens=tokens, seconds=seconds, loss=1.0, lr=1e-3, terms={})
    return add(store, config, [mauve(0.5)], steps=[step], **more)


def only(found: list[Overhead]) -> Overhead:
    (one,) = found
    return one


def by_trainer(found: Overhead) -> dict[str, Line]:
    return {line.group["trainer.name"]: line for line in found.lines}


def test_ratios_are_geometric_means_over_seeds(store: Store) -> None:
    """2 and 8 times as long: 4 times, with Student's interval of the two logarithms; tokens are twice as many."""
    for seed, (mle, bc) in enumerate([(1.0, 2.0), (3.0, 24.0)]):
        trained(store, {}, mle, seed=seed)
        trained(store, {"trainer": "bc", "actions": BACK}, bc, tokens=200, seed=seed)
    found = only(overhead(store, grid="g"))
    lines = by_trainer(found)
    assert lines["mle"].ratios == {}
    assert lines["mle"].milliseconds.mean == pytest.approx(200)
    ratios = lines["bc"].ratios
    assert ratios["seconds"].mean == pytest.approx(4)
    low, high = stats.t.interval(0.95, 1, math.log(4), stats.sem([math.log(2), math.log(8)]))
    assert (ratios["seconds"].low, ratios["seconds"].high) == pytest.approx((math.exp(low), math.exp(high)))
    assert (ratios["tokens"].mean, ratios["tokens"].low, ratios["tokens"].high) == pytest.approx((2, 2, 2))
    assert ratios["seconds a token"].mean == pytest.approx(2)
    text = " ".join(as_plain(drawn(found)).split())
    assert "mle false 2 " in text
    assert "4.00 [0.00, " in text
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
    assert any(note.startswith("2 row(s) have no such run of mle to compare with") for note in found.notes)
    trained(store, {"training": {"rows": 7}}, 2.5)
    ratios = [line.ratios["seconds"].mean for line in only(overhead(store)).lines if line.ratios]
    assert ratios == pytest.approx([2])


def test_mle_that_sees_mistakes_is_no_partner(store: Store) -> None:
    trained(store, {}, 1.0)
    trained(store, {"actions": {"context_noise": 0.1}}, 4.0)
    (line,) = (line for line in only(overhead(store)).lines if line.ratios)
    assert line.group["actions.context_noise"] == 0.1
    assert line.ratios["seconds"].mean == pytest.approx(4)


def test_seeds_that_mle_lacks_are_left_out(store: Store) -> None:
    trained(store, {}, 1.0, seed=0)
    trained(store, {"trainer": "bc"}, 2.0, seed=0)
    trained(store, {"trainer": "bc"}, 50.0, seed=1)
    line = by_trainer(only(overhead(store)))["bc"]
    assert (line.n, line.ratios["seconds"].n, line.ratios["seconds"].mean) == (2, 1, pytest.approx(2))


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
    """Another machine, another number of threads, and a run that began before the last had ended."""
    facts = {"cpu": {"model": "a"}, "training_threads": [1]}
    trained(store, {}, 1.0, facts=facts)
    trained(store, {"trainer": "bc"}, 1.0, facts=facts)
    quiet = only(overhead(store)).notes
    assert len(quiet) == 2
    other = RunConfig.model_validate({"benchmark": "text", "trainer": "mle", "training": {"rows": 7}})
    store.enqueue("g", [other])
    assert store.claim(other.run_id, ME)
    trained(store, {"trainer": SM}, 1.0, facts={"cpu": {"model": "b"}, "training_threads": [2]})
    store.finish(other.run_id, ME, scores=[], prompts=[], rollouts=[], provenance={"data_hash": "d"} | facts)
    told = only(overhead(store)).notes[2:]
    assert told[0] == "these runs are from 2 machines, whose seconds do not compare"
    assert told[1] == "these runs were trained with unlike numbers of threads ([1], [2]); seconds do not compare"
    assert told[2].startswith("1 run(s) began before another had ended")
