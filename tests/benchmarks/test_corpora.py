"""Corpora: Python's documentation is large, clean and the same every time; files are read, or refused by line."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.corpora import BLANK_LINES, _docstrings, _prose, _statements, distinct, python_docs, read, split_text
from harness.errors import ConfigError


def test_python_docs_are_large_and_clean() -> None:
    """About 1.6 million characters from at least 300 topics and modules; no doctest prompt, no table, no code run."""
    documents = python_docs()
    assert len(documents) >= 300
    assert 1.2e6 < sum(map(len, documents)) < 2.2e6
    assert len(set(documents)) == len(documents)
    for document in documents:
        assert document == document.strip()
        assert ">>>" not in document
        assert "\n\n\n" not in document
        assert not re.search(r"(?m)^\+[-=]{3}|[ \t]$|[\x00-\x09\x0b-\x1f]", document)
    assert any("Text wrapping and filling." in document for document in documents)  # textwrap's first docstring
    assert any(document.startswith('The "yield" statement') for document in documents)


def test_python_docs_hardly_repeat_themselves() -> None:
    """Of the eight-word runs of 60 documents at most 2 % stand in another document too."""
    documents = python_docs()

    def runs(text: str) -> set[str]:
        words = text.lower().split()
        return {" ".join(words[i : i + 8]) for i in range(len(words) - 7)}

    some, others = documents[::7][:60], [d for i, d in enumerate(documents) if i % 7 or i >= 420]
    mine = set().union(*map(runs, some))
    assert len(mine & set().union(*map(runs, others))) / len(mine) < 0.02


def test_python_docs_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    """A fresh process with other string hashing, and nothing kept, reads the same documents in the same order."""
    code = "from benchmarks.corpora import python_docs; print(ascii(python_docs()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii(python_docs())


def test_docstrings_stand_in_source_order_and_nothing_is_imported(tmp_path: Path) -> None:
    """Module, class, its method, then the later function; a package's `test` folder is no documentation."""
    source = """raise SystemExit
class A:
    "two"
    def f(self):
        "three"
    async def g(self): ...
def h():
    '''four
    more'''
"""
    (tmp_path / "pack" / "test").mkdir(parents=True)
    (tmp_path / "pack" / "mod.py").write_text('"one"\n' + source, encoding="utf-8")
    (tmp_path / "pack" / "test" / "test_mod.py").write_text('"not me"', encoding="utf-8")
    assert _docstrings(tmp_path) == {"module pack/mod.py": ["one", "two", "three", "", "four\nmore"]}


def test_statements_come_in_the_order_of_a_walk_over_everything() -> None:
    """Definitions below every statement that can hold one, against ast.walk."""
    source = """
if a:
    def one(): pass
elif b:
    class Two:
        async def three(): return lambda: [x for x in y]
else:
    try: pass
    except E:
        def four(): pass
    else:
        def five(): pass
    finally:
        for i in j:
            def six(): pass
        else:
            def seven(): pass
while c:
    with d as e:
        def eight(): pass
match f:
    case 1:
        def nine(): pass
async def ten():
    async with g:
        async for h in i:
            def eleven(): pass
"""
    tree, kinds = ast.parse(source), (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    walked = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert [node for node in _statements(tree) if isinstance(node, kinds)] == walked
    assert len(walked) == 12


def test_the_documents_of_a_library_are_kept_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another time of a file, another file and a damaged copy are all seen; without a place to write it works, too."""
    library, cache = tmp_path / "lib", tmp_path / "cache"
    library.mkdir()
    (library / "mod.py").write_text('"""Some words about this module."""')
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(library)})
    monkeypatch.setattr("benchmarks.corpora._topics", dict)
    docs = python_docs.__wrapped__
    assert docs() == ("Some words about this module.",)
    (kept,) = cache.rglob("*.json")
    monkeypatch.setattr("benchmarks.corpora._python_docs", lambda _: ("parsed again",))
    assert docs() == ("Some words about this module.",)
    os.utime(library / "mod.py", ns=(1, 1))
    assert docs() == ("parsed again",)
    (library / "other.py").write_text("")
    assert docs() == ("parsed again",)
    assert len(list(cache.rglob("*.json"))) == 3
    for damage in (b"", b"x", kept.read_bytes()[:-4], b"\xff"):
        for file in cache.rglob("*.json"):
            file.write_bytes(damage)
        assert docs() == ("parsed again",)
    assert not list(cache.rglob("tmp*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(library / "mod.py" / "below"))
    assert docs() == ("parsed again",)


def test_doctests_and_tables_are_cut_out_and_prose_is_not() -> None:
    sessions = "Add.\n\n    >>> 1 + 1\n    2\n\nMore:\n>>> f(\n...  x)\n'y'\n\n"
    table = "+---+\n| a |\n+---+\n\n  a | b stays\n- so does this"
    assert _prose(sessions + table) == "Add.\n\nMore:\n\n  a | b stays\n- so does this"


def test_repetitions_up_to_whitespace_are_left_out() -> None:
    assert distinct([" a  b\n", "c", "", "a b", " \n", "C"]) == ("a  b", "c", "C")


def test_blank_lines_separate_paragraphs_by_default(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\nline\r\n\r\ntwo\r\n \t\r\n\r\nthree\r\n")
    assert read(file).documents == ("one\nline", "two", "three")
    assert split_text("a--b---c", "-{2,}") == ["a", "b", "c"]


def test_jsonl_strings_may_hold_any_line_separator(tmp_path: Path) -> None:
    """U+2028 inside a string is no end of line for JSON."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"body": "one\u2028two"}\n\n{"body": "three", "id": 2}\n', encoding="utf-8")
    assert read(file, field="body").documents == ("one\u2028two", "three")


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pd.DataFrame({"id": [1, 2], "body": ["one", "two\nlines"]}).to_parquet(file)
    assert read(file, field="body").documents == ("one", "two\nlines")
    with pytest.raises(ConfigError, match=r"no column 'bodi'.*did you mean 'body'"):
        read(file, field="bodi")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": ', "a.jsonl, line 2: .* is not JSON"),
        (
            "a.jsonl",
            b'{"text": "x"}\n\n["x"]',
            r"""a.jsonl, line 3: '\["x"\]' is a list, not an object; wanted one JSON object a line""",
        ),
        ("a.jsonl", b'{"txt": "x"}', "line 1: no field 'text'.*did you mean 'txt'"),
        ("a.jsonl", b'{"text": 3}', 'line 1: "text" is 3, not a string; wanted a text'),
        ("a.jsonl", b'{"text": "\xe9"}', "line 1 is not UTF-8"),
        ("a.txt", b"a\r\n\xff", "a.txt, line 2 is not UTF-8"),
        ("a.parquet", b"PAR0", "not a Parquet file"),
        ("a.parquet", b"", "not a Parquet file"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read(file)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no such file; did you mean 'stories.txt'"):
        read(tmp_path / "storys.txt")


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        ("<|end|>", re.escape(repr(re.escape("<|end|>")))),
        ("[", "is not a regular expression"),
        ("(a)b", "has a capturing group"),
    ],
)
def test_separators_that_would_mislead_are_refused(separator: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_text("one <|end|> two ab < x", separator)
    assert split_text("one <|end|> two", r"<\|end\|>") == ["one ", " two"]
    assert split_text("one\n\ntwo", BLANK_LINES) == ["one", "two"]
