"""Corpus files of every form give the same documents; what is no text is refused with its place, before a run."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from benchmarks.corpora import BLANK_LINES, read
from benchmarks.corpus_files import kind_of
from benchmarks.text import Text
from harness.data.text_files import read_texts
from harness.errors import ConfigError, EnvironmentProblem

DOCUMENTS = ("one,\u2028 two", 'say "three"\nfour', "日本語 😀")
HALF = '{"text": "half \\ud83d"}'


def objects(texts: tuple[str | None, ...] = DOCUMENTS) -> str:
    return "".join(f"{json.dumps({'n': 1, 'text': text})}\n" for text in texts)


def table(delimiter: str) -> bytes:
    quote = ['"' + text.replace('"', '""') + '"' for text in DOCUMENTS]
    return "\r\n".join([f"n{delimiter}text", *(f"1{delimiter}{text}" for text in quote), ""]).encode()


def zst(content: bytes) -> bytes:
    """Two frames, as parallel compressors and `cat a.zst b.zst` write them."""
    half = len(content) // 2
    return b"".join(_frame(part) for part in (content[:half], content[half:]))


def _frame(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", objects().encode()),
        ("A.JSONL", b"\xef\xbb\xbf" + objects().encode()),
        ("a.ndjson", objects().encode()),
        ("a.jsonl.gz", gzip.compress(objects().encode())),
        ("a.Jsonl.GZ", gzip.compress(objects()[:9].encode()) + gzip.compress(objects()[9:].encode())),
        ("a.jsonl.bz2", bz2.compress(objects().encode())),
        ("a.jsonl.xz", lzma.compress(objects().encode())),
        ("a.v2.jsonl.zst", zst(objects().encode())),
        ("a.json", json.dumps([{"text": text} for text in DOCUMENTS], indent=1).encode()),
        ("a.json", json.dumps(DOCUMENTS, ensure_ascii=False).encode()),
        ("a.json", objects().encode()),
        ("a.json.gz", gzip.compress(json.dumps(DOCUMENTS).encode())),
        ("a.csv", table(",")),
        ("a.TSV", table("\t")),
        ("a.csv.zst", zst(b"\xef\xbb\xbf" + table(","))),
    ],
)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name)
    assert found.documents == DOCUMENTS
    assert found.notes == ()
    assert Text(corpus=str(tmp_path / name)).field == "text"


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "a.txt.gz"])
def test_text_files_in_capitals_and_compressed(tmp_path: Path, name: str) -> None:
    content = b"one\r\n\r\ntwo\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert read(tmp_path / name).documents == ("one", "two")
    assert Text(corpus=str(tmp_path / name)).separator == BLANK_LINES


def test_a_folder_is_its_parquet_files_by_name(tmp_path: Path) -> None:
    """Of three parts in any depth the names decide; what begins with _ or . is another program's note."""
    folder = tmp_path / "shards"
    (folder / "b").mkdir(parents=True)
    (folder / "_temporary").mkdir()
    parts = {"b/0.parquet": "two", "a.PARQUET": "one", "c.parquet": "three", "_temporary/0.parquet": "no"}
    for name, text in parts.items():
        pd.DataFrame({"text": [text]}).to_parquet(folder / name)
    (folder / "_SUCCESS").write_text("")
    for name in (str(folder), f"{folder}/"):
        assert Text(corpus=name).field == "text"
        assert read(Path(name)).documents == ("one", "two", "three")
    folder.rename(tmp_path / "spark.parquet")
    assert read(tmp_path / "spark.parquet").documents == ("one", "two", "three")


