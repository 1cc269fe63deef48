"""`--store` is a path or a URL; what would name another file than it seems to is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import StoreError
from harness.storage.store import Store
from harness.storage.url import store_url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("results/runs.db", "sqlite:///results/runs.db"),
        ("runs.db", "sqlite:///runs.db"),
        ("./a b/ü.sqlite", "sqlite:///./a b/ü.sqlite"),
        ("/abs/runs.db", "sqlite:////abs/runs.db"),
        ("~/runs.db", "sqlite:////home/me/runs.db"),
        ("sqlite:///~/runs.db", "sqlite:////home/me/runs.db"),
        ("sqlite:///results/runs.db", "sqlite:///results/runs.db"),
        ("sqlite:////abs/runs.db", "sqlite:////abs/runs.db"),
        ("postgresql://me:secret@host/runs?files=/shared", "postgresql://me:secret@host/runs?files=/shared"),
        ("mysql://host/db", "mysql://host/db"),  # refused where it is opened
        ("a:b.db", "sqlite:///a:b.db"),
        ("100%#1.db", "sqlite:///100%#1.db"),
    ],
)
def test_a_path_is_a_url_of_its_file(monkeypatch: pytest.MonkeyPatch, given: str, url: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert store_url(given) == url
    assert store_url(url) == url


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "--store is empty"),
        ("  ", "--store is empty"),
        ("results/", "is a folder; name a file in it: results/runs.db"),
        ("sqlite:///results/", "is a folder; name a file in it"),
        ("sqlite://results/runs.db", "write sqlite:///results/runs.db, or the path: results/runs.db"),
        ("sqlite:/abs/runs.db", "write sqlite:////abs/runs.db"),
        ("SQLite:///runs.db", "three slashes"),
        ("runs.db?mode=ro", "question mark"),
        ("~nobody-of-this-name/runs.db", "write the path of the file in full"),
    ],
)
def test_what_names_no_file_is_refused(given: str, words: str) -> None:
    with pytest.raises(StoreError) as caught:
        store_url(given)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["runs.db", "a b/runs.db", "~/runs.db", "ABSOLUTE/runs.db"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_every_command_takes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, by: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = name.replace("ABSOLUTE", str(tmp_path))
    Store(store_url(name)).close()
    (made,) = tmp_path.rglob("runs.db")
    option, environment = (["--store", name], {}) if by == "option" else ([], {"HARNESS_STORE": name})
    for command in (["ls", "runs"], ["status"]):
        found = CliRunner(env=environment).invoke(app, [*command, *option])
        assert (found.exit_code, "yet" in found.stdout) == (0, True), found.output
    assert list(tmp_path.rglob("runs.db")) == [made]
    wrong = CliRunner(env=environment).invoke(app, ["status", "--store", "sqlite://x.db"])
    assert (wrong.exit_code, "write sqlite:///x.db" in wrong.stderr) == (3, True)
