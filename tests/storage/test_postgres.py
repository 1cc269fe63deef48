"""The same store on a PostgreSQL server: same values, same claims, same refusals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import server
from stored import ME, RESULTS, config, running, score, step
from writers import filled, many_writers

from harness.cli.doctor import examine
from harness.errors import StoreError
from harness.storage.queries import read_grids, read_runs
from harness.storage.queue import LostClaim
from harness.storage.removal import archive, remove, restore
from harness.storage.store import Store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store: the tables of the test before are dropped."""
    import psycopg

    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    (Path(url.partition("?files=")[2]) / "store.id").unlink(missing_ok=True)
    with Store(url) as opened:
        yield opened


def test_a_grid_is_removed_with_its_files_and_a_claimed_one_is_not(store: Store) -> None:
    store.enqueue("a", [config(0)])
    assert store.claim(config(0).run_id, ME)
    with pytest.raises(StoreError, match="being computed"):
        remove(store, ["a"], [])
    store.finish(config(0).run_id, ME, **RESULTS)
    assert remove(store, ["a"], []).files == 1
    assert (store.grids(), len(store.runs())) == ([], 0)


def test_what_is_archived_is_left_out_and_claimed_by_none(store: Store) -> None:
    """a: runs 0, 1, archived; b: runs 1, 2, of which 2 is archived: 1 is left, of b."""
    store.enqueue("a", [config(0), config(1)])
    store.enqueue("b", [config(1), config(2)])
    archive(store, ["a"], [config(2).run_id])
    with pytest.raises(StoreError, match="is archived"):
        remove(store, ["a"], [])
    left = [config(1).run_id]
    assert store.grids() == read_grids(store) == ["b"]
    assert [run.run_id for run in read_runs(store)] == list(store.runs("b")["run_id"]) == left
    assert list(store.unfinished()) == left
    assert (claim := store.claim_next(ME)) is not None
    assert claim.run_id == left[0]
    assert store.claim_next(ME) is None
    with Store.open(store.url, read_only=True) as reading, pytest.raises(StoreError, match="for reading only"):
        restore(reading, ["a"], [])
    restore(store, ["a"], [config(2).run_id])
    assert len(store.unfinished()) == 3


def test_numbers_and_texts_come_back_exactly(store: Store) -> None:
    run_id = running(store)
    store.log(run_id, ME, [step(1, math.nan, r=math.inf, s=0.1 + 0.2), step(2, 5e-324)])
    assert repr(list(store.curves(run_id)["loss"])) == "[nan, 5e-324]"
    assert repr(list(store.curves(run_id)["terms.s"])) == "[0.30000000000000004, nan]"
    given = [score("a", 0.25, path="x\ud800"), score("b", None, "too few\x00"), score("c", math.inf)]
    store.finish(run_id, ME, **{**RESULTS, "scores": given})
    found = store.scores(run_id=run_id)
    assert repr(list(found["value"])) == "[0.25, nan, inf]"
    assert found["reason"][1] == "too few\x00"
    assert list(store.rollouts(run_id)["text"]) == [" b"]
    assert store.config(run_id) == config()
    assert store.counts() == {"cells": 1, "done": 1, "failed": 0, "running": 0, "pending": 0}


def test_leases_and_fences_hold(store: Store, url: str) -> None:
    (run_id,) = filled(store)
    with Store(url, lease=-1.0) as short:
        slow = short.claim_next("elsewhere:1:1")
    quick = store.claim_next(ME)
    assert slow is not None
    assert quick is not None
    with pytest.raises(LostClaim):
        store.log(run_id, slow.owner, [step(1)])
    store.log(run_id, quick.owner, [step(1)])
    assert store.claim_next("elsewhere:2:1") is None
    assert abs(store.database_time() - time.time()) < 5


