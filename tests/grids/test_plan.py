"""Cells that are left and the time that they may take, from finished runs with invented times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from harness.config.run import RunConfig
from harness.grids.grid import Grid
from harness.grids.plan import Plan, plan
from harness.grids.yaml_file import Document


def cells(seeds: int, trainer: dict[str, Any]) -> list[RunConfig]:
    base = {"benchmark": "language", "trainer": trainer}
    return Grid.read(Document({"base": base, "seeds": seeds}, "test"), "test").expand()


def row(config: RunConfig, status: str, seconds: float = 0.0) -> dict[str, Any]:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"started": started, "finished": started + timedelta(seconds=seconds)}
    return {"run_id": config.run_id, "group_id": config.group_id, "status": status, **times, **config.flat()}


def test_other_seeds_tell_the_time() -> None:
    """Finished seeds took 10, 20 and 60 s, median 20; one failed and one is missing: 2 x 20 = 40 s."""
    five = cells(5, {"name": "mle"})
    rows = [row(cell, "done", taken) for cell, taken in zip(five, (10, 20, 60), strict=False)] + [
        row(five[3], "failed")
    ]
    assert plan(five, rows) == Plan(cells=5, done=3, failed=1, running=0, pending=1, seconds=40.0, unknown=0)


def test_a_similar_run_tells_the_time_where_no_seed_does() -> None:
    """alpha does not change the cost of a step, the trainer does: 2 cells x 30 s, and nothing is known of bc."""
    finished = cells(1, {"name": "sequence_match", "alpha": 0.5})[0]
    rows = [row(finished, "done", 30)]
    assert plan(cells(2, {"name": "sequence_match", "alpha": 0.1}), rows).seconds == 60
    assert plan(cells(2, {"name": "bc"}), rows) == Plan(2, 0, 0, 0, 2, seconds=None, unknown=2)
    both = [*cells(2, {"name": "sequence_match", "alpha": 0.1}), *cells(2, {"name": "bc"})]
    assert (plan(both, rows).seconds, plan(both, rows).unknown) == (60, 2)


def test_seeds_come_before_similar_runs() -> None:
    """The seed that is done took 10 s, a run with another alpha 100 s: the missing seed is expected to take 10."""
    two = cells(2, {"name": "sequence_match", "alpha": 0.1})
    other = cells(1, {"name": "sequence_match", "alpha": 0.5})[0]
    assert plan(two, [row(other, "done", 100), row(two[0], "done", 10), row(other, "done", 100)]).seconds == 10


def test_nothing_left_takes_no_time() -> None:
    one = cells(1, {"name": "mle"})
    assert plan(one, [row(one[0], "done", 9)]).seconds == 0
    assert plan(one, []).seconds is None
