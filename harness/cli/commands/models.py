"""Commands that use one model: export a trained one, generate texts with any, score any as it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.cli import complete
from harness.cli.arguments import (
    Device,
    Include,
    RunId,
    SeedCount,
    StoreUrl,
    Threads,
    include_files,
    open_store,
    print_notes,
)
from harness.cli.cells import run_cells
from harness.cli.output import as_json_line, print_leaderboard
from harness.errors import ConfigError, EnvironmentProblem
from harness.storage.url import DEFAULT_STORE

Model = Annotated[str, typer.Argument(metavar="RUN|DIR", help="Run id or its beginning, model directory, or Hub id.")]
Decoder = Literal["sample", "greedy", "contrastive"]


def export_model(
    run: RunId,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write, new or empty.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the directory.")] = False,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Write a run's policy as a folder that transformers alone can load, with a model card that says how to sample."""
    from harness.storage.queries import find_run

    opened = open_store(store)
    run_id = find_run(opened, run)

    import torch

    from harness.models.card import card
    from harness.models.export import export
    from harness.runs.load import of_run

    policy = of_run(opened, run_id, torch.device("cpu"))
    data_hash = (opened.provenance(run_id) or {})["data_hash"]
    export(policy, directory, card(policy, opened.config(run_id), data_hash), overwrite=overwrite)
    typer.echo(f"{directory}: {opened.config(run_id).label}; {directory / 'README.md'} says how to sample")


def generate(
    model: Model,
    prompts: Annotated[Path, typer.Option(help='File of JSON lines {"prompt": ...}, or .txt with one prompt a line.')],
    out: Annotated[Path | None, typer.Option(help="File for the JSON lines, instead of printing them.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of continuations of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling; equal seeds write equal texts.")] = 0,
    max_length: Annotated[int | None, typer.Option(min=1, help="Most tokens after the prompt.")] = None,
    decoder: Annotated[
        Literal["sample", "greedy", "contrastive"],
        typer.Option(help="Choice of actions: drawn, the likeliest, or contrastive search."),
    ] = "sample",
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the distribution that is drawn from; default 1.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Keep the k likeliest actions; for contrastive its candidates.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the smallest set of actions with this mass.")] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Keep actions at least this times as likely as the likeliest.")
    ] = None,
    typical_p: Annotated[
        float | None, typer.Option(help="Keep this mass of the actions whose surprise is nearest to the entropy.")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Drop actions below min(eta, sqrt(eta) exp(-entropy)).")] = None,
    penalty_alpha: Annotated[
        float | None, typer.Option(help="For contrastive, the weight of the likeness to earlier states.")
    ] = None,
    backspace_bias: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|masked", help="Number added to the logit of <backspace>; masked: never drawn."),
    ] = None,
    best_of: Annotated[
        int | None, typer.Option(help="Texts written per continuation, of which the likeliest is kept.")
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(help="Share of the texts, the least likely, that is thrown away and written once more."),
    ] = None,
    backspace: Annotated[
        bool,
        typer.Option("--backspace/--no-backspace", help="Allow <backspace> to a policy that has it, or take it away."),
    ] = True,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
) -> None:
    """Continue prompts with a run's policy, an exported one or any model: JSON lines of prompt, text, actions, stop."""
    from harness.config.sampling import sampling_of
    from harness.data.text_files import read_prompts
    from harness.storage.queries import find_run, is_run_id
    from harness.system.hub import check_model
    from harness.system.model_files import local

    given: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical_p,
        "eta": eta,
        "penalty_alpha": penalty_alpha,
        "backspace_bias": backspace_bias,
        "best_of": best_of,
        "reject": reject,
        "length": max_length,
    }
    sampling = sampling_of(decoder=decoder, **{name: value for name, value in given.items() if value is not None})
    asked = read_prompts(prompts)
    if local(model) is None and is_run_id(model):
        find_run(open_store(store), model)
    else:
        check_model(model, repr(model), "no run id, which is hexadecimal, ")

    from harness.generation.generate import as_row, continuations
    from harness.runs.load import load_policy
    from harness.system.device import choose_device

    policy = load_policy(model, store, choose_device(device))
    if not backspace:
        policy.drop_backspace()
    rollouts = continuations(policy, asked, sampling, seed=seed, n=n)
    rows = (as_row(asked[i // n], rollout) for i, rollout in enumerate(rollouts))
    lines = (as_json_line(row, sys.stdout.encoding if out is None else "utf-8") for row in rows)
    if out is None:
        for line in lines:
            typer.echo(line)
        return
    try:
        with out.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise EnvironmentProblem(f"--out {out}: {error.strerror}; name a file in a folder that exists") from error


def evaluate(
    model: Annotated[str, typer.Argument(metavar="DIR|HUB_ID", help="Model directory, or Hub id.")],
    benchmark: Annotated[
        str,
        typer.Option(help="Benchmark to score on; see `harness ls benchmarks`.", autocompletion=complete.benchmarks),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings, as of a grid: corpus=FILE, context=512, top_p=.9."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics to compute; default: the benchmark's own list.")] = None,
    seeds: SeedCount = None,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
    threads: Threads = None,
    include: Include = None,
) -> None:
    """Score a checkpoint as it is; its runs are stored as grid `evaluated`, and their row says `not trained`."""
    from harness.grids.check import check
    from harness.grids.untrained import as_it_is
    from harness.runner.options import RunnerOptions
    from harness.runner.worker import server

    included = include_files(include)
    asked = [*(overrides or ()), *([] if metrics is None else [f"metrics={metrics}"])]
    grid = as_it_is(model, benchmark, asked, seeds or 1)
    cells = check(grid)
    print_notes(cells)
    trained = [cell.training.steps for cell in cells if not cell.untrained]
    if trained:
        raise ConfigError(f"training.steps={trained[0]}: evaluate trains nothing; write a grid and `harness run` it")
    server()
    options = RunnerOptions(device=device, threads=threads, include=included)
    tally = run_cells(grid.name, cells, store, options)
    print_leaderboard(open_store(store), grid.name)
    raise typer.Exit(1 if tally.failed else 0)