def test_the_dead_are_buried_without_waiting_for_who_buries_them_too(store: Store, url: str) -> None:
    """Two runs of dead processes; another transaction has touched one and stays open: the other run is free at once.

    Were the row waited for, two supervisors that bury in different orders would wait for each other.
    """
    import psycopg

    first, second = filled(store, 2)
    here = ME.rsplit(":", 2)[0]
    gone = [f"{here}:999999998:1.0", f"{here}:999999999:1.0"]
    assert store.claim(first, gone[0])
    assert store.claim(second, gone[1])
    assert [row.owner for row in store.runs().itertuples()] == gone
    with psycopg.connect(url.partition("?")[0]) as other, Store(f"{url}&options=-clock_timeout%3D2000") as impatient:
        other.execute("UPDATE runs SET lease_until = 0 WHERE run_id = %s", (first,))
        claim = impatient.claim_next(ME)
        assert claim is not None
        assert claim.run_id == second
    again = store.claim_next(ME)
    assert again is not None
    assert again.run_id == first


def test_eight_writers_are_never_turned_away(store: Store, url: str) -> None:
    filled(store, 16)
    assert many_writers(url, 8, 4, 120) == 16 * 4 * 4
    assert len(store.attempts()) == 16 * 4


def test_the_doctor_looks_at_it(store: Store, url: str) -> None:
    running(store)
    found = {finding.what: finding for finding in examine(url, deep=True)}
    assert {one.what for one in found.values() if one.state == "problem"} == set()
    assert found["rows"].found == "1 runs can be read"


def test_who_cannot_be_reached_is_told_with_advice(url: str, store: Store) -> None:
    with pytest.raises(StoreError, match="create the database with createdb"):
        Store(url.replace("/postgres?", "/nowhere?"))
    with pytest.raises(StoreError, match="start the PostgreSQL server"):
        Store("postgresql://harness@127.0.0.1:1/postgres?files=/tmp")
    with pytest.raises(StoreError, match="is a server, not a file"):
        _ = store.path
    with pytest.raises(StoreError, match="for reading only"), Store.open(url, read_only=True) as reader:
        reader.enqueue("g", [config()])


def test_two_databases_do_not_share_a_folder(url: str, store: Store) -> None:
    """A second database with the same `?files=` is refused, and so is the first one made anew; passwords are hidden."""
    import psycopg

    bare, _, files = url.partition("?files=")
    with psycopg.connect(bare, autocommit=True) as connection:
        connection.execute("CREATE DATABASE second")
    second = url.replace("/postgres?", "/second?")
    own = second.replace("harness@", r"harness:\*\*\*@").replace("?", r"\?") + "/second;"
    with pytest.raises(StoreError, match=f"the files in {files} belong to postgres; .* --store {own}"):
        Store(second.replace("harness@", "harness:secret@"))
    Store(f"{second}/second").close()
    Store(url).close()
    with psycopg.connect(bare, autocommit=True) as connection:
        connection.execute("UPDATE meta SET value = 'new' WHERE key = 'store'")
    with pytest.raises(StoreError, match=f"belong to an earlier postgres; .* gone for good, remove {files}/store.id"):
        Store(url)


def test_a_password_is_printed_nowhere(url: str) -> None:
    with pytest.raises(StoreError, match=r"^postgresql://harness:\*\*\*@.* Connection refused") as caught:
        Store("postgresql://harness:secret@127.0.0.1:1/postgres?files=/tmp")
    assert "secret" not in str(caught.value)


def test_waits_end_and_what_the_url_says_of_them_holds(url: str, store: Store) -> None:
    """Its own options come after ours: lock_timeout is theirs, idle_in_transaction_session_timeout ours."""
    with Store.open(f"{url}&options=-c%20lock_timeout%3D5s", read_only=True) as other:
        for name, expected in (
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "1min"),
            ("default_transaction_read_only", "on"),
        ):
            with other.database.read() as connection:
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() == expected


def test_nothing_is_stored_before_the_first_run(url: str, store: Store) -> None:
    import psycopg

    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    with pytest.raises(StoreError, match="nothing is stored there yet"):
        Store.open(url, read_only=True)


def test_files_have_a_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"say where with \?files=/FOLDER"):
        Store("postgresql://host/db?files=relative")
