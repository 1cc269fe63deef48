"""A page opens at every choice of its widgets, also where two tables share a score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from choices import Reading
from stores import changed_corpus, config, finish, new, score, shown, sizes, turn_to, words

from harness.storage.store import Store

__all__ = ["shown"]

OF_TABLES = ("exact_lab", "overview")  # pages that draw widgets for each table


@pytest.mark.parametrize("page", OF_TABLES)
@pytest.mark.parametrize("make", [sizes, changed_corpus], ids=lambda make: make.__name__)
def test_every_choice_opens_where_tables_share_a_score(
    make: Callable[[Path], str], page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_STORE", make(tmp_path))
    read = Reading(page, monkeypatch).read()
    assert len(read.opened) >= 8
    assert not read.failed


@pytest.mark.parametrize(("length", "found"), [(12, "-1.00"), (24, "1.00")])
def test_what_tracks_what_is_of_the_chosen_benchmark_alone(shown: Any, length: int, found: str) -> None:
    """On three lengths of `language` out_of_support rises with the seed, and `good` falls, rises and stays the same.

    Rank correlations with `good` are -1 and 1; the third has none, which is no reason to refuse the other two.
    """

    def make(folder: Path) -> str:
        with Store(new(folder)) as store:
            for size, slope in ((12, -1.0), (24, 1.0), (36, 0.0)):
                for seed in range(6):
                    run = config(seed, benchmark={"name": "language", "length": size})
                    scores = [score("out_of_support", seed / 10), score("good", slope * seed)]
                    finish(store, run, scores=scores)
        return new(folder)

    app = turn_to(shown(make, benchmark=f"language (length={length})", score="good"), "exact_lab")
    told = words(app)
    assert "it is the same for all" not in told
    assert told.count("Rank correlation with good@law") == 1
    assert told.split().count(found) == 1


def test_two_benchmarks_that_read_alike_are_two_choices(shown: Any) -> None:
    """A line break in a corpus's name reads ↵, as that character does: each of the two still has a name of its own."""

    def make(folder: Path) -> str:
        with Store(new(folder)) as store:
            for place, corpus in enumerate(("a\nb.jsonl", "a↵b.jsonl")):
                for seed in range(2):
                    for trainer in ("mle", "bc"):
                        run = config(seed, trainer == "bc", trainer, benchmark={"name": "text", "corpus": corpus})
                        finish(store, run, 0.5 + seed / 100, provenance={"data_hash": f"d{place}"})
        return new(folder)

    app = shown(make)
    assert not app.exception, [str(one.value) for one in app.exception]
    app = turn_to(app, "exact_lab")
    (benchmarks,) = [one.options for one in app.selectbox if one.label == "Benchmark"]
    assert len(set(benchmarks)) == 2
