"""The command line: the list of its commands, and their exit codes.

Exit codes: 0 ok, 1 some cells failed, 2 usage or configuration, 3 environment or database, 75 a worker was asked to
stop, 130 interrupted.  Commands import what they need inside, so that `--help`, `ls` and `plan` load no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from harness.cli.commands import boards, dashboard, grids, models, names, removal, speed, stored, texts, tuning, workers
from harness.errors import HarnessError


class Commands(TyperGroup):
    """The group of commands: options in either spelling, and one message for every foreseen problem."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept options in either spelling."""
        return super().parse_args(ctx, spelled(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a `HarnessError` ends with its exit code, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; the same command goes on from the first unfinished cell", err=True)
            raise typer.Exit(130) from None


def spelled(args: Sequence[str]) -> list[str]:
    """Arguments with `--group_by` written `--group-by`."""
    return [re.sub(r"^--[a-z_]+", lambda found: found[0].replace("_", "-"), arg) for arg in args]


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Benchmarks training objectives of language models: MLE, behavioural cloning, SequenceMatch.",
)

for command in (
    grids.demo,
    grids.plan,
    grids.run,
    tuning.tune,
    grids.status,
    workers.worker,
    workers.launch,
    workers.retry,
    workers.logs,
    workers.reproduce,
    boards.leaderboard,
    boards.compare,
    boards.overhead,
    boards.validity,
    boards.export,
    removal.rm,
    dashboard.dashboard,
    stored.rescore,
    stored.samples,
    stored.replay,
    models.generate,
    models.export_model,
    models.evaluate,
    texts.score,
    texts.sensitivity,
    names.ls,
    names.info,
    names.env,
    names.doctor,
    speed.bench,
):
    app.command()(command)


def main() -> None:
    """The console script."""
    app()
