"""A recorder whose store refuses the end of a stalled process, and one whose claim is lost meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stored import config

from harness.errors import StoreError
from harness.runner.options import RunnerOptions
from harness.runner.recorder import CellRecorder, Ended
from harness.runner.worker_process import ProcessFailure
from harness.storage.store import Store

OWNER, OTHER = "elsewhere:1:1", "elsewhere:2:2"  # of another host: nothing is known of their processes
STALLED = ProcessFailure("stalled", "its process sent no message")


class Refusing(Store):
    """A store that refuses to write the end of an attempt so many times."""

    refusals = 0

    def fail(self, *args: Any, **named: Any) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise StoreError("the server is starting up")
        super().fail(*args, **named)


class Stalled:
    """A process that has sent its last message; `ended` says that the recorder ended it."""

    ended = False

    def poll(self) -> ProcessFailure:
        return STALLED

    def end(self) -> None:
        self.ended = True

    close = end

    def output(self) -> str:
        return "the last lines"


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Refusing]:
    with Refusing(f"sqlite:///{tmp_path}/runs.db", lease=-1.0) as opened:  # every lease is over at once
        opened.enqueue("g", [config()])
        yield opened


def recorder(store: Store) -> tuple[CellRecorder, Stalled]:
    claim = store.claim_next(OWNER)
    assert claim is not None
    process = Stalled()
    return CellRecorder(store, RunnerOptions(), claim, process, 0), process  # type: ignore[arg-type]


def test_a_stall_that_the_store_refuses_is_written_later_with_its_first_decision(refusing: Refusing) -> None:
    """Refused while the cell could be tried again, written when it could not: the cell is free all the same."""
    cell, process = recorder(refusing)
    refusing.refusals = 1
    with pytest.raises(StoreError, match="starting up"):
        list(cell.poll(again=True))
    assert cell.held
    assert list(cell.poll(again=False)) == [Ended("waiting", STALLED.error)]
    assert (cell.held, process.ended) == (False, True)
    (attempt,) = refusing.attempts().to_dict("records")
    assert (attempt["outcome"], attempt["output"]) == ("stalled", "the last lines")
    assert refusing.counts()["pending"] == 1


def test_a_claim_that_is_lost_before_the_stall_is_written_writes_nothing(refusing: Refusing) -> None:
    """The lease runs out while the store refuses; another worker has the cell, and keeps it."""
    cell, process = recorder(refusing)
    refusing.refusals = 1
    with pytest.raises(StoreError, match="starting up"):
        list(cell.poll(again=True))
    taken = refusing.claim_next(OTHER)
    assert taken is not None
    (end,) = cell.poll(again=True)
    assert isinstance(end, Ended)
    assert end.stage == "waiting"
    assert f"held by {taken.owner}" in end.error
    assert (cell.held, process.ended) == (False, True)
    assert list(refusing.attempts()["outcome"]) == ["lost", "running"]
    cell.release()  # of a claim that is not held: nothing
    assert list(refusing.attempts()["outcome"]) == ["lost", "running"]
