"""Many workers share one store: every claim is one worker's, every number is written once, no worker is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from stored import ME, RESULTS, step
from writers import filled, many_writers

from harness.errors import StoreError
from harness.records.events import SavedCheckpoint
from harness.storage.database import Database
from harness.storage.engines import PAUSE
from harness.storage.queries import read_runs
from harness.storage.queue import LostClaim
from harness.storage.store import Store
from harness.system.sqlite import driver


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def test_claims_come_in_order_and_among_what_was_asked_for(store: Store) -> None:
    """Three runs: the second alone is asked for, then any: the first, the third, none."""
    ids = filled(store, 3)
    claims = [store.claim_next(ME, [ids[1]]), *(store.claim_next(ME) for _ in range(3))]
    assert [claim and claim.run_id for claim in claims] == [ids[1], ids[0], ids[2], None]
    assert all(claim is None or (claim.owner, claim.attempt) == (f"{ME}#1", 1) for claim in claims)
    assert set(store.unfinished()) == set(ids)
    assert set(store.unfinished([ids[2]])) == {ids[2]}


def test_a_lease_that_is_over_is_anybodys_and_its_last_owner_is_refused(store: Store) -> None:
    """`slow` holds the run for no time at all; `quick` takes it, and each of the late writes is refused."""
    (run_id,) = filled(store)
    with Store(store.url, lease=-1.0) as short:
        slow = short.claim_next("elsewhere:1:1")
    assert slow is not None
    assert store.counts()["pending"] == 1
    quick = store.claim_next("elsewhere:1:1")  # the same owner, another attempt
    assert quick is not None
    assert (slow.owner, quick.owner) == ("elsewhere:1:1#1", "elsewhere:1:1#2")
    assert store.claim_next(ME) is None
    for write in (
        lambda: store.heartbeat(run_id, slow.owner),
        lambda: store.log(run_id, slow.owner, [step(1)]),
        lambda: store.log(run_id, slow.owner, [], SavedCheckpoint(1, "x", "y", 1)),
        lambda: store.rewind(run_id, slow.owner, 0),
        lambda: store.fail(run_id, slow.owner, "late"),
        lambda: store.release(run_id, slow.owner),
        lambda: store.finish(run_id, slow.owner, **RESULTS),
    ):
        with pytest.raises(LostClaim, match="held by elsewhere:1:1#2"):
            write()
    assert store.checkpoints(run_id) == ()
    store.finish(run_id, quick.owner, **RESULTS)
    assert list(store.attempts(run_id)["outcome"]) == ["lost", "done"]


def test_what_is_free_is_told_by_the_databases_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is an hour fast, then an hour slow: the holders of runs, present and past, stay the same."""
    held, over = filled(store, 2)
    assert store.claim(held, "elsewhere:1:1")
    with Store(store.url, lease=-1.0) as short:
        assert short.claim(over, "elsewhere:1:2")
    seconds = time.time
    for wrong in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: seconds() + wrong)
        status = {held: "running", over: "pending"}
        assert store.runs().set_index("run_id")["status"].to_dict() == status
        assert {run.run_id: run.status for run in read_runs(store)} == status
        assert (store.counts()["running"], store.counts()["pending"]) == (1, 1)


def test_every_write_renews_the_lease(store: Store) -> None:
    (run_id,) = filled(store)
    with Store(store.url, lease=-1.0) as short:
        claim = short.claim_next("elsewhere:1:1")
    assert claim is not None
    store.heartbeat(run_id, claim.owner)
    assert store.claim_next(ME) is None
    assert store.hosts() == {"elsewhere"}


def test_a_claim_goes_on_from_the_newest_checkpoint_and_cuts_what_lies_beyond(store: Store) -> None:
    """Points 1, 2, checkpoint 2, points 3, 4, checkpoint 4, point 5; then a third checkpoint: two are kept."""
    (run_id,) = filled(store)
    claim = store.claim_next(ME)
    assert claim is not None
    folder = store.folder / "checkpoints" / run_id
    folder.mkdir(parents=True)
    saved = [SavedCheckpoint(n, f"checkpoints/{run_id}/1-{n}.safetensors", "abc", 1) for n in (2, 4, 6)]
    for one in saved:
        (store.folder / one.path).touch()
    (folder / "1-5.safetensors").touch()  # written, never registered
    store.log(run_id, claim.owner, [step(1), step(2)], saved[0])
    store.log(run_id, claim.owner, [step(3), step(4)], saved[1])
    store.log(run_id, claim.owner, [step(5)])
    store.release(run_id, claim.owner)
    assert list(store.runs()["step"]) == [4]
    again = store.claim_next(ME)
    assert again is not None
    assert again.checkpoints == (saved[1], saved[0])
    assert list(store.curves(run_id)["step"]) == [1, 2, 3, 4]
    assert sorted(file.name for file in folder.iterdir()) == ["1-2.safetensors", "1-4.safetensors"]
    (store.folder / saved[2].path).touch()
    store.log(run_id, again.owner, [step(5), step(6)], saved[2])
    assert store.checkpoints(run_id) == (saved[2], saved[1])
    assert sorted(file.name for file in folder.iterdir()) == ["1-4.safetensors", "1-6.safetensors"]
    store.rewind(run_id, again.owner, 4)
    assert store.checkpoints(run_id) == (saved[1],)
    assert list(store.curves(run_id)["step"]) == [1, 2, 3, 4]
    assert list(store.attempts(run_id)["from_step"]) == [0, 4]
    store.finish(run_id, again.owner, **RESULTS)
    assert not folder.exists()
    assert store.checkpoints(run_id) == ()


