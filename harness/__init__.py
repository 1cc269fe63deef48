"""A benchmark harness for training objectives of autoregressive language models.

The map: nineteen packages, in the order of the layers; a package imports only from packages above it::

    harness/
      records      plain values between stages: examples, rollouts, scores
      config       `RunConfig`: everything that defines one run, and its id
      actions      the action space with `<backspace>`; action sequences as a batch
      system       files, processes, devices, provenance
      plugins      contracts of trainers, benchmarks and metrics
      storage      the results store: database, job queue, files
      stats        intervals, permutation tests, power, ranks over seeds
      models       language models as policies: built, loaded, adapted, exported
      metrics      one file for each family of metrics
      analysis     stored runs as groups, costs, effects
      generation   decoders, batched sampling, best-of-n
      report       leaderboards, comparisons, exports
      data         from texts to batches: splits, windows, injected mistakes
      training     the training of one run: loop, checkpoints, base model
      grids        grids of runs: read from YAML, checked, planned, tuned
      evaluation   from a policy to scores
      runner       runs computed by worker processes; read `run.py` first
      runs         finished runs: loaded, scored again, reproduced
      cli          the command line

Four modules stand beside the packages: `errors`, `hashing`, `seeding` and `registry` (plug-ins by name).

`from harness import DEFAULT_STORE, Grid, RunConfig, Store, check, leaderboard, load_grid, load_policy, run_grid`
offers from Python what the command line does.  Each name is loaded when it is first used, so that `import harness`
stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "DEFAULT_STORE": "harness.storage.url",
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
    """The public name, imported from its module."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
