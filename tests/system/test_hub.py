"""Names of models without torch: what is there, what the Hub's cache holds, and a Hub that cannot be asked."""

from __future__ import annotations

import re
import socket
import sys
import time
from pathlib import Path

import pytest

from harness.errors import EnvironmentProblem
from harness.system import hub
from harness.system.hub import check_model, kept


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one model, an empty folder and one model below a folder; a cache with two; a Hub behind a port that
    nothing listens on."""
    for name in ("policy", "runs/small"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("models--gpt2", "models--me--tiny", "datasets--me--texts"):
        (tmp_path / "hub" / name / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "hub" / "models--me--broken").mkdir()
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTPS_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["policy", "./policy", "runs/small", "gpt2", "me/tiny"])
def test_what_is_here_may_be_loaded(name: str) -> None:
    check_model(name, repr(name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "nosuchmodel",
            "no such directory, no copy of a Hub model of this name is here, and 127.0.0.1 cannot be reached",
        ),
        ("polcy", "did you mean 'policy'?"),
        ("runs/smal", "did you mean 'runs/small'?"),
        ("me/tinny", "did you mean 'me/tiny'?"),
        ("me/broken", "OWNER/NAME of the Hub while online"),
        ("./polici", "no such directory; give a directory with config.json"),
        ("/no/such/model", "no such directory; give"),
        ("~nobody/model", "no such directory; give"),
        ("a/b/c", "no such directory; give"),
        ("~nobody-of-this-name/model", "no such directory; give"),
        ("", "the directory has no config.json; give"),
        ("empty", "the directory has no config.json; give"),
        ("runs", "the directory has no config.json; give"),
    ],
)
def test_what_is_not_is_told_with_the_nearest_and_at_once(name: str, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=re.escape(words)) as caught:
        check_model(name, repr(name))
    assert time.monotonic() - start < 2
    assert str(caught.value).startswith(f"{name!r} cannot be loaded: ")


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up the name alone would take a minute."""
    monkeypatch.setattr(hub.socket, "create_connection", lambda *_, **__: time.sleep(60) or socket.socket())
    monkeypatch.setattr(hub, "SECONDS", 0.05)
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        check_model("me/other", "it")


def test_a_hub_that_answers_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        check_model("me/other", "it")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(EnvironmentProblem, match="HF_HUB_OFFLINE forbids to ask the Hub"):
            check_model("me/other", "it")


def test_the_cache_is_where_the_hubs_own_library_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert kept() == ["gpt2", "me/tiny"]
    monkeypatch.delenv("HF_HUB_CACHE")
    (tmp_path / "home").mkdir()
    (tmp_path / "hub").rename(tmp_path / "home" / "hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert kept() == ["gpt2", "me/tiny"]
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert kept() == []
    (tmp_path / "caches").mkdir()
    (tmp_path / "home").rename(tmp_path / "caches" / "huggingface")
    assert kept() == ["gpt2", "me/tiny"]
    assert "huggingface_hub" not in vars(sys.modules["harness.system.hub"])
