"""Datasets from the Hub: what names them, a dataset directory on this machine, and what is said without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.hub import Source, parse, read
from benchmarks.text import Text
from harness.errors import ConfigError, EnvironmentProblem


@pytest.mark.parametrize(
    ("corpus", "source"),
    [
        ("hub:a/b@0f3c", Source("a/b", None, "0f3c", "train", None)),
        ("hub:a/b/c-1@v1.0:test", Source("a/b", "c-1", "v1.0", "test", None)),
        ("hub:a/b@refs/convert/parquet:train[:20]", Source("a/b", None, "refs/convert/parquet", "train", 20)),
        ("hub:wikitext@0f3c", Source("wikitext", None, "0f3c", "train", None)),
        ("hub:./here:test[:5]", Source("./here", None, None, "test", 5)),
        ("hub:/data/here", Source("/data/here", None, None, "train", None)),
        ("hub:~/here", Source("~/here", None, None, "train", None)),
    ],
)
def test_a_dataset_is_named_with_its_revision(corpus: str, source: Source) -> None:
    assert parse(corpus) == source


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("hub:a/b", r"which revision\? .* write hub:a/b@COMMIT"),
        ("hub:a/b:test", "which revision"),
        ("hub:", "names no dataset; write hub:OWNER/NAME"),
        ("hub:a/b@x:train[3:]", "names no dataset"),
        ("hub:a b@x", "names no dataset"),
    ],
)
def test_a_name_that_is_none_is_refused_before_anything_is_read(corpus: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Text(corpus=corpus)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset directory: 40 documents in two Parquet files, and a test split of two as JSON lines."""
    (tmp_path / "parquet").mkdir()
    for part in range(2):
        texts = [f"document {number} " + "word " * 30 for number in range(20 * part, 20 * part + 20)]
        frame = pd.DataFrame({"body": texts, "n": range(20)})
        frame.to_parquet(tmp_path / "parquet" / f"train-0000{part}-of-00002.parquet")
    (tmp_path / "json").mkdir()
    lines = [json.dumps({"text": text}) for text in ("a", "", " a ", "b\u2028c")]
    (tmp_path / "json" / "test.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_a_dataset_directory_is_read_as_the_hub_would_be(folder: Path) -> None:
    """In order, as many as asked for; empty documents and repetitions are left out, as from any corpus."""
    documents = read(f"hub:{folder}/parquet", "body").documents
    assert [document.split()[1] for document in documents] == [str(number) for number in range(40)]
    assert read(f"hub:{folder}/parquet:train[:3]", "body").documents == documents[:3]
    assert read(f"hub:{folder}/json:test", "text").documents == ("a", "b\u2028c")
    splits = Text(corpus=f"hub:{folder}/parquet", field="body", prompt_words=4, continuation_words=8).splits()
    parts = (splits.train, splits.validation, splits.test)
    assert sorted(example.text for part in parts for example in part) == sorted(documents)


def test_null_texts_of_a_dataset_are_counted_or_refused(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", None, "b"]}).to_parquet(tmp_path / "train.parquet")
    corpus = f"hub:{tmp_path}"
    found = read(corpus, "text")
    assert found.documents == ("a", "b")
    assert f"null texts left out: 1 of 3, the first at {corpus}, document 2" in found.notes[0]
    with pytest.raises(ConfigError, match="document 2: the text is null"):
        read(corpus, "text", on_null="error")


def test_a_wrong_field_split_or_folder_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"document 1: no field 'text'; set benchmark\.field \(known: body, n\)"):
        read(f"hub:{folder}/parquet", "text")
    with pytest.raises(ConfigError, match='document 1: "n" is 0, not a string'):
        read(f"hub:{folder}/parquet", "n")
    with pytest.raises(ConfigError, match=r"cannot be read: .*nosuch"):
        read(f"hub:{folder}/parquet:nosuch", "body")
    with pytest.raises(ConfigError, match="no such folder"):
        read("hub:./nowhere", "text")


def test_without_the_package_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'sequencematch-harness\[hub\]'"):
        read(f"hub:{folder}/parquet", "body")


READ = """
import sys, time
from benchmarks.hub import read
from harness.errors import EnvironmentProblem
began = time.perf_counter()
try:
    print(len(read(sys.argv[1], "text").documents))
except EnvironmentProblem as error:
    print(error)
assert time.perf_counter() - began < 5
"""


def asked(corpus: str, folder: Path, **environment: str) -> str:
    """Its answer, in a process of its own, because `datasets` asks once if it is offline.

    The network is a port of this machine where nothing listens.
    """
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder), "HF_DATASETS_CACHE": str(folder / "kept")}
    without = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-c", READ, corpus]
    done = subprocess.run(command, capture_output=True, text=True, env={**without, **away, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "127.0.0.1 cannot be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids to ask the Hub"),
        ({"HF_ENDPOINT": "https://no.such.host.invalid"}, "no.such.host.invalid cannot be reached"),
        ({"HF_ENDPOINT": "http://a.invalid", "http_proxy": "http://127.0.0.1:9"}, "127.0.0.1 cannot be reached"),
    ],
)
@pytest.mark.parametrize("corpus", ["hub:nobody/nothing@0f3c", "hub:nothing/some@v1:test[:5]"])
def test_without_a_network_it_is_said_in_seconds(
    corpus: str, environment: dict[str, str], why: str, tmp_path: Path
) -> None:
    said = asked(corpus, tmp_path, **environment)
    assert f"benchmark.corpus={corpus!r} cannot be read: no copy of this dataset is here, and {why}" in said
    assert "where there is no network, download the dataset elsewhere and give its folder" in said


def test_without_a_network_a_kept_copy_is_read_in_seconds(tmp_path: Path) -> None:
    """The cache of `datasets` as it is after a download: a folder by owner and name, the name in snake case."""
    import datasets

    (tmp_path / "source").mkdir()
    pd.DataFrame({"text": ["a", "b", "c"]}).to_parquet(tmp_path / "source" / "train.parquet")
    made = datasets.load_dataset_builder(
        "parquet", data_files=str(tmp_path / "source" / "train.parquet"), cache_dir=str(tmp_path / "made")
    )
    made.download_and_prepare()
    copy = tmp_path / "kept" / "nobody___some_thing" / "default" / "0.0.0" / "0f3c"
    shutil.copytree(made.cache_dir, copy)
    (copy / "parquet-train.arrow").rename(copy / "some_thing-train.arrow")
    facts = (copy / "dataset_info.json").read_text()
    (copy / "dataset_info.json").write_text(facts.replace('_name": "parquet"', '_name": "some_thing"'))
    assert asked("hub:nobody/SomeThing@0f3c", tmp_path) == "3\n"
