"""The texts of a corpus file, each with its place, whatever the form: JSON, tables, Parquet, compressed or not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import ConfigError, EnvironmentProblem, did_you_mean, kind_in_words
from harness.plugins.texts import json_value, not_utf8, text_value

Placed: TypeAlias = tuple[str, str | None]
"""(place that a message begins with, text or None where it is null)."""

FIELD = "text"
KINDS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
ENDINGS = ".txt, .jsonl, .json, .csv, .tsv or .parquet"
PACKED = ".gz, .bz2, .xz or .zst"
_ALIASES = {".ndjson": ".jsonl"}
_WANTED_LINE = "one JSON object a line; name its field of texts in benchmark.field"
_WANTED_ARRAY = "an array of texts or of objects, or one JSON object a line"
_WANTED_TEXT = "a text; mend the file, or set another benchmark.field"
_LONGEST = 2**31 - 1  # characters of a CSV cell; the most that the module takes on every machine


def kind_of(name: str) -> str | None:
    """The kind of a corpus, one of `KINDS`, by the ending of its name; None for another.

    Capitals do not matter, an ending of compression is passed over, and a folder is one of Parquet files.

    >>> kind_of("Stories.JSONL.gz"), kind_of("shards/"), kind_of("stories.pdf")
    ('.jsonl', '.parquet', None)
    """
    endings = ["", "", *Path(name.lower()).suffixes]
    packed = endings[-1] in _OPEN
    kind = endings[-2] if packed else endings[-1]
    kind = _ALIASES.get(kind, kind)
    if kind in KINDS and not (packed and kind == ".parquet"):
        return kind
    return ".parquet" if name.endswith("/") or Path(name).expanduser().is_dir() else None


def texts(path: Path, kind: str, field: str) -> Iterator[Placed]:
    """The texts of a file of any kind but .txt, in its order: each object's or row's `field`.

    Raises:
        ConfigError: the file is not what its name says, lacks the field, or holds something else than texts there.
        EnvironmentProblem: it cannot be read.
    """
    if kind == ".parquet":
        for part in _parts(path):
            yield from _parquet(part, field)
    elif kind in (".csv", ".tsv"):
        yield from _table(path, field, "," if kind == ".csv" else "\t")
    else:
        text = decoded(path)
        array = kind == ".json" and text.lstrip().startswith("[")
        yield from _array(path, text, field) if array else _lines(path, text, field, kind)


def decoded(path: Path) -> str:
    r"""The text of a file, uncompressed, every end of line as `\n`.

    Raises:
        ConfigError: it is a folder, is damaged, or is not UTF-8, with the line.
        EnvironmentProblem: it cannot be read.
    """
    return _decoded(path).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path) -> str:
    content = _content(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        raise not_utf8(f"{path}, line {line}", error) from error


def _zst(path: Path) -> Any:
    import pyarrow

    return pyarrow.input_stream(str(path), compression="zstd")


_OPEN: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zst}


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give a file, or a folder of .parquet files")
    suffix = path.suffix.lower()
    try:
        with _OPEN[suffix](path) if suffix in _OPEN else path.open("rb") as file:
            content: bytes = file.read()
            return content
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _unreadable(path, f"a whole {suffix} file", error) from error


def _unreadable(path: Path, what: str, error: Exception) -> Exception:
    """The refusal of a file that the machine does not give, or whose content is damaged."""
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentProblem(f"{path} cannot be read: {error.strerror}; give another file, or make it readable")
    reason = str(error).strip() or type(error).__name__
    return ConfigError(f"{path}: not {what} ({reason}); fetch it again, or give a file that ends in what it is")


def of_field(row: Mapping[str, object], field: str, where: str) -> Placed:
    """A document's place and text.

    Raises:
        ConfigError: it has no such field, or no text there; the message begins with `where`.
    """
    if field not in row:
        raise ConfigError(f"{where}: no field {field!r}; {_set_field(field, row)}")
    return where, text_value(row[field], where, field, _WANTED_TEXT)


def _lines(path: Path, text: str, field: str, kind: str) -> Iterator[Placed]:
    wanted = _WANTED_LINE if kind == ".jsonl" else _WANTED_ARRAY
    # split at newlines only: `splitlines` would also cut at characters that JSON strings may hold
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            value = json_value(line, where, wanted)
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {line!r:.60} is {kind_in_words(value)}, not an object; wanted {wanted}")
            yield of_field(value, field, where)


def _array(path: Path, text: str, field: str) -> Iterator[Placed]:
    for number, value in enumerate(json_value(text, str(path), _WANTED_ARRAY), start=1):
        where = f"{path}, item {number}"
        if isinstance(value, Mapping):
            yield of_field(value, field, where)
        else:
            yield where, text_value(value, where, "item", _WANTED_ARRAY)


def _table(path: Path, field: str, delimiter: str) -> list[Placed]:
    """The cells of a named column; a line that is none of the table's is refused, as its texts would be cut."""
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), delimiter=delimiter, strict=True)
    found: list[Placed] = []
    header: list[str] = []
    limit, begin = csv.field_size_limit(_LONGEST), 1
    try:
        for row in reader:
            where, begin = f"{path}, line {begin}", reader.line_num + 1
            if not header:
                header = row
                if len(header) == 1 and field not in header and re.search(r"[,;|\t]", header[0]):
                    raise ConfigError(
                        f"{path}: the header {header[0]!r:.60} is one column; separate columns by {delimiter!r}, "
                        "or name a file with tabs .tsv and one with commas .csv"
                    )
                _check_column(path, field, header)
            elif row and len(row) != len(header):
                raise ConfigError(
                    f"{where}: {len(row)} cells, but the header has {len(header)}; "
                    f'put texts that hold {delimiter!r} or line ends into double quotes, and write a quote in them ""'
                )
            elif row:
                found.append((where, row[header.index(field)]))
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {begin}: {error}; put texts that hold quotes or line ends into double quotes, "
            'and write a quote in them ""'
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not header:
        raise ConfigError(f"{path} is empty; wanted a first line with the names of the columns, {field!r} among them")
    return found


def _parts(path: Path) -> list[Path]:
    """The Parquet file, or those of a folder and the folders in it, by name; as Spark does, `_x` and `.x` are skipped.

    Raises:
        ConfigError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
    parts = [file for file in files if file.suffix.lower() == ".parquet"]
    if not parts:
        seen = ", ".join(sorted({file.suffix or file.name for file in files})) or "nothing"
        raise ConfigError(
            f"benchmark.corpus={str(path)!r}: no .parquet file in this folder, which holds {seen}; give one of its "
            "files, or hub:./FOLDER for a dataset directory"
        )
    return parts


def _hidden(inside: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in inside.parts)


def _parquet(path: Path, field: str) -> Iterator[Placed]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        _check_column(path, field, table.schema_arrow.names)
        column = table.read(columns=[field]).column(field)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, "a Parquet file", error) from error
    for number, cell in enumerate(column, start=1):
        where = f"{path}, row {number}"
        try:
            value = cell.as_py()
        except UnicodeDecodeError as error:
            raise not_utf8(where, error) from error
        yield where, text_value(value, where, field, _WANTED_TEXT)


def _check_column(path: Path, field: str, names: list[str]) -> None:
    if field not in names:
        raise ConfigError(f"{path}: no column {field!r}; {_set_field(field, names)}")
    if names.count(field) > 1:
        raise ConfigError(f"{path}: {names.count(field)} columns are named {field!r}; rename all but one")


def _set_field(field: str, known: Iterable[str]) -> str:
    return f"set benchmark.field ({did_you_mean(field, known)})"
