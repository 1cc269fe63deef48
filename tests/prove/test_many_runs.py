"""Every page of the dashboard opens on a store of 10,000 runs, one grid of it or all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores import APP, PAGES, new, turn_to
from streamlit.testing.v1 import AppTest

from benchmarks.speed.dashboard import SEEDS, fill
from harness.storage.store import Store

pytestmark = pytest.mark.prove("dashboard pages on 10,000 runs", cases=2 * len(PAGES), seconds=50, alone=True)
RUNS = 10_000


def test_every_page_opens_on_many_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(new(tmp_path)) as store:
        fill(store, RUNS // SEEDS)
        assert len(store.runs(None, "done")) == RUNS
    monkeypatch.setenv("HARNESS_STORE", new(tmp_path))
    for grid in ("grid 9", "all runs"):
        app = AppTest.from_file(APP, default_timeout=600)
        app.query_params["grid"] = grid
        app.run()
        assert not app.exception
        for page in PAGES:
            assert len(turn_to(app, page).title) == 1
