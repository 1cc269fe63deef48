"""Corpora from the Hub, or a dataset directory, read as a stream through `datasets`.

    hub:OWNER/NAME@REVISION                 the documents of its split `train`
    hub:OWNER/NAME/CONFIG@REVISION:SPLIT    of a configuration and a split
    hub:OWNER/NAME@REVISION:train[:20000]   its first 20,000 documents; nothing after them is downloaded
    hub:./FOLDER:train                      a dataset directory on this machine, of Parquet or JSON lines files

A revision is asked for, because a dataset whose name stays may change: a commit is best, a tag will do.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.corpora import Corpus, collected
from benchmarks.corpus_files import of_field
from harness.errors import ConfigError, EnvironmentProblem
from harness.plugins import unreachable

PREFIX = "hub:"
WANTED = "write hub:OWNER/NAME[/CONFIG]@REVISION[:SPLIT], or hub:./FOLDER[:SPLIT]; SPLIT may end in [:N]"
ADVICE = f"{WANTED}; where there is no network, download the dataset elsewhere and give its folder"
_HUB = re.compile(
    r"(?P<name>[\w.-]+(/[\w.-]+)?)(/(?P<config>[\w.-]+))?@(?P<revision>[\w./-]+)(:(?P<split>\w+)(\[:(?P<most>\d+)\])?)?"
)
_FOLDER = re.compile(r"(?P<folder>[./~].*?)(:(?P<split>\w+)(\[:(?P<most>\d+)\])?)?")


@dataclass(frozen=True)
class Source:
    """A dataset's documents: name or folder, configuration and commit, split, and a maximum number."""

    path: str
    config: str | None
    revision: str | None
    split: str
    most: int | None


def parse(corpus: str) -> Source:
    """Read `hub:...`.

    Raises:
        ConfigError: another form, or a dataset of the Hub is named without its revision.
    """
    given = corpus.removeprefix(PREFIX)
    if found := _FOLDER.fullmatch(given):
        return Source(found["folder"], None, None, found["split"] or "train", _number(found["most"]))
    if found := _HUB.fullmatch(given):
        split = found["split"] or "train"
        return Source(found["name"], found["config"], found["revision"], split, _number(found["most"]))
    if "@" not in given and _HUB.fullmatch(f"{given.partition(':')[0]}@x"):
        name = given.partition(":")[0]
        raise ConfigError(
            f"benchmark.corpus={corpus!r}: which revision? a dataset may change while its name stays; write "
            f"hub:{name}@COMMIT, as its page on the Hub lists commits"
        )
    raise ConfigError(f"benchmark.corpus={corpus!r} names no dataset; {WANTED}")


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


def read(corpus: str, field: str, on_null: str = "skip") -> Corpus:
    """The documents of a dataset (each one's `field`), in its order; those that `corpora.distinct` keeps.

    Raises:
        ConfigError: no such folder, split, configuration or field; or a text is null and `on_null` is error.
        EnvironmentProblem: `datasets` is not installed, or the dataset cannot be reached.
    """
    source = parse(corpus)
    if importlib.util.find_spec("datasets") is None:
        raise EnvironmentProblem(
            f"benchmark.corpus={corpus!r}: the package datasets is not installed; "
            "pip install 'sequencematch-harness[hub]', or give a .jsonl or .parquet file"
        )
    if source.revision is None and not Path(source.path).expanduser().is_dir():
        raise ConfigError(f"benchmark.corpus={corpus!r}: no such folder; {WANTED}")
    why = None if source.revision is None else unreachable()  # `datasets` itself asks for half a minute
    if why is not None and not _kept(source.path):
        raise EnvironmentProblem(
            f"benchmark.corpus={corpus!r} cannot be read: no copy of this dataset is here, and {why}\n{ADVICE}"
        )
    try:
        placed = (
            of_field(row, field, f"{corpus}, document {number}")
            for number, row in _rows(source, offline=why is not None)
        )
        return collected(placed, corpus, on_null)
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # the base classes of all that `datasets` raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = EnvironmentProblem if isinstance(error, OSError) else ConfigError
        raise problem(f"benchmark.corpus={corpus!r} cannot be read: {reason}\n{ADVICE}") from error


def _kept(name: str) -> bool:
    """True if the cache of `datasets` has a folder of this dataset."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets"))
    plain = _plain(name.replace("/", "___"))  # capitals are written another way there
    try:
        return any(_plain(entry.name) == plain for entry in cache.expanduser().glob("*/"))
    except (OSError, RuntimeError):  # no home
        return False


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _rows(source: Source, *, offline: bool) -> Iterator[tuple[int, dict[str, object]]]:
    """(number from 1, document) as they come, as many as asked for; `offline` nothing but a kept copy is read."""
    import datasets

    datasets.disable_progress_bars()
    if offline:  # the copy that is here is then read at once
        datasets.config.HF_HUB_OFFLINE = True
    path = source.path if source.revision else str(Path(source.path).expanduser())
    stream = datasets.load_dataset(
        path, name=source.config, revision=source.revision, split=source.split, streaming=True
    )
    yield from enumerate(islice(stream, source.most), start=1)
