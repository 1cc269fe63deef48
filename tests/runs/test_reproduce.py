"""A finished run trained again: the same bits, the same within what seeds vary, or not the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.errors import HarnessError
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.runner.grid import run_grid
from harness.runner.options import DEFAULT
from harness.runs.reproduce import Compared, Verdict, reproduce
from harness.storage.store import Store
from harness.system import sqlite

GRID = """
base:
  benchmark: {name: language, length: 6, train: 64, validation: 8, test: 8}
  trainer: mle
  model: {layers: 1, width: 8, heads: 2, tokenizer: characters, context: 8, base_steps: 2}
  training: {steps: 10, rows: 2, lr: 3e-3}
  sampling: {rollouts: 8}
  metrics: [exact_kl, actions, length]
seeds: 3
controls: false
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "g.yaml").write_text(GRID)
    with Store(f"sqlite:///{folder}/runs.db") as opened:
        list(run_grid(check(load_grid(str(folder / "g.yaml"))), opened, grid_name="g"))
        assert opened.counts()["done"] == 3
        yield opened


def verdict(store: Store, run_id: str) -> Verdict:
    steps = reproduce(store, run_id, DEFAULT)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        found: Verdict = stop.value
        return found


def test_trained_again_it_is_identical(store: Store) -> None:
    run_id = store.runs()["run_id"][0]
    found = verdict(store, run_id)
    assert (found.word, found.differs, found.scores, found.sentence) == ("identical", (), (), "identical")
    assert list(store.reproductions(run_id)["verdict"]) == ["identical"]
    assert store.reproductions()["details"][0]["packages"]["torch"]


@pytest.mark.parametrize(("far", "word"), [(False, "statistically equal"), (True, "different")])
def test_a_score_that_moved_is_judged_by_what_seeds_vary(store: Store, far: bool, word: str) -> None:
    """One seed's exact_kl moved by half of what the three span; or all three by 100, more than any two seeds differ."""
    run_id = store.runs()["run_id"][1]
    scores = store.scores("g")
    before = scores[scores["metric"] == "exact_kl"].set_index("run_id")["value"]
    moved = dict.fromkeys(before.index, 100.0) if far else {run_id: (before.max() - before.min()) / 2}
    for one, shift in moved.items():
        put(store, one, before[one] + shift)
    found = verdict(store, run_id)
    for one in moved:
        put(store, one, before[one])
    assert (found.word, found.differs) == (word, ("scores",))
    assert [one.name.partition("@")[0] for one in found.scores] == ["exact_kl"]
    assert "farthest: exact_kl@" in found.sentence


def put(store: Store, run_id: str, value: float) -> None:
    with sqlite.driver.connect(store.path) as connection:
        connection.execute(
            "UPDATE scores SET value = ? WHERE run_id = ? AND metric = 'exact_kl'", (float(value), run_id)
        )


def test_close_by_hand() -> None:
    """Two values at distance 1: equal by a margin of 1, not by .9, not without one; NaN is NaN."""
    assert Compared("x", 1.0, 2.0, 1.0).close
    assert not Compared("x", 1.0, 2.0, 0.9).close
    assert not Compared("x", 1.0, 2.0, None).close
    assert Compared("x", float("nan"), float("nan"), None).close
    sentence = Verdict("different", ("scores",), (Compared("x", 1.0, 2.0, None),), {"torch": ["1", "2"]}).sentence
    assert sentence == (
        "different: not the same bits in scores; farthest: x 1, now 2 (margin no other seeds to take one from); "
        "torch was 1, is 2"
    )


def test_an_unfinished_run_cannot_be_compared(store: Store) -> None:
    config = store.config(store.runs()["run_id"][0])
    other = config.model_copy(update={"seeds": config.seeds.model_copy(update={"train": 99})})
    store.enqueue("other", [other])
    with pytest.raises(HarnessError, match="is not finished"):
        verdict(store, other.run_id)


def test_asked_to_stop_it_raises_keyboard_interrupt(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(reproduce(store, store.runs()["run_id"][0], DEFAULT, lambda: True))
