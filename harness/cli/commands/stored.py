"""Commands about the stored rollouts of finished runs: rescore, samples, replay."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.arguments import (
    Device,
    Include,
    Json,
    Metrics,
    RunId,
    RunIds,
    SomeGrid,
    StoreUrl,
    chosen_grid,
    include_files,
    open_store,
)
from harness.cli.output import as_json_text, screen_width
from harness.errors import UnknownName
from harness.storage.url import DEFAULT_STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from harness.analysis.replay import Frame
    from harness.analysis.samples import Sample

Sort = Literal["prompts", "longest", "most-backspaces", "most-repetitive", "empty"]


def rescore(
    metrics: Metrics,
    grid: SomeGrid = None,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Compute metrics of finished runs from their stored rollouts; nothing is trained or generated."""
    from harness.evaluation.scoring import parse_requests
    from harness.grids.settings import split_list
    from harness.storage.store import Store

    include_files(include)
    wanted = parse_requests(split_list(metrics))
    with Store.open(store) as opened:
        name = chosen_grid(grid, opened)

        from harness.runs.rescore import rescore as rescored
        from harness.system.device import choose_device

        found = rescored(opened, name, wanted, choose_device(device))
    if as_json:
        typer.echo(as_json_text(dataclasses.asdict(found)))
    else:
        typer.echo(f"{found.runs} runs: {found.added} scores added, {found.replaced} replaced")
        for what, why in (*found.refused.items(), *found.skipped.items()):
            typer.echo(f"left as it is: {what}: {why}", err=True)
    raise typer.Exit(1 if found.skipped or not found.runs else 0)


def samples(
    runs: RunIds,
    limit: Annotated[int, typer.Option(min=1, help="Most prompts to show.")] = 5,
    sort: Annotated[Sort, typer.Option(help="Order of the prompts.")] = "prompts",
    store: StoreUrl = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show the texts of runs, side by side for each prompt, beside the expert's text."""
    from rich.console import Console

    from harness.analysis.samples import side_by_side
    from harness.storage.queries import find_run

    opened = open_store(store)
    ids = list(dict.fromkeys(find_run(opened, beginning) for beginning in runs))
    found = side_by_side(opened, ids, sort)[:limit]
    if as_json:
        typer.echo(as_json_text([dataclasses.asdict(sample) for sample in found]))
        return
    labels = {run_id: f"{run_id[:8]} {opened.config(run_id).label}" for run_id in ids}
    console = Console()
    for sample in found:
        _print_sample(console, sample, labels)


def _print_sample(console: Any, sample: Sample, labels: dict[str, str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness.system.printable import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = Text.assemble("prompt: ", (printable(sample.prompt) or "(none)", "bold"))
    texts, notes = [Text(printable(sample.reference))], [Text("")]
    table.add_column(Text("expert"), overflow="fold", ratio=1)
    for run_id, written in sample.written.items():
        table.add_column(Text(printable(labels[run_id])), overflow="fold", ratio=1)
        texts.append(Text("(not asked)" if written is None else printable(written.text) or "(empty)"))
        note = ""
        if written is not None:
            note = f"sample {written.sample}, {written.stop}, {written.tokens} tokens"
            note += f", {written.backspaces} deleted" if written.backspaces else ""
        notes.append(Text(note, style="dim"))
    table.add_row(*texts)
    table.add_row(*notes)
    console.print(table)


def replay(
    run: RunId,
    sample: Annotated[
        int, typer.Option(min=0, help="Number of the rollout, from 0, as `harness samples` shows it.")
    ] = 0,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show a rollout's actions as they happened, deleted tokens struck through."""
    from rich.console import Console

    from harness.analysis.replay import frames
    from harness.storage.queries import find_run
    from harness.storage.rollout_files import backspace_of

    opened = open_store(store)
    run_id = find_run(opened, run)
    rollouts = opened.rollouts(run_id)
    rows = rollouts.to_dict("records")
    if sample >= len(rows):
        raise UnknownName(f"run {run_id} has {len(rows)} rollouts; give --sample 0 to {len(rows) - 1}")
    row = rows[sample]
    found = frames(row, backspace_of(rollouts))
    if as_json:
        head = {"run_id": run_id, "sample": sample} | {key: row[key] for key in ("prompt", "reference", "text", "stop")}
        actions = [dataclasses.asdict(frame) | {"deleted": frame.deleted} for frame in found]
        for action in actions:  # an expert's actions have no probability
            action["log_prob"] = None if math.isnan(action["log_prob"] or 0.0) else action["log_prob"]
        typer.echo(as_json_text(head | {"actions": actions}))
        return
    console = Console()
    _print_replay(console, row["prompt"], found, row["stop"])


def _print_replay(console: Any, prompt: str, found: Sequence[Frame], stop: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness.system.printable import printable

    plain = console.color_system is None
    console.print(Text.assemble("prompt: ", (printable(prompt) or "(none)", "bold")))
    console.print(
        Text.assemble("actions: ", *(_piece(frame, plain) for frame in found)), soft_wrap=screen_width() is None
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("#", "log-prob"):
        table.add_column(head, justify="right")
    for head in ("action", "", "text after it"):
        table.add_column(head, overflow="fold")
    pieces = {frame.number: frame.piece for frame in found}
    for frame in found:
        log_prob = "given" if frame.log_prob is None else f"{frame.log_prob:.3f}"
        note = ""
        if frame.partner is not None:
            note = f"deleted by {frame.partner}" if frame.deleted else f"deletes {frame.partner}"
        state = printable("".join(pieces[number] for number in frame.state))
        cells = [Text(str(frame.number)), Text(log_prob), _piece(frame, plain), Text(note, style="dim")]
        table.add_row(*cells, Text(state[-48:] if len(state) <= 48 else "…" + state[-47:]))
    console.print(table)
    console.print(Text(f"stopped: {stop}; log-prob in nats, before temperature and truncation"))


def _piece(frame: Frame, plain: bool) -> Text:
    """The text of an action, styled; on a terminal without colours, ~~so~~ if it was deleted later."""
    from rich.text import Text

    from harness.system.printable import printable

    shown = printable(frame.piece)
    if frame.kind != "token":
        return Text(frame.piece, style="bold magenta" if frame.kind == "backspace" else "bold green")
    if frame.deleted:
        return Text(f"~~{shown}~~" if plain else shown, style="strike red")
    return Text(shown, style="underline" if frame.injected else "")
