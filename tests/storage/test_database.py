"""A file that is no store, or a broken one, is refused with advice, and the README describes the real tables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import ME, RESULTS, config, running, step

from harness.errors import StoreError, UnknownName
from harness.storage.store import Store
from harness.system import sqlite


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/deep/runs.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("results/runs.db", "write sqlite:///results/runs.db"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/db", "write sqlite:///results/runs.db"),
        ("postgresql://host/db", r"say where with \?files=/FOLDER"),
        ("sqlite:///x.db?mode=ro", "write sqlite:///results/runs.db"),
        ("sqlite:////proc/nowhere/runs.db", "check that the folder exists"),
        ("sqlite:///FOLDER", "is a folder; name a file in it"),
        ("sqlite:///FOLDER/text/runs.db", "check that the folder exists"),
        ("sqlite:///FOLDER/text", "not a SQLite file"),
        ("sqlite:///FOLDER/foreign.db", "a database of something else"),
        ("sqlite:///FOLDER/meta.db", "not those of a results store"),
    ],
)
def test_what_is_not_a_store_is_refused_with_advice_and_left_as_it_is(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 20)
    for name, table in (("foreign.db", "songs"), ("meta.db", "meta")):
        with sqlite.driver.connect(tmp_path / name) as connection:
            connection.execute(f"CREATE TABLE {table} (title TEXT)")
        connection.close()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=message) as caught:
        Store(url.replace("FOLDER", str(tmp_path)))
    assert caught.value.exit_code == 3
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("version", "advice"), [("99", "upgrade the harness"), ("0", "the version that wrote it")])
def test_another_schema_version_is_refused(store: Store, version: str, advice: str) -> None:
    with sqlite.driver.connect(store.path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
    with pytest.raises(StoreError, match=f"schema version {version}.*{advice}"):
        Store(store.url)


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_older_store_is_brought_up_to_date_by_the_first_writer(store: Store, version: str) -> None:
    """Version 2 had neither leases nor attempts nor checkpoints, version 1 no profiles either; nothing is lost."""
    run_id = running(store)
    store.log(run_id, ME, [step(1)])
    with sqlite.driver.connect(store.path) as connection:
        for table in ("attempts", "checkpoints", "reproductions", *(["profiles"] if version == "1" else [])):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE runs DROP COLUMN lease_until")
        before = connection.execute("SELECT * FROM runs").fetchall()
        connection.execute("DELETE FROM meta WHERE key = 'store'")  # which is later than these versions
        connection.execute("UPDATE meta SET value = ?", (version,))
    (store.folder / "store.id").unlink()
    with pytest.raises(StoreError, match="brings it up to date and keeps all"):
        Store.open(store.url, read_only=True)
    with Store.open(store.url) as upgraded:
        assert upgraded.counts()["cells"] == 1
        assert upgraded.attempts().empty
        upgraded.log(run_id, ME, [step(2)])
        with sqlite.driver.connect(store.path) as connection:
            assert [row[:8] for row in connection.execute("SELECT * FROM runs")] == [row[:8] for row in before]
    with Store.open(store.url, read_only=True) as reader:
        assert reader.profiles().empty
        assert list(reader.curves(run_id)["step"]) == [1, 2]


def test_an_upgrade_that_is_stopped_leaves_the_old_version(store: Store) -> None:
    """Tables and columns come in one transaction: when its last statement fails, none of them is there."""
    with sqlite.driver.connect(store.path) as connection:
        connection.execute("DROP TABLE attempts")
        connection.execute("ALTER TABLE runs DROP COLUMN lease_until")
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")
        connection.execute("CREATE TRIGGER no BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'stopped'); END")
    with pytest.raises(StoreError, match="stopped"):
        Store(store.url)
    with sqlite.driver.connect(store.path) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        assert "attempts" not in names
        assert "lease_until" not in [row[1] for row in connection.execute("PRAGMA table_info(runs)")]


def test_open_never_creates_and_read_only_never_writes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="harness run GRID"):
        Store.open(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    store.enqueue("g", [config()])
    with Store.open(store.url, read_only=True) as reader:
        assert reader.counts()["cells"] == 1
        with pytest.raises(StoreError, match="for reading only"):
            reader.enqueue("g", [config(1)])
        store.enqueue("g", [config(1)])
        assert reader.counts()["cells"] == 2


def test_paths_with_odd_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20#é"
    with Store(f"sqlite:///{folder}/runs.db") as store:
        store.enqueue("g", [config()])
    assert (folder / "runs.db").is_file()


def test_unknown_runs_are_named(store: Store) -> None:
    for ask in (store.config, store.provenance, lambda run_id: store.claim(run_id, ME)):
        with pytest.raises(UnknownName, match="no run 'abc'"):
            ask("abc")
    assert store.curves("abc").empty
    with pytest.raises(StoreError, match="no rollouts"):
        store.rollouts("abc")


def test_a_changed_or_missing_rollouts_file_is_named(store: Store) -> None:
    run_id = running(store)
    store.finish(run_id, ME, **RESULTS)
    file = store.path.parent / "rollouts" / f"{run_id}.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=f"{file} is not the file that was stored"):
        store.rollouts(run_id)
    file.unlink()
    with pytest.raises(StoreError, match=f"{file} is missing"):
        store.rollouts(run_id)


def test_a_damaged_file_gives_advice_and_never_a_traceback(tmp_path: Path) -> None:
    """Whole pages zeroed or cut off, the header among them: every answer is right or a StoreError."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        for seed in range(20):
            run_id = running(store, seed)
            store.log(run_id, ME, [step(number) for number in range(30)])
            store.finish(run_id, ME, **RESULTS)
    whole = (tmp_path / "runs.db").read_bytes()
    rng, refused = random.Random(0), 0
    for trial in range(60):
        damaged = bytearray(whole)
        page = rng.randrange(len(whole) // 4096) * 4096
        if trial % 3 == 0:
            del damaged[page + rng.randrange(4096) :]
        else:
            damaged[page : page + 4096] = bytes(4096) if trial % 3 == 1 else rng.randbytes(4096)
        (tmp_path / f"{trial}.db").write_bytes(damaged)
        try:
            with Store.open(f"sqlite:///{tmp_path}/{trial}.db", read_only=True) as reader:
                reader.runs("g"), reader.scores("g"), reader.curves(run_id), reader.counts(), reader.config(run_id)
        except (StoreError, UnknownName):
            refused += 1
    assert refused > 20


def test_the_results_readme_names_every_table_and_column(store: Store) -> None:
    """Sections `### table` and rows `| column | meaning |` of results/README.md, in the order of the real tables."""
    written: dict[str, list[str]] = {}
    readme = Path(__file__).resolve().parents[2] / "results" / "README.md"
    for line in readme.read_text().splitlines():
        if line.startswith("### "):
            written[line.removeprefix("### ")] = columns = []
        elif line.startswith("| ") and not line.startswith("| column"):
            columns.append(line.split("|")[1].strip())
    run_id = running(store)
    store.finish(run_id, ME, **RESULTS)
    with sqlite.driver.connect(store.path) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        real = {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}
    real["rollouts/RUN_ID.parquet"] = list(store.rollouts(run_id).columns)
    assert written == real
