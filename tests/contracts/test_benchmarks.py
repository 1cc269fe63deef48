"""Contract of every benchmark, built-in or third-party: registering is enough to be tested here."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest

from harness.config.section import Plugin
from harness.plugins.metric_names import parse_metric
from harness.plugins.options import build, options
from harness.records import Splits
from harness.registry import BENCHMARKS, METRICS

SMALL: dict[str, dict[str, Any]] = {"language": {"train": 300, "validation": 50, "test": 50}}
"""Options that make a benchmark quick; what is not named here is tested with its defaults."""

EVERY = pytest.mark.parametrize("name", list(BENCHMARKS))


@cache
def splits(name: str, seed: int = 0, again: bool = False) -> Splits:
    """The benchmark's splits; `again` makes a second, separately computed value."""
    given = Plugin(name=name, options={**SMALL.get(name, {}), "seed": seed})
    made: Splits = build(BENCHMARKS, given, "benchmark").splits()
    return made


@EVERY
def test_its_options_are_described(name: str) -> None:
    declared = options(BENCHMARKS[name])
    assert "seed" in {option.name for option in declared}
    assert all(option.description for option in declared), declared


@EVERY
def test_its_options_survive_being_written_out(name: str) -> None:
    """A stored configuration names every option; building from it gives the same benchmark."""
    benchmark = build(BENCHMARKS, Plugin(name=name, options=SMALL.get(name, {})), "benchmark")
    written = {option.name: getattr(benchmark, option.name) for option in options(BENCHMARKS[name])}
    assert build(BENCHMARKS, Plugin(name=name, options=written), "benchmark") == benchmark


@EVERY
def test_its_metrics_exist(name: str) -> None:
    assert BENCHMARKS[name].metrics
    for metric in BENCHMARKS[name].metrics:
        build(METRICS, parse_metric(metric), "metrics")


@EVERY
def test_same_seed_same_splits_and_another_seed_others(name: str) -> None:
    first, second, other = splits(name), splits(name, again=True), splits(name, seed=1)
    assert first is not second
    for part in ("train", "validation", "test", "prompts"):
        assert getattr(first, part) == getattr(second, part)
        assert getattr(first, part) != getattr(other, part)
    assert first.data_hash == second.data_hash != other.data_hash


@EVERY
def test_no_split_is_empty_and_no_text_either(name: str) -> None:
    made = splits(name)
    for part in (made.train, made.validation, made.test, made.prompts):
        assert part
        assert all(example.text for example in part)


@EVERY
def test_documents_are_disjoint_where_no_law_draws_them(name: str) -> None:
    """A known law may draw the same text twice; documents of a corpus stand in one split only."""
    made = splits(name)
    documents = [
        {" ".join((e.prompt + e.text).split()) for e in part} for part in (made.train, made.validation, made.test)
    ]
    if made.law is None:
        assert sum(map(len, documents)) == len(set().union(*documents))
    else:
        assert made.train[: len(made.test)] != made.test


@EVERY
def test_prompts_are_cut_from_the_test_documents(name: str) -> None:
    made = splits(name)
    documents = [example.prompt + example.text for example in made.test]
    for example in made.prompts:
        assert any(example.prompt + example.text in document for document in documents)


@EVERY
def test_splits_travel_between_processes(name: str) -> None:
    made = splits(name)
    assert pickle.loads(pickle.dumps(made)).data_hash == made.data_hash


@EVERY
def test_a_known_law_gives_every_text_a_chance_and_every_mistake_none(name: str) -> None:
    """Along each test text: probabilities sum to 1, the text's next symbol is possible, a mistake there is not."""
    made = splits(name)
    if made.law is None:
        pytest.skip(f"{name} has no exact law")
    generator = np.random.default_rng(0)
    for example in made.test:
        state = made.law.start
        for i, symbol in enumerate((*example.text, "")):
            chances = made.law.next(state)
            assert sum(chances.values()) == pytest.approx(1, abs=1e-9)
            assert chances[symbol] > 0
            if made.mistake is not None:
                assert chances.get(made.mistake(example.text[:i], generator), 0) == 0
            if symbol:
                after = made.law.advance(state, symbol)
                assert after is not None
                state = after
