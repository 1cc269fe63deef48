"""Every choice of every widget of every page on six stores: nothing fails, nothing is silent, no value is missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from choices import Reading
from stores import PAGES, changed_corpus, failed_again, one_run, one_seed, sample, two_benchmarks

SIX = (one_run, two_benchmarks, changed_corpus, one_seed, failed_again, sample)
QUICK = [(make, page) for make in (one_run, failed_again) for page in PAGES if page != "leaderboard"]
QUICK += [(two_benchmarks, page) for page in ("overview", "compare", "samples", "exact_lab", "cost")]
LEAST = 1700  # choices of all pages on all stores


@cache
def url(make: Callable[[Path], str]) -> str:
    return make(Path(mkdtemp()))


@pytest.mark.parametrize(("make", "page"), QUICK, ids=lambda one: getattr(one, "__name__", one))
def test_every_choice_says_something(make: Callable[[Path], str], page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_STORE", url(make))
    assert not Reading(page, monkeypatch).read().failed


@pytest.mark.prove("every choice of every page", cases=LEAST, seconds=160)
def test_every_choice_of_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0
    for make in SIX:
        monkeypatch.setenv("HARNESS_STORE", url(make))
        for page in PAGES:
            with monkeypatch.context() as patched:
                read = Reading(page, patched).read()
            assert not read.failed, make
            opened += len(read.opened)
    assert opened >= LEAST
