"""The command line: the list of its commands, and their exit codes.

Exit codes: 0 ok, 1 some cells failed, 2 usage or configuration, 3 environment or database, 75 a worker was asked to
stop, 130 interrupted.  Commands import what they need inside, so that `--help`, `ls` and `plan` load no torch.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

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
    pretty_exceptions_enable=False,
    help="Benchmarks training objectives of language models: MLE, behavioural cloning, SequenceMatch.",
)


def show_versions(asked: bool) -> None:
    """Print the versions that decide about results, and end; torch is not loaded for it."""
    if not asked:
        return
    typer.echo(f"sequencematch-harness {_version('sequencematch-harness')}\nPython {platform.python_version()}")
    for package in ("torch", "transformers"):
        typer.echo(f"{package} {_version(package)}")
    raise typer.Exit()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


@app.callback()
def options(
    show: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=show_versions,
            help="Print the versions of the harness and its libraries.",
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


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
    removal.archive,
    removal.restore,
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
    """The console script; the name is the command's, also where `python -m harness` starts it."""
    app(prog_name="harness")
