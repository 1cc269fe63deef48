"""The store keeps every number exactly, lets one owner at a time write, and says what to do when it cannot."""

from __future__ import annotations

import math
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stored import ME, RESULTS, config, rollout, running, score, step

from harness.errors import StoreError
from harness.records.data import Example
from harness.records.score import Point, Profile
from harness.storage.queue import LostClaim
from harness.storage.schema import escape, unescape
from harness.storage.store import Store
from harness.system import processes, sqlite
from harness.system.processes import has_ended, host_of, this_owner


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/deep/runs.db") as opened:
        yield opened


def test_it_needs_no_signal_that_windows_lacks() -> None:
    program = "import psutil, signal; del signal.SIGKILL, signal.SIGSTOP; import harness.storage.store"
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------------------------------------------- grids


def test_enqueue_again_changes_nothing_and_new_cells_come_last(store: Store) -> None:
    """Cells 0, 1 at positions 0, 1; the grid grows to 2, 0, 1: cell 2 takes position 2, the others stay."""
    old = [config(0), config(1)]
    store.enqueue("g", old)
    assert store.claim(old[0].run_id, ME)
    store.enqueue("g", [config(2), *old])
    assert list(store.runs("g")["seeds.train"]) == [0, 1, 2]
    assert list(store.runs("g")["status"]) == ["running", "pending", "pending"]
    assert store.counts("g") == {"cells": 3, "done": 0, "failed": 0, "running": 1, "pending": 2}


def test_equal_cells_collapse_and_a_run_may_stand_in_two_grids(store: Store) -> None:
    store.enqueue("g", [config(0), config(0)])
    store.enqueue("h", [config(1), config(0)])
    assert store.counts("g")["cells"] == 1
    assert list(store.runs("h")["seeds.train"]) == [1, 0]
    assert store.counts()["cells"] == 2
    assert store.grids() == ["g", "h"]


def test_configuration_comes_back_with_its_identity(store: Store) -> None:
    run = config(3, alpha=0.1, window=[1, 2])
    store.enqueue("g", [run])
    assert store.config(run.run_id) == run
    assert store.config(run.run_id).run_id == run.run_id


def test_runs_keep_types_where_some_runs_lack_an_option(store: Store) -> None:
    """`size` is the integer 3 in one run and absent in the other: it must not turn into 3.0."""
    store.enqueue("g", [config(size=3), config(1)])
    column = store.runs("g")["trainer.size"]
    assert column[0] == 3
    assert isinstance(column[0], int)
    assert pd.isna(column[1])
    columns = [name for name in store.runs("g").columns if name.startswith(("benchmark", "trainer", "actions.back"))]
    assert columns == ["benchmark.name", "trainer.name", "trainer.size", "actions.backspace"]
    assert store.runs("g", status="done").empty
    assert store.runs("nothing").empty


# ---------------------------------------------------------------------------------------------- exact numbers


def test_curve_restores_every_float(store: Store) -> None:
    """SQLite turns NaN into NULL and JSON has no infinity; 0.1 + 0.2 needs all its 17 digits."""
    run_id = running(store)
    store.log(run_id, ME, [step(1, math.nan, r=math.inf, s=0.1 + 0.2), step(2, -math.inf, r=math.nan, s=-0.0)])
    store.log(run_id, ME, [step(3, 5e-324, r=-math.inf)])
    store.log(run_id, ME, [])
    curve = store.curves(run_id)
    assert list(curve["step"]) == [1, 2, 3]
    assert list(curve["tokens"]) == [10, 20, 30]
    assert repr(list(curve["loss"])) == "[nan, -inf, 5e-324]"
    assert repr(list(curve["terms.r"])) == "[inf, nan, -inf]"
    assert repr(list(curve["terms.s"])) == "[0.30000000000000004, -0.0, nan]"
    assert list(store.runs().loc[0, ["step", "tokens", "seconds"]]) == [3, 30, 1.5]


