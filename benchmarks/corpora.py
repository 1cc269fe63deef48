"""Documents of a text benchmark: Python's own documentation, or a file or folder, whose forms `corpus_files` reads.

Outer whitespace of a document carries nothing and is removed; empty documents and repetitions (equal up to
whitespace) are left out, so that splits by document share none.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import json
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.corpus_files import FIELD, decoded, kind_of, texts
from harness.errors import ConfigError, EnvironmentProblem, did_you_mean

_NOT_DOCUMENTATION = {
    "site-packages", "dist-packages", "lib-dynload", "__pycache__", "_bundled",  # not the standard library
    "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "encodings",  # tests, programs, tables
}  # fmt: skip
_RUN = 8  # words
_FRESH = 0.8
BLANK_LINES = r"\n\s*\n"
LINE = "line"  # short for the separator \n
LINES_A_DOCUMENT = 20  # from here on, on average, a line may be meant as a document


@functools.cache
def python_docs() -> tuple[str, ...]:
    """The documentation that comes with this Python, one document per language topic and per module.

    A topic is an entry of `pydoc_data.topics`; a module's document is its docstrings in source order, read from
    the source without importing it.  Doctest sessions and ASCII tables are cut out.  A topic or docstring of whose
    eight-word runs more than a fifth stand in a longer document already is left out: topics contain each other and
    modules copy each other.  About 1.6 million characters; they differ between Python versions.

    They are kept in the user's cache folder (`XDG_CACHE_HOME`, or `~/.cache`), as parsing a standard library takes
    seconds; a library with any other file, size or time, or another version of this module, is parsed again.

    Raises:
        EnvironmentProblem: this Python has neither its topics nor the source of its standard library.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    file: Path | None = None
    with suppress(OSError, RuntimeError):  # a library that changes meanwhile, no home
        file = _kept(library)
    documents = None if file is None else _read_kept(file)
    if documents is None:
        collects = gc.isenabled()
        gc.disable()  # a syntax tree is many objects and no garbage: looking for some takes a third of the time
        try:
            documents = _python_docs(library)
        finally:
            if collects:
                gc.enable()
        if file is not None:
            _keep(file, documents)
    return documents


def _kept(library: Path) -> Path:
    """The file of the documents of this library, named by the hash of what they are made from."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode())
    topics = find_spec("pydoc_data.topics")
    for path in (*_sources(library), *([] if topics is None or topics.origin is None else [Path(topics.origin)])):
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "sequencematch-harness" / f"python-docs-{digest.hexdigest()[:16]}.json"


def _read_kept(file: Path) -> tuple[str, ...] | None:
    """The documents in a file that `_keep` wrote; None if there is none, or a damaged one."""
    try:
        digest, _, text = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return tuple(json.loads(text)) if hashlib.sha256(text.encode()).hexdigest() == digest else None


def _keep(file: Path, documents: tuple[str, ...]) -> None:
    """Write the documents with their hash, whole, as other processes do so, too; not at all where that fails."""
    text = json.dumps(documents)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as part:
            part.write(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
        os.replace(part.name, file)


def _python_docs(library: Path) -> tuple[str, ...]:
    """`python_docs`, parsed from the library."""
    pieces: dict[str, list[str]] = {**_topics(), **_docstrings(library)}
    cleaned = {name: [_prose(piece) for piece in found] for name, found in pieces.items()}
    seen: set[tuple[str, ...]] = set()
    documents = {}
    for name, found in sorted(cleaned.items(), key=lambda item: (-sum(map(len, item[1])), item[0])):
        kept = [piece for piece in found if piece and _fresh(piece, seen)]
        if kept:
            documents[name] = "\n\n".join(kept)
    if not documents:
        raise EnvironmentProblem(
            "corpus python-docs: this Python has no documentation topics and no standard library source; "
            "install a full CPython, or set benchmark.corpus to a file of texts"
        )
    return tuple(documents[name] for name in sorted(documents))


def _topics() -> dict[str, list[str]]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package the topics apart
        return {}
    return {f"topic {name}": [text] for name, text in topics.items()}


def _sources(library: Path) -> Iterator[Path]:
    """The modules with documentation; folders without any, as that of installed packages, are not entered."""
    for folder, folders, files in os.walk(library):
        top = Path(folder) == library
        known = (name for name in folders if not (name in _NOT_DOCUMENTATION or (top and name.startswith("config-"))))
        folders[:] = sorted(known)
        for name in sorted(files):
            if name.endswith(".py") and not (top and name.startswith(("config-", "_sysconfigdata"))):
                yield Path(folder, name)


def _docstrings(library: Path) -> dict[str, list[str]]:
    """Module path -> its docstrings in source order, their indentation removed."""
    found = {}
    for path in _sources(library):
        nodes = [
            node
            for node in _statements(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        nodes.sort(key=lambda node: getattr(node, "lineno", 0))  # a module has no line and comes first
        found[f"module {path.relative_to(library).as_posix()}"] = [ast.get_docstring(node) or "" for node in nodes]
    return found


def _statements(module: ast.Module) -> list[ast.AST]:
    """The module and its statements in the order of `ast.walk`, which looks at every expression, too."""
    found: list[ast.AST] = [module]
    for node in found:  # grows
        for block in ("body", "handlers", "orelse", "finalbody", "cases"):
            found += getattr(node, block, ())
    return found


def _prose(text: str) -> str:
    """The text without doctest sessions (up to their blank line), ASCII tables and the empty lines they leave."""
    text = re.sub(r"(?m)^[ \t]*>>>.*(?:\n[ \t]*\S.*)*", "", text)
    text = re.sub(r"(?m)^[ \t]*[+|][-=+| ].*$", "", text)
    text = re.sub(r"(?m)[ \t]+$", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _fresh(text: str, seen: set[tuple[str, ...]]) -> bool:
    """True if enough of the text's word runs are new; adds them to `seen` then."""
    words = text.lower().split()
    runs = {tuple(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))}
    fresh = len(runs - seen) >= _FRESH * len(runs)
    seen |= runs
    return fresh


