"""Identity of a model directory: the hash of its configuration, weights and tokenizer, read without torch."""

from __future__ import annotations

import hashlib
import json
import time
from functools import lru_cache
from pathlib import Path

from harness.errors import EnvironmentProblem

_CONTENT = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt")  # configuration, weights and tokenizer
_ID = "model:"
_SETTLED = 2.0  # seconds after which a file's times tell a further write from the last one, on any file system


def local(name: str | Path) -> Path | None:
    """The directory that a name is the path of; None for a Hub id, or the home of an unknown user."""
    try:
        place = Path(name).expanduser()
    except RuntimeError:
        return None
    return place if place.is_dir() else None


def spelled(name: str) -> str:
    """One name for `m`, `./m` and `m/`, with `~` written out; a name that is no directory's stays as it is.

    A relative path stays one, so that a project may move; a symbolic link keeps its own name.
    """
    place = local(name)
    if place is None:
        return name
    return str(place) if place.is_absolute() or len(place.parts) > 1 else f"./{place}"


def model_id(name: str) -> str:
    """`model:HASH` for a directory, by its content and not its path; any other name, as a Hub id, stays as it is.

    Raises:
        EnvironmentProblem: a file of the directory cannot be read.
    """
    place = local(name)
    return name if place is None else f"{_ID}{content_of(place)}"


def revision_of(identity: str) -> str | None:
    """The content that a `model_id` states; None for a Hub id."""
    return identity.removeprefix(_ID) if identity.startswith(_ID) else None


def content_of(directory: Path) -> str:
    """Twelve hex digits of the SHA-256 of a model directory's configuration, weights and tokenizer.

    Files that cannot change what is computed (model card, code) and subfolders do not count; generation_config.json
    does, as it may declare ends.  A file is read once in a process, as long as its size and times stay what they were.
    Of an adapter without a model of its own, the content of the directory that it was trained beside counts, too.

    Raises:
        EnvironmentProblem: a file cannot be read.
    """
    return _content_of(directory, ())


def _content_of(directory: Path, above: tuple[Path, ...]) -> str:
    """As `content_of`, for the base of the adapters `above`, among which it counts no second time."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _CONTENT for path in directory.glob(pattern)}):
        try:
            digest.update(f"{path.name} {_digest_of(path)}\n".encode())
        except OSError as error:
            raise EnvironmentProblem(
                f"{path} cannot be read: {error.strerror or error}; mend the directory, or give another model"
            ) from error
    base = _adapted(directory)
    if base is not None and base.resolve() not in (here := (*above, directory.resolve())):
        digest.update(f"base {_content_of(base, here)}\n".encode())
    return digest.hexdigest()[:12]


def _adapted(directory: Path) -> Path | None:
    """The directory of the model that a PEFT adapter is put on; None for a Hub id, which its configuration names.

    As transformers does: beside a config.json the model is the directory's own, and a relative path begins where the
    process is, not at the adapter.
    """
    if (directory / "config.json").exists():
        return None
    try:
        named = json.loads((directory / "adapter_config.json").read_text())["base_model_name_or_path"]
        return local(named)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # no adapter, or one that cannot be loaded


def _digest_of(path: Path) -> str:
    """SHA-256 of a file; one that was written just now is read again, since its times may not show the next write."""
    stat = path.stat()
    settled = time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED
    read = _read if settled else _read.__wrapped__
    return read(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=4096)
def _read(path: Path, written: tuple[int, ...]) -> str:
    """SHA-256 of the file; `written`, its identity, size and times, makes a changed one another key of the cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
