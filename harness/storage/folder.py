"""One store per folder: the file `store.id` in it names the store, and every other one is refused.

Two stores in one folder would delete each other's checkpoints as leftovers, and overwrite each other's rollouts.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.parse
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError
from harness.storage.engines import Place
from harness.storage.url import printable_url

FILE = "store.id"
PATIENCE = 1.0  # seconds for which a file that is being written may be incomplete
PAUSE = 0.05  # seconds between two looks at it


@dataclass(frozen=True)
class Mark:
    """Content of the file `store.id`.

    Attributes:
        store: the store's id, as its `meta` table has it.
        database: the name of the SQLite file, or of the database on its server.
    """

    store: str
    database: str


def keep_out(place: Place) -> None:
    """Refuse to start a SQLite store where another one's files are.

    Raises:
        StoreError: the folder has a mark, and the database is not there yet.
    """
    # Read before looking for the database: a process that creates one just now writes its mark last.
    found = read(place.folder)
    if found is not None and place.path is not None and not place.path.exists():
        raise _refused(place, found)


def settle(place: Place, store: str) -> None:
    """Mark the folder as this store's, unless it is marked already.

    A database that was renamed takes its folder along; a copy beside the original does not.

    Raises:
        StoreError: the folder is another store's.
    """
    mine = Mark(store, _database(place))
    found = read(place.folder) or _first(place.folder, mine)
    if found == mine:
        return
    if found.store != store or place.path is None or _is_there(place.path, found.database):
        raise _refused(place, found)
    partial = _written(place.folder, mine)
    partial.replace(place.folder / FILE)


def read(folder: Path) -> Mark | None:
    """The mark of a folder; None where there is none.

    Raises:
        StoreError: the file is damaged.
    """
    file = folder / FILE
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return Mark(str(found["store"]), str(found["database"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            if time.monotonic() > deadline:
                advice = f"where {folder} has the files of one store only, remove it and try again"
                raise StoreError(f"{file} is damaged, so the owner of these files is unknown; {advice}") from error
        time.sleep(PAUSE)


def _first(folder: Path, mine: Mark) -> Mark:
    """Mark the folder unless another process is faster; returns the mark that it has then."""
    partial = _written(folder, mine)
    file = folder / FILE
    try:
        os.link(partial, file)  # whole or not at all, and never in place of another
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        with contextlib.suppress(FileExistsError), file.open("x", encoding="utf-8") as written:
            written.write(partial.read_text(encoding="utf-8"))
    finally:
        partial.unlink(missing_ok=True)
    return read(folder) or mine


def _written(folder: Path, mine: Mark) -> Path:
    """Write the mark to a temporary file of this process; returns its path."""
    about = "the files in this folder belong to this store; give every other store a folder of its own"
    partial = folder / f"{FILE}.{uuid.uuid4().hex}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"store": mine.store, "database": mine.database, "about": about}, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return partial


def _database(place: Place) -> str:
    if place.path is not None:
        return place.path.name
    return urllib.parse.unquote(urllib.parse.urlsplit(place.url).path.lstrip("/"))


def _is_there(path: Path, name: str) -> bool:
    """True if a database of that name stands beside `path`, and is another file."""
    other = path.with_name(name)
    return other.exists() and not other.samefile(path)


def _refused(place: Place, found: Mark) -> StoreError:
    shown, mine = printable_url(place.url), _database(place)
    if place.path is None:
        folder, own = place.folder, f"{shown.partition('?')[0]}?files={place.folder / mine}"
    else:
        typed = Path(place.url.partition(":///")[2])
        folder = typed.parent
        own = f"sqlite:///{folder / typed.stem / typed.name}"
        if place.path.exists():
            own += " (move it there, with copies of rollouts/ and policies/)"
    whose = f"an earlier {mine}" if found.database == mine else found.database
    return StoreError(
        f"{shown}: the files in {folder} belong to {whose}; give each store a folder of its own: --store {own}; "
        f"or, where that one is gone for good, remove {folder / FILE}"
    )
