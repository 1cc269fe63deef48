"""The command line as a test types it, and a grid that takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from harness.cli.app import app

TINY = """
question: Does a small grid run?
base:
  benchmark: {name: language, train: 32, validation: 8, test: 8, length: 6}
  model: {width: 8, layers: 1, heads: 2, tokenizer: characters, base_steps: 2, context: 16}
  training: {steps: 2, rows: 4}
  sampling: {rollouts: 4}
  metrics: [exact_kl, actions]
grid:
  trainer: [mle, bc]
seeds: 2
controls: false
"""


class Shell:
    """The command line in this process, with one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"HARNESS_STORE": f"sqlite:///{folder}/results/runs.db", "COLUMNS": "120"}

    def __call__(self, *args: str, code: int = 0, store: str | None = None) -> Any:
        environment = self.environment | ({"HARNESS_STORE": store} if store else {})
        result = CliRunner(env=environment).invoke(app, list(args))
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json").stdout)
