"""A folder is one store's: another one is refused there, before it can take the first one's files for leftovers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stored import ME, config

from harness.errors import StoreError
from harness.records.events import SavedCheckpoint
from harness.storage.folder import FILE, Mark, read, settle
from harness.storage.store import Store
from harness.storage.url import printable_url
from harness.system import sqlite


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def mark_of(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / FILE).read_text())
    return found


def test_a_second_store_in_the_folder_is_refused_and_the_first_keeps_its_files(store: Store) -> None:
    """Without the refusal `sweep`, which every supervisor starts with, removes a checkpoint of a run it cannot know."""
    store.enqueue("g", [config()])
    claim = store.claim_next(ME)
    assert claim is not None
    saved = SavedCheckpoint(1, f"checkpoints/{claim.run_id}/1-1.safetensors", "abc", 1)
    (store.folder / saved.path).parent.mkdir(parents=True)
    (store.folder / saved.path).touch()
    store.log(claim.run_id, claim.owner, [], saved)
    own = store.folder / "other" / "other.db"
    message = f"other.db: the files in {store.folder} belong to runs.db; .* of its own: --store sqlite:///{own};"
    with pytest.raises(StoreError, match=message) as caught, Store(f"sqlite:///{store.folder}/other.db") as other:
        other.sweep()
    assert caught.value.exit_code == 3
    assert (store.folder / saved.path).exists()
    assert not (store.folder / "other.db").exists()
    with Store(f"sqlite:///{own}") as other:  # what the message says
        other.sweep()
    assert (store.folder / saved.path).exists()


def test_stores_that_shared_a_folder_before_there_were_marks(store: Store) -> None:
    """The first that is written to has the folder; the other can still be read, and be moved away."""
    other = store.folder / "other.db"
    (store.folder / FILE).unlink()
    with Store(f"sqlite:///{other}") as opened:
        opened.enqueue("g", [config()])
    (store.folder / FILE).unlink()
    with sqlite.driver.connect(store.path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'store'")
    Store.open(store.url).close()
    assert mark_of(store.folder)["database"] == "runs.db"
    with pytest.raises(StoreError, match=r"belong to runs.db; .*other/other.db \(move it there, with copies of roll"):
        Store.open(f"sqlite:///{other}")
    with Store.open(f"sqlite:///{other}", read_only=True) as reader:
        assert reader.counts()["cells"] == 1
    (store.folder / "other").mkdir()
    other.rename(store.folder / "other" / "other.db")
    Store.open(f"sqlite:///{store.folder}/other/other.db").close()


def test_reading_needs_no_mark_and_makes_none(store: Store) -> None:
    mark = store.folder / FILE
    mark.unlink()
    Store.open(store.url, read_only=True).close()
    assert not mark.exists()
    mark.write_text("{")
    Store.open(store.url, read_only=True).close()


def test_a_copied_or_moved_folder_works_and_a_copied_database_beside_the_original_does_not(store: Store) -> None:
    store.close()
    copied = shutil.copytree(store.folder, store.folder.with_name("copied"))
    Store(f"sqlite:///{copied}/runs.db").close()
    assert mark_of(copied) == mark_of(store.folder)
    shutil.copy(copied / "runs.db", copied / "twin.db")
    with pytest.raises(StoreError, match=r"belong to runs.db"):
        Store(f"sqlite:///{copied}/twin.db")
    (copied / "runs.db").unlink()  # now it was renamed
    Store(f"sqlite:///{copied}/twin.db").close()
    assert mark_of(copied)["database"] == "twin.db"
    (copied / "alias.db").symlink_to("twin.db")
    Store(f"sqlite:///{copied}/alias.db").close()


def test_a_new_store_of_the_same_name_does_not_inherit_the_files(store: Store) -> None:
    """The old database may have been moved aside; a person confirms that by removing the mark."""
    store.close()
    store.path.rename(store.folder / "old.db")
    with pytest.raises(StoreError, match=f"an earlier runs.db; .* gone for good, remove {store.folder / FILE}"):
        Store(store.url)
    (store.folder / FILE).unlink()
    Store(store.url).close()


def test_of_many_stores_at_once_one_has_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen stores want it at the same moment, with hard links and without: one gets it, and keeps it."""
    from harness.storage.engines import place_of

    def wants(folder: Path, number: int) -> str | None:
        try:
            settle(place_of(f"sqlite:///{folder}/{number}.db"), f"id{number}")
        except StoreError:
            return None
        return f"id{number}"

    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    for trial in range(20):
        if trial == 10:
            monkeypatch.setattr(os, "link", refuse)
        folder = tmp_path / str(trial)
        folder.mkdir()
        with ThreadPoolExecutor(16) as pool:
            winners = [one for one in pool.map(lambda number: wants(folder, number), range(16)) if one is not None]  # noqa: B023
        assert len(winners) == 1
        assert mark_of(folder)["store"] == winners[0]
        assert [file.name for file in folder.iterdir()] == [FILE]


OPEN = "import sys; from harness.storage.store import Store; Store(sys.argv[1]).close()"


def test_processes_that_start_one_store_at_once_agree(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/runs.db"
    children = [subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE) for _ in range(3)]
    assert [child.communicate()[1] for child in children] == [b""] * 3
    with sqlite.driver.connect(tmp_path / "new" / "runs.db") as connection:
        stored = dict(connection.execute("SELECT key, value FROM meta"))
    assert read(tmp_path / "new") == Mark(stored["store"], "runs.db")


def test_a_damaged_mark_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.storage.folder.PATIENCE", 0.0)
    (store.folder / FILE).write_text('{"store": ')
    with pytest.raises(StoreError, match=r"store.id is damaged.*; where .* remove it and try again"):
        Store(store.url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:se/cr?t@host:5432/runs?files=/f", "postgresql://me:***@host:5432/runs?files=/f"),
        ("postgresql+psycopg://:x@/runs", "postgresql+psycopg://:***@/runs"),
        ("postgresql://me@host/runs?password=x&files=/a@b", "postgresql://me@host/runs?password=***&files=/a@b"),
        ("postgresql://host:5432/runs?files=/a@b", "postgresql://host:5432/runs?files=/a@b"),
        ("sqlite:////data/a:b@c/runs.db", "sqlite:////data/a:b@c/runs.db"),
    ],
)
def test_a_url_is_printed_without_its_password(url: str, shown: str) -> None:
    assert printable_url(url) == shown