def test_sql_averages_do_not_count_what_is_not_a_number(store: Store) -> None:
    """AVG over 2.0, NaN, inf must be 2.0 in any other tool that opens the file, not (2 + 0 + 0) / 3."""
    run_id = running(store)
    store.log(run_id, ME, [step(1, 2.0), step(2, math.nan), step(3, math.inf)])
    with sqlite.driver.connect(store.path) as connection:
        assert connection.execute("SELECT avg(loss) FROM curves").fetchone() == (2.0,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_scores_come_back_with_reason_kind_and_parameters(store: Store) -> None:
    run_id = running(store)
    given = [
        score("a", 0.25, size=3, path="x\ud800"),
        score("b", None, "fewer than 32 texts\x00"),
        score("c", math.nan),
        score("d", math.inf),
        score("e", -math.inf),
    ]
    store.finish(run_id, ME, **{**RESULTS, "scores": given})
    found = store.scores(run_id=run_id)
    assert list(found["name"]) == [one.name for one in given]
    assert repr(list(found["value"])) == "[0.25, nan, nan, inf, -inf]"
    assert list(found["kind"]) == ["finite", None, "nan", "+inf", "-inf"]
    assert found["reason"][1] == "fewer than 32 texts\x00"
    assert found["parameters"][0] == {"size": 3, "path": "x\ud800"}
    assert found.equals(store.scores("g"))
    assert store.scores("other").empty


def test_rollouts_come_back_exactly(store: Store) -> None:
    texts = ["plain", "", "nul\x00", "half \ud83d pair", "\ufdd0d83d", "é\n\U0001f600"]
    run_id = running(store)
    prompts = [Example(prompt=text, text=text + "!") for text in texts]
    rollouts = [rollout(text) for text in texts]
    store.finish(run_id, ME, **{**RESULTS, "prompts": prompts, "rollouts": rollouts})
    found = store.rollouts(run_id)
    assert list(found["text"]) == texts == list(found["prompt"])
    assert list(found["reference"]) == [text + "!" for text in texts]
    first = found.loc[0]
    assert first["actions"] == [7, 9, 8]
    assert first["injected"] == [True, False, False]
    assert first["log_probs"] == [0.0, -0.1, -2.5]
    assert (first["prompt_tokens"], first["tokens"], first["stop"]) == ([5], [8], "ended")


def test_escape_is_reversible_and_leaves_ordinary_text_alone() -> None:
    rng = random.Random(0)
    alphabet = "a\\é\x00\ud800\udfff\ufdd00d8\U0001f600"
    for _ in range(2000):
        text = "".join(rng.choices(alphabet, k=rng.randrange(8)))
        assert unescape(escape(text)) == text
        escape(text).encode()
    assert escape("C:\\é \ufffd") == "C:\\é \ufffd"


def test_provenance_keeps_what_json_cannot_say(store: Store) -> None:
    run_id = running(store)
    assert store.provenance(run_id) is None
    store.finish(run_id, ME, **{**RESULTS, "provenance": {"data_hash": "d1", "where": Path("/x"), "gap": math.inf}})
    assert store.provenance(run_id) == {"data_hash": "d1", "where": "/x", "gap": math.inf}
    assert store.runs()["data_hash"][0] == "d1"


# ------------------------------------------------------------------------------------------------------ claims


def test_one_of_many_claims_wins(store: Store) -> None:
    run = config()
    store.enqueue("g", [run])
    won: list[bool] = []
    start = threading.Barrier(8)

    def attempt(name: int) -> None:
        start.wait()
        won.append(store.claim(run.run_id, f"elsewhere:{name}:0"))

    threads = [threading.Thread(target=attempt, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_dead_process_loses_its_claim_and_a_live_one_keeps_it(store: Store) -> None:
    run_id = running(store)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        theirs = this_owner().replace(f":{os.getpid()}:", f":{child.pid}:")
        theirs = theirs.rpartition(":")[0] + ":" + _start_of(child.pid)
        assert not has_ended(theirs)
        store.release(run_id, ME)
        assert store.claim(run_id, theirs)
        store.log(run_id, theirs, [step(1)])
        assert not store.claim(run_id, ME)
        assert store.counts("g")["running"] == 1
    finally:
        child.kill()
    deadline = time.monotonic() + 10
    while not has_ended(theirs):  # killed, and not yet reaped: a zombie holds nothing
        assert time.monotonic() < deadline
    assert store.counts("g") == {"cells": 1, "done": 0, "failed": 0, "running": 0, "pending": 1}
    assert store.claim(run_id, ME)
    assert store.curves(run_id).empty
    child.wait()
    with pytest.raises(LostClaim, match=f"held by {ME}"):
        store.log(run_id, theirs, [step(2)])


def _start_of(pid: int) -> str:
    import psutil

    return f"{psutil.Process(pid).create_time() - psutil.boot_time():.2f}"


def test_only_owners_of_this_place_can_be_dead() -> None:
    """A pid that came again has another start; other hosts, other places and other names are never judged."""
    here, pid, start = ME.rsplit(":", 2)
    assert here.partition("/")[0] == host_of(ME) == platform.node()
    assert not has_ended(ME)
    assert has_ended(f"{here}:{pid}:{float(start) - 100}")
    assert has_ended(f"{here}:999999999:{start}")
    names = (f"{here}x:999999999:1", f"{host_of(ME)}:999999999:1", f"x{here}:999999999:1")
    for unknown in (*names, "somebody", "", f"{here}:pid:1", f"{here}:{pid}:soon"):
        assert not has_ended(unknown)


@pytest.mark.parametrize("what", ["BOOT", "NAMESPACE"])
def test_a_container_with_our_name_is_not_here(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process 999999999 lives there: another boot, or another namespace of pids, under the same host's name."""
    other = tmp_path / "other"
    other.write_text("0f0e") if what == "BOOT" else other.symlink_to("pid:[4]")
    here = ME.rsplit(":", 2)[0]
    monkeypatch.setattr(processes, what, other)
    assert not has_ended(f"{here}:999999999:1")
    assert has_ended(f"{processes._here()}:999999999:1")
    assert host_of(f"{processes._here()}:1:1") == platform.node()


def test_who_lost_the_claim_changes_nothing(store: Store) -> None:
    """`late` stalls, gives way to ME, wakes up: none of its writes arrive, and ME's rollouts file stays."""
    run_id = running(store)
    store.finish(run_id, ME, **RESULTS)
    before = _everything(store)
    late = "elsewhere:1:1"
    writes: list[Callable[[], None]] = [
        lambda: store.log(run_id, late, [step(9)]),
        lambda: store.finish(run_id, late, **{**RESULTS, "rollouts": [rollout("other")]}),
        lambda: store.fail(run_id, late, "x"),
        lambda: store.release(run_id, late),
        lambda: store.finish(run_id, ME, **RESULTS),
    ]
    for write in writes:
        with pytest.raises(LostClaim, match="done"):
            write()
    assert _everything(store) == before
    assert list(store.rollouts(run_id)["text"]) == [" b"]
    assert [file.name for file in (store.path.parent / "rollouts").iterdir()] == [f"{run_id}.parquet"]
    assert not store.claim(run_id, ME)


def _everything(store: Store) -> list[list[tuple[Any, ...]]]:
    with sqlite.driver.connect(store.path) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("runs", "curves", "scores")]


def test_failed_runs_are_tried_again_from_scratch(store: Store) -> None:
    run_id = running(store)
    store.log(run_id, ME, [step(1)])
    store.fail(run_id, ME, "loss is nan at step 1")
    assert store.runs()["error"][0] == "loss is nan at step 1"
    assert len(store.curves(run_id)) == 1
    assert store.claim(run_id, "elsewhere:1:1")
    assert store.curves(run_id).empty
    assert list(store.runs().loc[0, ["status", "error", "attempts"]]) == ["running", None, 2]


def test_an_owner_may_start_over_and_what_its_attempt_left_is_removed(store: Store) -> None:
    run_id = running(store)
    store.log(run_id, ME, [step(1)])
    leftover = store.path.parent / "rollouts" / f"{run_id}.0.partial"
    leftover.parent.mkdir()
    leftover.touch()
    assert store.claim(run_id, ME)
    assert store.curves(run_id).empty
    assert not leftover.exists()


def test_released_runs_are_as_if_never_started(store: Store) -> None:
    run = config()
    store.enqueue("g", [run])
    before = store.runs().drop(columns="attempts")
    assert store.claim(run.run_id, ME)
    store.log(run.run_id, ME, [step(1)])
    store.release(run.run_id, ME)
    assert store.runs().drop(columns="attempts").equals(before)
    assert store.curves(run.run_id).empty


def test_finish_is_all_or_nothing(store: Store) -> None:
    """Two scores of one name cannot be stored; the run then is still running, without scores and files."""
    run_id = running(store)
    with pytest.raises(StoreError, match="UNIQUE"):
        store.finish(run_id, ME, **{**RESULTS, "scores": [score(), score()]})
    assert store.counts("g")["running"] == 1
    assert store.scores().empty
    assert list((store.path.parent / "rollouts").iterdir()) == []
    with pytest.raises(ValueError, match="1 rollouts for 0 prompts"):
        store.finish(run_id, ME, **{**RESULTS, "prompts": []})
    in_the_way = store.path.parent / "rollouts" / f"{run_id}.parquet"
    in_the_way.mkdir()
    with pytest.raises(StoreError, match="directory"):
        store.finish(run_id, ME, **RESULTS)
    assert [file.name for file in in_the_way.parent.iterdir()] == [in_the_way.name]
    assert store.scores().empty
    in_the_way.rmdir()
    store.finish(run_id, ME, **RESULTS)
    assert store.counts("g")["done"] == 1


PROCESS = """
import sys
from harness.system.processes import this_owner
from harness.storage.store import Store
from stored import config, RESULTS, step
store, owner = Store(sys.argv[1]), this_owner()
runs = [config(seed) for seed in range(12)]
store.enqueue("g", runs)
for run in runs:
    if store.claim(run.run_id, owner):
        store.log(run.run_id, owner, [step(1), step(2)])
        store.finish(run.run_id, owner, **RESULTS)
        print(run.run_id)
"""


def test_processes_that_start_together_share_one_grid(tmp_path: Path) -> None:
    """Four processes create the same store at the same time and run 12 cells: each cell once, nothing locked."""
    command = [sys.executable, "-c", PROCESS, f"sqlite:///{tmp_path}/runs.db"]
    root = Path(__file__).resolve().parents[1]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, cwd=root, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [err for _, err in outputs] == [""] * 4
    ran = [line for out, _ in outputs for line in out.split()]
    assert sorted(ran) == sorted(config(seed).run_id for seed in range(12))


def test_profiles_come_back_point_by_point(store: Store) -> None:
    """A value that is not finite comes back as it was, though JSON has no word for it."""
    run_id = running(store)
    points = (Point(0.0, 1.0, 7), Point(0.05, math.inf, 3))
    profile = Profile("excess_error", "law", {"n": 2}, "position (characters)", "ratio", "lower", points)
    store.finish(run_id, ME, **{**RESULTS, "profiles": [profile]})
    found = store.profiles(run_id=run_id)
    assert found[["x", "value", "n"]].values.tolist() == [[0.0, 1.0, 7], [0.05, math.inf, 3]]
    assert set(found["name"]) == {"excess_error@law[n=2]"}
    assert set(found["axis"]) == {"position (characters)"}
    assert store.profiles(grid="g")["run_id"].unique().tolist() == [run_id]
    assert store.profiles(grid="other").empty
