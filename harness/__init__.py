"""A benchmark harness for training objectives of autoregressive language models.

`from harness import Grid, RunConfig, Store, load_grid, check, run_grid, leaderboard, load_policy` does from Python what
the command line does; each is loaded when it is asked for, so that `import harness` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

DEFAULT_STORE = "sqlite:///results/runs.db"  # where results are when nobody says

_WHERE = {
    "Grid": "harness.grids.grid",
    "RunConfig": "harness.config.run",
    "Store": "harness.storage.store",
    "check": "harness.grids.check",
    "leaderboard": "harness.report.leaderboard",
    "load_grid": "harness.grids.grid",
    "load_policy": "harness.runs.load",
    "run_grid": "harness.runner.grid",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """One of the names above, from where it lives."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
