"""The command that times this harness beside other libraries."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.arguments import Device, Json
from harness.cli.output import as_json_text, say, screen_width

if TYPE_CHECKING:
    from harness.plugins.speed import SpeedRow
    from harness.report.fitting import FittedTable

Rows = Annotated[
    str | None, typer.Option("--rows", help="Names of the rows to time, comma-separated; all when left out.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="One round in place of five: an order of magnitude, not a result.")
]


def bench(rows: Rows = None, quick: Quick = False, device: Device = "auto", as_json: Json = False) -> None:
    """Time this harness side by side with other libraries; on a busy machine only the ratios mean something."""
    import torch
    from rich.console import Console

    from harness.plugins.speed import ROUNDS, time_comparisons
    from harness.system.device import choose_device
    from harness.system.provenance import provenance

    names = [name.strip() for name in rows.split(",")] if rows else []
    chosen, found = str(choose_device(device)), []
    progress = Console(stderr=True)
    for row in time_comparisons(names, chosen, 1 if quick else ROUNDS):
        found.append(row)
        numbers = f"{_number(row.ours)} {row.unit}, ratio {_number(row.ratio)}"
        progress.print(f"{row.name}: {row.reason or numbers}", style="dim")
    machine = {"device": chosen, **provenance(threads=torch.get_num_threads())}
    if as_json:
        typer.echo(as_json_text({"rows": [dataclasses.asdict(row) for row in found], "machine": machine}))
        return
    Console(width=screen_width() or 120).print(_table(found))
    for row in found:
        say(f"{row.name}: {row.what}{', against ' * bool(row.against)}{row.against}")
        if row.reason:
            say(f"    not measured: {row.reason}")
    say(_machine_text(machine))


def _table(found: list[SpeedRow]) -> FittedTable:
    from harness.report.fitting import FittedTable

    rows = []
    for row in found:
        sign = ">=" if row.better == "higher" else "<="
        spread = "" if row.low is None or row.high is None else f"{_number(row.low)} - {_number(row.high)}"
        met = {True: "yes", False: "no", None: "-"}[row.met]
        numbers = (_number(row.ours), _number(row.theirs), row.unit, _number(row.ratio), spread)
        rows.append([row.name, *numbers, f"{sign} {row.target:g}", met])
    head = ("row", "ours", "theirs", "unit", "ratio", "min-max", "target", "met")
    return FittedTable("", head, rows)


def _number(value: float | None) -> str:
    """A number with three significant digits.

    >>> _number(12345.6), _number(0.01234), _number(None)
    ('12,346', '0.0123', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _machine_text(machine: dict[str, Any]) -> str:
    packages = machine["packages"]
    known = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers", "mauve-text", "nltk"))
    cpu = machine["cpu"]
    cards = f", {', '.join(machine['accelerators'])}" if machine["accelerators"] else ""
    return (
        f"{machine['device']}, {machine['threads']} threads, {cpu['model']} ({cpu['logical']} logical cores){cards}; "
        f"Python {machine['python']}, {known}"
    )