def test_a_folder_without_parquet_files_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(objects())
    with pytest.raises(
        ConfigError, match=r"no .parquet file in this folder, which holds .jsonl; give one of its files"
    ):
        read(tmp_path)
    (tmp_path / "b.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"b.jsonl is a folder"):
        read(tmp_path / "b.jsonl")


def test_a_home_directory_is_written_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").write_text(objects())
    assert read(Path("~/a.jsonl")).documents == DOCUMENTS


@pytest.mark.parametrize("name", ["a.pdf", "a.jsonl.zip", "a.parquet.gz", "gz", ".txt.lz4", "texts"])
def test_a_name_of_no_known_form_is_refused_with_the_forms(name: str) -> None:
    assert kind_of(name) is None
    with pytest.raises(
        ConfigError, match=r"neither python-docs .* a path in .txt, .jsonl, .json, .csv, .tsv or .parquet"
    ):
        Text(corpus=name)


# ----------------------------------------------------------------------------------------------- texts that are none


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HALF, 'line 2: "text" holds half of a surrogate pair, which is no character; write both halves'),
        ('{"text": "\\ude00\\ud83d"}', 'line 2: "text" holds half of a surrogate pair'),
        ("[" * 100_000, r"line 2: '\[{59}.* is not JSON \(RecursionError\)"),
        ('{"text": ' + "9" * 5_000 + "}", r"line 2: .* is not JSON \(ValueError\)"),
        ('{"text": ["a"]}', r"line 2: \"text\" is \['a'\], not a string"),
        ('{"text": true}', 'line 2: "text" is True, not a string'),
        ("{'text': 'a'}", r"line 2: .* is not JSON \(Expecting property name"),
    ],
)
def test_what_score_refuses_a_corpus_refuses_in_the_same_words(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    for reads in (read, read_texts):
        with pytest.raises(ConfigError, match=said) as refused:
            reads(path)
        assert len(str(refused.value)) < 500
        str(refused.value).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl.gz", gzip.compress(f"{objects()}{HALF}".encode()), "line 4: .*half of a surrogate"),
        ("a.json", f'["a", {HALF}]'.encode(), 'item 2: "text" holds half of a surrogate'),
        ("a.json", b'["a", "\\udc00"]', "item 2: .*half of a surrogate"),
        ("a.json", b'["a",\n "b",\n c]', "' c]' is not JSON .* in its line 3.; wanted an array of texts or of objects"),
        ("a.json", b"[3]", 'item 1: "item" is 3, not a string'),
        ("a.json", b'{\n "text": "a"\n}', "line 1: '{' is not JSON .*; wanted an array of texts or of objects, or one"),
        (
            "a.csv",
            b"id,text\n1,a\n2,b, c\n",
            "line 3: 3 cells, but the header has 2; put texts that hold ',' .* double quotes",
        ),
        ("a.csv", b'id,text\n1,"a\nb"\n2\n', "line 4: 1 cells, but the header has 2"),
        ("a.csv", b'text\na\n"b\nc\n', "line 3: unexpected end of data; put texts"),
        (
            "a.csv",
            b"id;text\n1;a\n",
            "the header 'id;text' is one column; separate columns by ',', or name a file with tabs .tsv",
        ),
        ("a.csv", b"text,text\na,b\n", "2 columns are named 'text'; rename all but one"),
        ("a.csv", b"", "a.csv is empty; wanted a first line with the names"),
        ("a.csv", b"text\n\nok\n\xe9\n", "line 4 is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(objects().encode())[:-9], "not a whole .gz file"),
        ("a.jsonl.gz", objects().encode(), "not a whole .gz file"),
        ("a.jsonl.bz2", bz2.compress(b"x" * 99)[:20], "not a whole .bz2 file"),
        ("a.jsonl.xz", b"no", "not a whole .xz file"),
        ("a.jsonl.zst", zst(objects().encode())[:-5], "not a whole .zst file .Truncated"),
        ("a.txt.zst", zst(b"a\n\n\xff"), "line 3 is not UTF-8"),
        ("a.parquet", b"PAR1 and more PAR1", "not a Parquet file"),
    ],
)
def test_a_damaged_file_is_refused_by_its_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / name)


def test_parquet_cells_are_checked_like_lines(tmp_path: Path) -> None:
    """Row 2 has the three bytes of U+D83D, then a number column and a list column."""
    bad = pyarrow.Array.from_buffers(pyarrow.string(), 2, pyarrow.array([b"ok", b"\xed\xa0\xbd"]).buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": bad, "n": [1, 2], "l": [["a"], ["b"]]}), tmp_path / "a.parquet")
    for field, said in (("text", "row 2 is not UTF-8"), ("n", 'row 1: "n" is 1, not'), ("l", r"\['a'\], not a string")):
        with pytest.raises(ConfigError, match=said):
            read(tmp_path / "a.parquet", field)


def test_long_cells_are_read_and_the_limit_of_the_module_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text("text\n" + "word " * 40_000)
    assert len(read(tmp_path / "a.csv").documents[0]) == 199_999
    assert csv.field_size_limit() == before


def test_a_file_that_may_not_be_read_is_the_machine_s_problem(tmp_path: Path) -> None:
    """The memory of a process is a file whose first byte is none."""
    (tmp_path / "mem.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(EnvironmentProblem, match=r"mem.jsonl cannot be read: .*; give another file"):
        read(tmp_path / "mem.jsonl")


# ------------------------------------------------------------------------------------------------------- null texts


def test_null_texts_are_left_out_counted_or_refused(tmp_path: Path) -> None:
    """Two of five, the first in line, item or row 2; an empty text is none of them."""
    texts = ("a", None, "", "b", None)
    (tmp_path / "a.jsonl").write_text(objects(texts))
    (tmp_path / "b.json").write_text(json.dumps(texts))
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "c.parquet")
    for name, place in (("a.jsonl", "line 2"), ("b.json", "item 2"), ("c.parquet", "row 2")):
        found = read(tmp_path / name)
        assert found.documents == ("a", "b")
        assert found.notes == (
            f"{tmp_path / name}: null texts left out: 2 of 5, the first at {tmp_path / name}, {place}; "
            "benchmark.on_null=error refuses them",
        )
        with pytest.raises(
            ConfigError, match=f"{place}: the text is null; mend the file, or set benchmark.on_null=skip"
        ):
            read(tmp_path / name, on_null="error")


def test_a_field_that_is_missing_is_no_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"texts": "b"}\n')
    with pytest.raises(ConfigError, match=r"line 2: no field 'text'; .*did you mean 'texts'"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("corpus", ["python-docs", "a.txt", "a.csv"])
def test_on_null_is_refused_where_no_text_can_be_null(corpus: str) -> None:
    assert Text(corpus=corpus).on_null == "skip"
    with pytest.raises(ConfigError, match=r"benchmark.on_null='error': corpus .* without null texts; remove it"):
        Text(corpus=corpus, on_null="error")
