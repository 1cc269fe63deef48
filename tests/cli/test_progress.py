"""Progress of a grid of three cells, as a log and as a terminal show it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import pytest
from rich.console import Console

from harness.cli.progress import Tally, follow
from harness.records.progress import Progress


def events() -> Iterator[Progress]:
    yield Progress("aa", 1, 3, "skipped", 1.0, "")
    yield Progress("bb", 2, 3, "train", 0.0, "")
    yield Progress("bb", 2, 3, "train", 0.5, "")
    yield Progress("bb", 2, 3, "score", 0.0, "")
    yield Progress("bb", 2, 3, "done", 1.0, "")
    yield Progress("cc", 3, 3, "train", 0.0, "")
    yield Progress("cc", 3, 3, "failed", 0.3, "no room for [bold]this[/bold]")


EXPECTED = Tally(cells=3, done=1, failed=1, skipped=1, failures=[("cc", "no room for [bold]this[/bold]")])


def test_a_log_gets_one_line_per_change_with_the_time_since_the_start() -> None:
    """The clock ticks 40 s per reading: the first reading is zero, and the second event is at 80 s = 0:01:20."""
    out = io.StringIO()
    ticks = itertools.count(0, 40)
    assert follow(events(), Console(file=out, width=20), clock=lambda: next(ticks)) == EXPECTED
    assert out.getvalue().splitlines() == [
        "0:00:40  cell 1/3  aa  skipped",
        "0:01:20  cell 2/3  bb  train",
        "0:02:40  cell 2/3  bb  score",
        "0:03:20  cell 2/3  bb  done  (2 of 3 cells, about 0:03:20 left)",
        "0:04:00  cell 3/3  cc  train",
        "0:04:40  cell 3/3  cc  failed  no room for [bold]this[/bold]  (2 of 3 cells, 1 failed)",
    ]


def test_a_log_is_never_silent_for_a_minute() -> None:
    """An event of each of two cells every 10 s for 3 minutes: beside its first one, a line of each after 60, 120 s."""
    found = (Progress(cell, 1, 2, "sample", second / 200, "") for second in range(0, 180, 10) for cell in ("aa", "bb"))
    out = io.StringIO()
    ticks = itertools.count(0, 5)
    follow(found, Console(file=out, width=80), clock=lambda: next(ticks))
    assert [line for line in out.getvalue().splitlines() if "aa" in line] == [
        "0:00:05  cell 1/2  aa  sample",
        "0:01:05  cell 1/2  aa  sample  30%",
        "0:02:05  cell 1/2  aa  sample  60%",
    ]


def test_a_terminal_gets_bars_and_the_same_tally() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    assert follow(events(), console) == EXPECTED
    assert "1 of 3 cells, time left known after the first" in out.getvalue()
    assert "2 of 3 cells, about 0:0" in out.getvalue()
    assert "2 of 3 cells, 1 failed " in out.getvalue()
    assert "cell 3 failed: no room for [bold]this[/bold]" in out.getvalue()


@pytest.mark.parametrize(
    ("tally", "seconds", "since", "text"),
    [
        (Tally(40, 0, 0, 0, []), 0, 5, "0 of 40 cells, time left known after the first"),
        (Tally(40, 0, 0, 10, []), 0, 5, "10 of 40 cells, time left known after the first"),  # found done: no speed
        (Tally(40, 10, 0, 10, []), 100, 0, "20 of 40 cells, about 0:03:20 left"),
        (Tally(40, 10, 0, 10, []), 100, 50, "20 of 40 cells, about 0:02:30 left"),
        (Tally(40, 10, 0, 29, []), 100, 50, "39 of 40 cells, about 0:00:00 left"),  # longer than the others
        (Tally(4, 0, 2, 0, []), 100, 0, "0 of 4 cells, 2 failed, about 0:01:40 left"),
        (Tally(4, 1, 3, 0, []), 100, 0, "1 of 4 cells, 3 failed"),
        (Tally(4, 4, 0, 0, []), 100, 0, "4 of 4 cells"),
    ],
)
def test_the_time_left_is_that_of_the_cells_that_ended_now(
    tally: Tally, seconds: float, since: float, text: str
) -> None:
    assert tally.text(seconds, since) == text


def test_an_empty_grid_is_no_problem() -> None:
    assert follow(iter(()), Console(file=io.StringIO())) == Tally(0, 0, 0, 0, [])
