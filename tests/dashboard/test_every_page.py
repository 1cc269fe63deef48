"""Every page opens on whatever store there is, and says what it has or what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stores import (
    APP,
    PAGES,
    STORES,
    config,
    failed_grid,
    finish,
    new,
    nothing,
    older,
    running_grid,
    score,
    shown,
    turn_to,
    two_groups,
    words,
)

from harness.storage.removal import archive
from harness.storage.store import Store

__all__ = ["shown"]


@pytest.mark.parametrize("make", STORES, ids=lambda make: make.__name__)
def test_every_page_opens(shown: Any, make: Any) -> None:
    app = shown(make)
    assert not app.exception
    for page in PAGES:
        assert len(turn_to(app, page).title) == 1


def test_without_a_store_every_page_says_how_to_make_one(shown: Any) -> None:
    assert "nothing is stored there yet; `harness run GRID" in words(shown(nothing))


def test_an_older_store_says_what_reads_it(shown: Any) -> None:
    assert "has schema version 0, this harness reads" in words(shown(older))


def test_unknown_parameters_change_nothing(shown: Any) -> None:
    query = {
        "grid": "nobody",
        "benchmark": "<b>",
        "group": "none",
        "seed": "x",
        "sample": "-3",
        "score": "?",
        "page": "99",
    }
    app = shown(two_groups, **query, utm_source="mail", run="abc", per="lightyear")
    for page in PAGES:
        turn_to(app, page)
    assert app.session_state["chosen_grid"] == "g"


def put_away(folder: Path) -> str:
    """Beside two groups, a newer grid of a third trainer, and a third trainer's run of g, both archived."""
    url = two_groups(folder, seeds=2)
    with Store(url) as store:
        finish(store, config(0, trainer="unlikelihood"), grid="put-away")
        archive(store, ["put-away"], [finish(store, config(1, trainer="unlikelihood"))])
    return url


@pytest.mark.parametrize("query", [{}, {"grid": "all runs"}, {"grid": "put-away"}])
def test_no_page_shows_what_is_archived(shown: Any, query: dict[str, str]) -> None:
    """The address of the archived grid says what brings it back, and opens another."""
    app = shown(put_away, **query)
    said = "Grid put-away is archived; `harness restore put-away` brings it back. This page shows g instead."
    assert (said in words(app)) == ("put-away" in query.values())
    for page in PAGES:
        turn_to(app, page)
        assert list(app.sidebar.selectbox[0].options) == ["g", "all runs"]
        shown_text = words(app).replace(said, "") + "".join(str(chart.proto) for chart in app.get("vega_lite_chart"))
        assert "unlikelihood" not in shown_text, page


def test_what_beats_mle_is_said_first(shown: Any) -> None:
    """bc's out_of_support is .2 lower at each of seven seeds, its perplexity too; diversity does not differ."""
    text = words(shown(two_groups))
    assert "bc backspace beats mle on out_of_support by 0.1967 [0.1944, 0.1989] fraction, and on perplexity." in text


def test_failures_stand_with_the_command_that_tries_again(shown: Any) -> None:
    app = shown(failed_grid)
    assert "OutOfMemory: seed 0" in words(app)
    assert [code.value.startswith("harness run g --store=sqlite:///") for code in app.code] == [True]
    turn_to(app, "run")
    assert "Traceback" in words(app)


def test_a_running_grid_shows_how_far_it_is(shown: Any) -> None:
    """Half of 1,000 steps; the page lists the cell at work, and the matrix its state."""
    app = shown(running_grid)
    assert "50%" in words(app)
    assert "mle, seed 1" in words(app)
    text = words(turn_to(app, "grid"))
    assert all(status in text for status in ("done", "running", "pending", "failed"))


def test_replay_starts_where_something_is_deleted_and_plays(shown: Any) -> None:
    """Actions a, x, <backspace>, b, end: step 3 is the deletion; Next is b, Back twice the x."""
    app = turn_to(shown(two_groups), "replay")
    assert "It takes “x” back" in words(app)
    assert app.slider[0].value == 3
    button = {one.key: one for one in app.button}
    button["next"].click().run()
    assert "It writes “b”" in words(app)
    assert app.slider[0].value == 4
    app.slider[0].set_value(2).run()
    assert "It will take this back at step 3" in words(app)
    {one.key: one for one in app.button}["play"].click().run()
    assert app.session_state["playing"] is not None


def test_a_filter_that_nothing_fulfils_is_an_advice_not_an_error(shown: Any) -> None:
    app = turn_to(shown(two_groups), "leaderboard")
    app.text_input[0].set_value("trainer=nobody").run()
    assert not app.exception
    assert "no finished run has trainer.name=nobody" in words(app)
    app.text_input[0].set_value("trainer=bc").run()
    assert "mle" not in words(app).split()


def test_the_dashboard_leaves_torch_out(tmp_path: Path) -> None:
    """In a fresh process every module of the dashboard is imported, every page is shown, and torch is not there."""
    url = two_groups(tmp_path)
    modules = sorted(
        f"dashboard.{path.stem}" for path in APP.parent.glob("*.py") if path.stem not in ("__init__", "app")
    )
    program = f"""
import importlib, sys
for name in {modules}: importlib.import_module(name)
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(APP)!r}, default_timeout=120).run()
for page in {PAGES}:
    app.switch_page(f"app_pages/{{page}}.py").run()
    assert not app.exception, (page, app.exception)
heavy = [name for name in ("torch", "transformers", "mauve") if name in sys.modules]
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "HARNESS_STORE": url}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("query", "seen"), [({}, False), ({"all": "true"}, True)])
def test_an_address_with_all_scores_shows_them_at_once(shown: Any, query: dict[str, str], seen: bool) -> None:
    """`rare` is no score that a leaderboard shows unasked."""

    def make(folder: Path) -> str:
        with Store(new(folder)) as store:
            for backspace, trainer in ((False, "mle"), (True, "bc")):
                finish(store, config(0, backspace, trainer), scores=[score("rare", 0.5), score("perplexity", 10.0)])
        return new(folder)

    assert ("rare" in words(turn_to(shown(make, **query), "compare"))) is seen


def test_played_as_it_opens_a_replay_begins_at_the_beginning(shown: Any) -> None:
    """The player opens at 3; Play goes to 1, its first tick to 2.  Moved to 4 and played, it goes on from there."""
    app = turn_to(shown(two_groups), "replay")

    def press(name: str) -> int:
        {one.key: one for one in app.button}[name].click().run()
        step: int = app.slider[0].value
        return step

    assert press("play") in (1, 2)
    press("play")
    app.slider[0].set_value(4).run()
    assert press("play") in (4, 5)
