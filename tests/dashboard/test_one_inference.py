"""Colours and verdicts of a page say the same as the intervals beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import config, finish, new, score, shown, turn_to, words

from dashboard import boards, charts
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store

__all__ = ["shown"]

CLEAR = ("interval leaves out 0", boards.BETTER_ROW, boards.WORSE_ROW)


def nearly_constant(seeds: int) -> Any:
    """mle and bc, .2 apart but for noise of .001: Student's interval is far from 0 at two seeds, too."""

    def make(folder: Path) -> str:
        draw = np.random.default_rng(1)
        with Store(new(folder)) as store:
            for seed in range(seeds):
                for trainer, value in (("mle", 0.5), ("bc", 0.3)):
                    for back in (False, True):
                        own = value + seed / 10 + 0.001 * float(draw.normal())
                        finish(store, config(seed, back, trainer), scores=[score("out_of_support", own)])
        return new(folder)

    return make


@pytest.mark.parametrize("seeds", [2, 5, 7])
def test_ablations_judge_as_the_ranks_do(shown: Any, seeds: int) -> None:
    """Two or five seeds paint nothing; seven separate the trainers; <backspace>, which does nothing, stays grey."""
    told = words(turn_to(shown(nearly_constant(seeds)), "ablations"))
    assert "simultaneous 95 % interval of all 4 effects" in told
    judged = told.partition("Intervals that leave out 0: ")[2].partition(".")[0]
    assert judged == ("none" if seeds < 6 else "trainer = mle, trainer = bc")
    assert (f"{seeds} seeds cannot separate anything: it takes 6" in told) == (seeds < 6)


@pytest.mark.parametrize("seeds", [2, 5, 7])
def test_a_page_of_comparisons_names_its_intervals(shown: Any, seeds: int) -> None:
    """On Compare two seeds' difference is [-.2.., 0], seven seeds' is not, and the single ones are called single."""
    told = words(turn_to(shown(nearly_constant(seeds)), "compare"))
    assert "Mean ± single 95 % interval; below, the paired difference from" in told
    assert "[simultaneous 95 % interval]" in told


@pytest.mark.parametrize("seeds", [2, 5, 7])
def test_a_forest_colours_what_leaves_zero_out(seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[charts.Reading] = []

    def noted(readings: Sequence[charts.Reading], *, sentence: str, **_: Any) -> None:
        assert "simultaneous 95 % intervals" in sentence
        drawn.extend(readings)

    monkeypatch.setattr(charts, "intervals", noted)
    with Store.open(nearly_constant(seeds)(tmp_path), read_only=True) as store:
        (table,) = leaderboard(store).tables
    boards.forest(table, table.columns[0])
    assert len(drawn) == 3
    for one in drawn:
        assert one.low is not None
        assert one.high is not None
        assert (one.outcome in CLEAR) == (one.low > 0 or one.high < 0)
    assert any(one.outcome in CLEAR for one in drawn) == (seeds >= 6)
