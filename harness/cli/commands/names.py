"""Commands that describe plug-ins, grids, this machine and the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from harness.cli import complete
from harness.cli.arguments import (
    Include,
    Json,
    StoreUrl,
    include_files,
    load_grid_argument,
    open_store,
    store_exists,
)
from harness.cli.output import aligned, as_json_text, say
from harness.errors import ConfigError
from harness.storage.url import DEFAULT_STORE


def ls(
    kind: Annotated[
        Literal["trainers", "divergences", "metrics", "benchmarks", "grids", "runs"],
        typer.Argument(help="Kind of thing to list."),
    ],
    store: StoreUrl = DEFAULT_STORE,
    archived: Annotated[
        bool, typer.Option("--archived", help="The archived grids or runs, in place of the others.")
    ] = False,
    include: Include = None,
    as_json: Json = False,
) -> None:
    """List all plug-ins of a kind, all shipped grids or all stored runs."""
    include_files(include)
    rows: list[dict[str, Any]]
    if archived and kind not in ("grids", "runs"):
        raise ConfigError(f"--archived {kind}: grids and runs can be archived; `harness ls runs --archived` lists them")
    if kind == "runs":
        from harness.config.names import run_names
        from harness.system.printable import printable

        opened = open_store(store)
        rows = json.loads(opened.runs(archived=archived).to_json(orient="records", date_format="iso"))
        names = run_names(opened.configs(archived=archived).values())
        for row in rows:  # a run of another version's configuration has no name here
            plain = f"{row['benchmark.name']} {row['trainer.name']}"
            row["name"] = names.get(row["run_id"], plain)
        lines = aligned([[row["run_id"], row["status"], printable(row["name"])] for row in rows])
    elif archived:
        rows = [{"name": name} for name in open_store(store).archived_grids()]
        lines = [row["name"] for row in rows]
    elif kind == "grids":
        from harness.grids.grid import grid_names

        away = open_store(store).archived_grids() if store_exists(store) else []
        names_left = [name for name in grid_names() if name not in away]
        rows = [{"name": name, "question": load_grid_argument(name).question} for name in names_left]
        lines = aligned([(row["name"], row["question"]) for row in rows])
    else:
        from harness.cli.describe import REGISTRIES

        rows = [{"name": name} for name in REGISTRIES[kind]]
        lines = [row["name"] for row in rows]
    if as_json:
        typer.echo(as_json_text(rows))
        return
    longest = max((len(row.get("name", "")) for row in rows), default=0)
    say("\n".join(lines) or (f"no {kind} are archived" if archived else f"no {kind} yet"), longest + 2)


def info(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a trainer, divergence, metric, measure, benchmark or grid.", autocompletion=complete.described
        ),
    ],
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Describe a plug-in or grid: its options with types and defaults, and its source."""
    from harness.cli.describe import describe

    include_files(include)
    found = describe(name)
    typer.echo(as_json_text(found)) if as_json else say("\n\n".join(map(_described, found)))


def env(store: StoreUrl = DEFAULT_STORE, as_json: Json = False) -> None:
    """Show what results here depend on: versions, machine, threads, store."""
    import torch

    from harness.system.provenance import provenance

    found = {"store": store, **provenance(threads=torch.get_num_threads())}
    typer.echo(as_json_text(found)) if as_json else say("\n".join(_indented(found)))


def doctor(
    store: StoreUrl = DEFAULT_STORE,
    deep: Annotated[bool, typer.Option("--deep", help="Read every row and every file of the store.")] = False,
    as_json: Json = False,
) -> None:
    """Examine this machine and the store for problems and say what to do; nothing is changed."""
    from harness.cli.doctor import examine

    findings = []
    for finding in examine(store, deep=deep):
        findings.append(finding)
        if not as_json:
            advice = f"\n{'':10}-> {finding.advice}" if finding.advice else ""
            say(f"{finding.state:10}{finding.what}: {finding.found}{advice}", 10)
    if as_json:
        typer.echo(as_json_text([dataclasses.asdict(finding) for finding in findings]))
    raise typer.Exit(3 if any(finding.state == "problem" for finding in findings) else 0)


def _described(found: dict[str, Any]) -> str:
    lines = [f"{found['kind']} {found['name']}", "", found["description"], ""]
    for option in found.get("options", ()):
        lines.append(f"  {option['name']}: {option['type']} = {option['default']}")
        lines += [f"      {option['description']}"] if option["description"] else []
    for key, space in found.get("tuned", {}).items():
        lines.append(f"  harness tune draws {key} from {space}")
    for name, measure in found.get("measures", {}).items():
        lines.append(f"  {name} [{measure['unit']}, better: {measure['direction']}]  {measure['summary']}")
    for key, value in found.get("values", {}).items():
        lines.append(f"  {key}: {value}")
    for axis in found.get("axes", ()):
        lines.append(f"  {', '.join(axis['keys'])}: {axis['values']} values")
    if "cells" in found:
        lines.append(f"  seeds {', '.join(map(str, found['seeds']))}: {found['cells']} cells")
    return "\n".join([*lines, "", f"source: {found['source']}"])


def _indented(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield f"{indent}{key}:"
            yield from _indented(inner, indent + "  ")
        else:
            yield f"{indent}{key}: {inner}"
