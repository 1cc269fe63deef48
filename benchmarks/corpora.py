"""Documents of a text benchmark: Python's own documentation, or a file.

Outer whitespace of a document carries nothing and is removed; empty documents and repetitions (equal up to
whitespace) are left out, so that splits by document share none.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.errors import ConfigError, EnvironmentProblem, did_you_mean

_NOT_DOCUMENTATION = {
    "site-packages", "dist-packages", "lib-dynload", "__pycache__", "_bundled",  # not the standard library
    "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "encodings",  # tests, programs, tables
}  # fmt: skip
_RUN = 8  # words
_FRESH = 0.8
FIELD = "text"
BLANK_LINES = r"\n\s*\n"


@functools.cache
def python_docs() -> tuple[str, ...]:
    """The documentation that comes with this Python, one document per language topic and per module.

    A topic is an entry of `pydoc_data.topics`; a module's document is its docstrings in source order, read from
    the source without importing it.  Doctest sessions and ASCII tables are cut out.  A topic or docstring of whose
    eight-word runs more than a fifth stand in a longer document already is left out: topics contain each other and
    modules copy each other.  About 1.6 million characters; they differ between Python versions.

    Raises:
        EnvironmentProblem: this Python has neither its topics nor the source of its standard library.
    """
    pieces: dict[str, list[str]] = {**_topics(), **_docstrings(Path(sysconfig.get_paths()["stdlib"]))}
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
            "install a full CPython, or set benchmark.corpus to a .txt, .jsonl or .parquet file"
        )
    return tuple(documents[name] for name in sorted(documents))


def _topics() -> dict[str, list[str]]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package the topics apart
        return {}
    return {f"topic {name}": [text] for name, text in topics.items()}


def _docstrings(library: Path) -> dict[str, list[str]]:
    """Module path -> its docstrings in source order, their indentation removed."""
    found = {}
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        if _NOT_DOCUMENTATION.intersection(inside.parts) or inside.parts[0].startswith(("config-", "_sysconfigdata")):
            continue
        nodes = [
            node
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        nodes.sort(key=lambda node: getattr(node, "lineno", 0))  # a module has no line and comes first
        found[f"module {inside.as_posix()}"] = [ast.get_docstring(node) or "" for node in nodes]
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


def read(path: Path, field: str = FIELD, separator: str = BLANK_LINES) -> tuple[str, ...]:
    """The documents of a .txt (split at `separator`), .jsonl or .parquet file (each one's `field`), in file order.

    Raises:
        ConfigError: the file does not exist, cannot be read as what its name says, or lacks the field.
    """
    if not path.is_file():
        near = did_you_mean(path.name, ("python-docs", *(entry.name for entry in _neighbours(path))))
        raise ConfigError(f"benchmark.corpus={str(path)!r}: no such file; {near}")
    if path.suffix == ".txt":
        documents: Iterable[str] = split_text(_decoded(path), separator)
    elif path.suffix == ".jsonl":
        documents = _jsonl(path, field)
    else:
        documents = _parquet(path, field)
    return distinct(documents)


def _neighbours(path: Path) -> Iterator[Path]:
    if path.parent.is_dir():
        yield from (entry for entry in path.parent.iterdir() if entry.suffix == path.suffix)


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


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from error


def _jsonl(path: Path, field: str) -> Iterator[str]:
    # split at newlines only: `splitlines` would also cut at characters that JSON strings may hold
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error.msg}); write one object per line") from error
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}, line {number}: a {type(value).__name__}, not an object with field {field!r}")
        yield of_field(value, field, f"{path}, line {number}")


def of_field(row: Mapping[str, object], field: str, where: str) -> str:
    """A document's text.

    Raises:
        ConfigError: it has no such field, or no text there; the message begins with `where`.
    """
    if field not in row:
        raise ConfigError(f"{where}: no field {field!r}; {_set_field(field, row)}")
    return _text(row[field], where, field)


def _parquet(path: Path, field: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        names = table.schema_arrow.names
        if field not in names:
            raise ConfigError(f"{path}: no column {field!r}; {_set_field(field, names)}")
        column = table.read(columns=[field]).column(field).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ConfigError(f"{path}: not a Parquet file ({error}); give a .txt, .jsonl or .parquet file") from error
    for number, value in enumerate(column, start=1):
        yield _text(value, f"{path}, row {number}", field)


def _set_field(field: str, known: Iterable[str]) -> str:
    return f"set benchmark.field ({did_you_mean(field, known)})"


def _text(value: object, where: str, field: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {field!r} is {type(value).__name__}, not text; fix the file or set another field")
    return value
