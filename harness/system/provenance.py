"""Provenance of a result: the code's revision, the packages, the machine, and the peak memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from harness.system import sqlite

# Every package whose release can move a score, those of mauve-text's clustering among them.
PACKAGES = (
    "sequencematch-harness",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "mauve-text",
    "faiss-cpu",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "pyarrow",
    "nltk",
    "pydantic",
    "sqlalchemy",
)


def provenance(root: Path | None = None, *, threads: int | None = None) -> dict[str, Any]:
    """All that a result depends on besides its configuration, as plain JSON values.

    Args:
        root: the top folder of the git working tree that the code comes from; default: the folder of this package.
        threads: number of CPU threads of one operation (it changes the last bits); recorded as given.

    Returns:
        `git` {revision, dirty, reason}, `python`, `platform`, `cpu` {model, cores, logical}, `memory_bytes`,
        `accelerators` (names; None while torch is not loaded, for this function never loads it), `threads`,
        `packages` {name: version, or None where it is not installed}, `sqlite`.
    """
    return {
        "git": _git(root or Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "cores": psutil.cpu_count(logical=False),
            "logical": psutil.cpu_count(logical=True),
        },
        "memory_bytes": psutil.virtual_memory().total,
        "accelerators": _accelerators(),
        "threads": threads,
        "packages": {name: _version(name) for name in PACKAGES},
        "sqlite": sqlite.version(),
    }


def peak_memory_bytes() -> int:
    """Peak resident memory of this process since it started, in bytes.

    It never falls: of several runs in one process, a later one reports at least the peak of an earlier one.
    """
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def _git(root: Path) -> dict[str, Any]:
    """Revision and dirtiness (untracked files count), or None with the reason."""
    try:
        top = Path(_git_output(root, "rev-parse", "--show-toplevel"))
        if top.resolve() != root.resolve():  # an installed copy inside another repository
            raise ValueError(f"{root} is not the top of a git working tree; that is {top}")
        revision = _git_output(root, "rev-parse", "--verify", "HEAD")
        return {"revision": revision, "dirty": bool(_git_output(root, "status", "--porcelain")), "reason": None}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"revision": None, "dirty": None, "reason": str(error)}


def _git_output(root: Path, *arguments: str) -> str:
    # GIT_DIR and similar variables, which git sets inside hooks, may name another repository than `root`'s.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}  # status must not write the index of a shared tree
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, env=environment)
    if done.returncode:
        raise ValueError(done.stderr.strip().partition("\n")[0] or f"git {arguments[0]} failed")
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _accelerators() -> list[str] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