def test_a_checkpoint_and_its_points_are_one_transaction(store: Store) -> None:
    """A point that is there already stops the transaction: the checkpoint that came with it does not count either."""
    (run_id,) = filled(store)
    claim = store.claim_next(ME)
    assert claim is not None
    store.log(run_id, claim.owner, [step(1)])
    with pytest.raises(Exception, match="UNIQUE"):
        store.log(run_id, claim.owner, [step(1)], SavedCheckpoint(1, "x", "y", 1))
    assert store.checkpoints(run_id) == ()


def test_sweeping_removes_what_nobody_can_need(store: Store) -> None:
    first, second = filled(store, 2)
    for name in (first, second, "0123456789abcdef"):
        (store.folder / "checkpoints" / name).mkdir(parents=True)
    assert store.claim(second, ME)
    store.finish(second, ME, **RESULTS)
    (store.folder / "checkpoints" / second).mkdir(exist_ok=True)
    store.sweep()
    assert [folder.name for folder in (store.folder / "checkpoints").iterdir()] == [first]


def test_eight_writers_never_hear_that_the_store_is_locked(store: Store) -> None:
    """16 runs x 8 attempts x 4 transactions; each attempt was one worker's."""
    filled(store, 16)
    assert many_writers(store.url, 8, 8, 120) == 16 * 8 * 4
    assert len(store.attempts()) == 16 * 8
    assert store.counts() == {"cells": 16, "done": 0, "failed": 16, "running": 0, "pending": 0}


def test_a_writer_waits_as_long_as_others_get_on_and_no_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of 1 s: sixteen transactions of .1 s, one right after the other, are waited for; one endless is not."""
    monkeypatch.setattr("harness.storage.engines.BUSY_SECONDS", 1)
    (run_id,) = filled(store)
    store.claim_next(ME)
    database = Database(store.url, "rw")
    holds, enough = threading.Event(), threading.Event()

    def others(seconds: list[float]) -> None:
        for number, pause in enumerate(seconds):
            with database.write() as connection:
                connection.execute(sa.text("UPDATE runs SET step = :step"), {"step": number})
                holds.set()
                enough.wait(pause)

    other = threading.Thread(target=others, args=([0.1] * 16,))
    other.start()
    holds.wait()
    store.heartbeat(run_id, f"{ME}#1")
    other.join()
    holds.clear()
    other = threading.Thread(target=others, args=([60.0],))
    other.start()
    holds.wait()
    with pytest.raises(StoreError, match="database is locked; another process has been writing"):
        store.heartbeat(run_id, f"{ME}#1")
    enough.set()
    other.join()


def test_a_writer_asks_less_often_while_nobody_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of 1 s, and the longest pauses drawn: they begin at .05 s, only grow, and end near half a second."""
    (run_id,) = filled(store)
    store.claim_next(ME)
    longest: list[float] = []

    def uniform(low: float, high: float) -> float:
        longest.append(high)
        return high

    monkeypatch.setattr("harness.storage.engines.BUSY_SECONDS", 1)
    monkeypatch.setattr("harness.storage.engines.random.uniform", uniform)
    with Database(store.url, "rw").write() as other:
        other.execute(sa.text("UPDATE runs SET step = 1"))
        with pytest.raises(StoreError, match="database is locked"):
            store.heartbeat(run_id, f"{ME}#1")
    assert longest[0] == PAUSE
    assert longest == sorted(longest)
    assert 0.2 < longest[-1] <= 0.51


def test_a_writer_waits_for_one_that_keeps_readers_out(store: Store) -> None:
    """As in a file that was recovered and has no write-ahead log: nothing at all can be read for .3 s."""
    (run_id,) = filled(store)
    store.claim_next(ME)
    store.close()
    other = driver.connect(store.folder / "runs.db", isolation_level=None, check_same_thread=False)
    assert other.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.3, other.rollback).start()
    store.heartbeat(run_id, f"{ME}#1")
