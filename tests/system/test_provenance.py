"""Provenance says what it knows, and why where it knows nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from harness.system.provenance import peak_memory_bytes, provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_revision_and_dirtiness_follow_the_working_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, no commit, a commit, an untracked file, an inner folder: five answers, a reason or a revision."""
    assert "not a git repository" in provenance(tmp_path)["git"]["reason"]
    git(tmp_path, "init", "--quiet")
    empty = provenance(tmp_path)["git"]
    assert (empty["revision"], empty["dirty"]) == (None, None)
    assert empty["reason"]
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    clean = {"revision": git(tmp_path, "rev-parse", "HEAD"), "dirty": False, "reason": None}
    assert provenance(tmp_path)["git"] == clean
    monkeypatch.setenv("GIT_DIR", "/somewhere/else")  # as inside a hook of another repository
    assert provenance(tmp_path)["git"] == clean
    monkeypatch.delenv("GIT_DIR")
    (tmp_path / "b").write_text("2")
    assert provenance(tmp_path)["git"] == clean | {"dirty": True}
    (tmp_path / "inner").mkdir()
    assert "not the top of a git working tree" in provenance(tmp_path / "inner")["git"]["reason"]


def test_without_git_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance(tmp_path)["git"]
    assert found["revision"] is None
    assert "git" in found["reason"]


def test_machine_and_packages() -> None:
    found = provenance(threads=3)
    assert found["threads"] == 3
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["torch"] == version("torch")
    assert found["cpu"]["logical"] == os.cpu_count()
    assert found["cpu"]["model"]
    assert found["memory_bytes"] > 2**28
    assert json.loads(json.dumps(found)) == found


def test_torch_is_looked_at_and_never_loaded() -> None:
    script = "import sys; from harness.system.provenance import provenance as p; assert p()['accelerators'] is None; "
    script += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).resolve().parents[2])


def test_peak_memory_is_in_bytes_and_never_falls() -> None:
    """200 MB that are touched and given back stay in the peak: it lies at least that far above nothing."""
    block = np.ones(200_000_000 // 8)
    during = peak_memory_bytes()
    assert 200_000_000 <= during < 2**40
    del block
    assert peak_memory_bytes() >= during