@dataclass(frozen=True)
class Corpus:
    """Documents in their order, and sentences about what was left out or may be meant otherwise."""

    documents: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read(path: Path, field: str = FIELD, separator: str = BLANK_LINES, on_null: str = "skip") -> Corpus:
    """The documents of a .txt (split at `separator`), or of another file or folder (each one's `field`), in file order.

    Raises:
        ConfigError: the file does not exist, cannot be read as what its name says, or lacks the field; or a text is
            null and `on_null` is error.
        EnvironmentProblem: it exists and cannot be read.
    """
    kind = kind_of(str(path)) or ".parquet"
    path = path.expanduser()
    if not path.exists():
        near = did_you_mean(path.name, ("python-docs", *(entry.name for entry in _neighbours(path))))
        raise ConfigError(f"benchmark.corpus={str(path)!r}: no such file; {near}")
    if kind != ".txt":
        return collected(texts(path, kind, field), str(path), on_null)
    text = decoded(path)
    documents = distinct(split_text(text, separator))
    return Corpus(documents, _lines_or_documents(path, text, len(documents)) if separator == BLANK_LINES else ())


def collected(placed: Iterable[tuple[str, str | None]], corpus: str, on_null: str) -> Corpus:
    """The documents of texts with their places; a note says how many are null and left out.

    Raises:
        ConfigError: a text is null and `on_null` is error.
    """
    found: list[str] = []
    nulls: list[str] = []
    for where, text in placed:
        if text is not None:
            found.append(text)
        elif on_null == "error":
            raise ConfigError(
                f"{where}: the text is null; mend the file, or set benchmark.on_null=skip to leave it out"
            )
        else:
            nulls.append(where)
    if not nulls:
        return Corpus(distinct(found))
    note = (
        f"{corpus}: null texts left out: {len(nulls)} of {len(nulls) + len(found)}, the first at {nulls[0]}; "
        "benchmark.on_null=error refuses them"
    )
    return Corpus(distinct(found), (note,))


def _lines_or_documents(path: Path, text: str, documents: int) -> tuple[str, ...]:
    """A note where blank lines leave documents of so many lines that each line may be one."""
    lines = sum(bool(line.strip()) for line in text.split("\n"))
    if lines < LINES_A_DOCUMENT * documents:
        return ()
    return (
        f"{path}: split at blank lines, {lines} lines give {documents} document{'s' * (documents != 1)}; "
        f"if each line is a document, set benchmark.separator={LINE}",
    )


def _neighbours(path: Path) -> Iterator[Path]:
    if path.parent.is_dir():
        yield from (entry for entry in path.parent.iterdir() if entry.suffix.lower() == path.suffix.lower())


def distinct(documents: Iterable[str]) -> tuple[str, ...]:
    """The documents without outer whitespace, empty ones and repetitions (equal up to whitespace), in order."""
    first: dict[str, str] = {}
    for document in documents:
        first.setdefault(" ".join(document.split()), document.strip())
    first.pop("", None)
    return tuple(first.values())


def split_text(text: str, separator: str) -> list[str]:
    r"""The pieces of a text between the matches of a regular expression.

    >>> split_text("one\n\ntwo\nlines\n \nthree", r"\n\s*\n")
    ['one', 'two\nlines', 'three']

    Raises:
        ConfigError: the separator is no regular expression, has capturing groups, or stands in the text as it is
            written while it means something else as an expression (`<|endoftext|>` would split at every `<`).
    """
    try:
        pattern = re.compile(separator)
    except re.error as error:
        raise ConfigError(
            f"benchmark.separator={separator!r} is not a regular expression ({error}); "
            f"to split at these very characters write {re.escape(separator)!r}"
        ) from error
    if pattern.groups:
        raise ConfigError(f"benchmark.separator={separator!r} has a capturing group; write (?:...) instead of (...)")
    pieces = pattern.split(text)
    if separator in text and pieces != text.split(separator):
        raise ConfigError(
            f"benchmark.separator={separator!r} stands in the text, but as a regular expression it means something "
            f"else; write {re.escape(separator)!r}"
        )
    return pieces
