"""Bulk reads of the pages over many runs: the newest grid, attempts, losses, profiles and facts, in one query each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import ME, RESULTS, config, running, score, step

from harness.records.score import Point, Profile
from harness.storage.queries import (
    Loss,
    Nodes,
    read_facts,
    read_grids,
    read_losses,
    read_names_by_data,
    read_nodes,
    read_profile,
    read_profile_names,
    read_timings,
)
from harness.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def profile(*points: Point) -> Profile:
    return Profile("lost_at", "law", {"texts": 9}, "position (tokens)", "fraction", "lower", points)


def test_the_newest_grid_comes_first(store: Store) -> None:
    store.enqueue("old", [config(0)])
    store.enqueue("new", [config(1), config(0)])
    store.enqueue("newest", [config(2)])
    assert read_grids(store) == ["newest", "new", "old"]


def test_attempts_say_when_and_why(store: Store) -> None:
    failed, done = running(store, 0), running(store, 1)
    store.fail(failed, ME, "out of memory")
    store.finish(done, ME, **RESULTS)
    (one,) = read_timings(store, "g", ["failed"])
    assert (one.run_id, one.error) == (failed, "out of memory")
    assert one.started is not None
    assert one.finished is not None
    assert [attempt.run_id for attempt in read_timings(store, None, ["failed", "done"])] == [failed, done]
    assert read_timings(store, "other", ["failed"]) == []


def test_losses_of_several_runs_in_order_of_steps(store: Store) -> None:
    """A loss that is not a number stays one."""
    first, second = running(store, 0), running(store, 1)
    store.log(first, ME, [step(1, 2.0), step(2, math.nan)])
    store.log(second, ME, [step(1, 3.0)])
    found = read_losses(store, [first, second, "nobody"])
    assert found[first][0] == Loss(1, 10, 0.5, 2.0)
    assert math.isnan(found[first][1].loss)
    assert [loss.loss for loss in found[second]] == [3.0]
    assert set(found) == {first, second}


def test_profiles_by_name_with_numbers_that_are_none(store: Store) -> None:
    ids = [running(store, seed) for seed in (0, 1)]
    store.finish(ids[0], ME, **RESULTS, profiles=[profile(Point(0.0, 0.5, 9), Point(1.0, math.inf, 3))])
    store.finish(ids[1], ME, **RESULTS)
    ((name,),) = read_profile_names(store, "g").values()
    assert (name.name, name.axis, name.direction) == ("lost_at@law[texts=9]", "position (tokens)", "lower")
    assert read_profile(store, name.name, ids) == {ids[0]: [(0.0, 0.5, 9), (1.0, math.inf, 3)]}
    assert read_profile_names(store, "other") == {}


def test_scores_by_data_and_facts_by_run(store: Store) -> None:
    """Two runs on data d and e; one says how many actions it sampled, and has a score without a number."""
    ids = [running(store, seed) for seed in (0, 1)]
    blank = score("exact_kl", None, "no law")
    facts = {"data_hash": "e", "sampled_actions": 5, "host": "here"}
    store.finish(ids[0], ME, **RESULTS)
    store.finish(ids[1], ME, **RESULTS | {"provenance": facts, "scores": [score("mauve"), score("zipf"), blank]})
    names = {data: [one.metric for one in found] for data, found in read_names_by_data(store, "g").items()}
    assert names == {"d": ["mauve"], "e": ["mauve", "zipf"]}
    assert read_facts(store, "g", ["host", "missing"]) == {ids[0]: {}, ids[1]: {"host": "here"}}
    assert read_nodes(store) == {ids[1]: Nodes(0, 5, 5)}, "an older run's tokens miss what it sampled"
