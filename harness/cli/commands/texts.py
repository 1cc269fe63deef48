"""Commands that score texts from elsewhere: a file of them, or human texts with damage."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import complete
from harness.cli.arguments import Device, Include, Json, Metrics, StoreUrl, include_files
from harness.cli.output import as_json_text, show
from harness.errors import ConfigError, StoreError
from harness.plugins.metric import REFERENCE_LM
from harness.storage.url import DEFAULT_STORE

if TYPE_CHECKING:
    from harness.evaluation.features import Features
    from harness.records.score import Score
    from harness.stats.intervals import Interval

BOOTSTRAP = (
    "Number of draws for a 95 % interval over texts: 200.  Each is a random half of the texts without replacement: a "
    "text that is drawn twice would count as repetition in scores of sets."
)


def score(
    file: Annotated[
        Path, typer.Argument(help='File of JSON lines {"text": ..., "prompt": ..., "reference": ...}, or .txt.')
    ],
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics or measures to compute: diversity@simctg,mauve@mauve-text[featuriser=DIR]; default: those of "
            "texts, with --reference and --train also those that need them.",
            autocompletion=complete.metrics,
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="File of human texts: pairs with the texts if there are as many, else a set.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="File of the texts on which the model was trained, for metrics of copying.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the metrics' own randomness, such as clustering.")] = 0,
    bootstrap: Annotated[int | None, typer.Option(min=20, help=BOOTSTRAP)] = None,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Score texts from a file with the code that scores runs; exit code 1 if no metric has a value."""
    from harness.data.text_files import as_evaluation, read_texts
    from harness.evaluation.scoring import default_requests, parse_requests, score_requests, text_intervals, with_value
    from harness.grids.settings import split_list
    from harness.system.hub import check_model

    @cache
    def loaded() -> Features:  # with torch, which only some metrics need
        from harness.evaluation.features import Features
        from harness.storage.engines import place_of
        from harness.system.device import choose_device

        kept = None
        with suppress(StoreError):  # no store can be there, as on a network file system: nothing is kept
            kept = place_of(store).folder / "cache"
        return Features(None, choose_device(device), kept)

    include_files(include)
    wanted = default_requests() if metrics is None else parse_requests(split_list(metrics))
    for one in wanted:
        featuriser = one.plugin.options.get("featuriser")
        if featuriser not in (None, REFERENCE_LM):
            check_model(featuriser, f"featuriser={featuriser!r}")
    given = read_texts(file)
    evaluation = as_evaluation(
        given,
        None if reference is None else read_texts(reference).texts,
        seed=seed,
        train=() if train is None else read_texts(train).texts,
        features=lambda *asked_for: loaded()(*asked_for),
        pair=lambda *asked_for: loaded().paired(*asked_for),
    )
    scores = list(score_requests(evaluation, wanted))
    if metrics is None:
        without = dict.fromkeys(one.plugin.name for one in wanted)
        wanted = with_value(wanted, scores)
        chosen = [one.plugin.name for one in wanted]
        scores = [score for score in scores if score.value is not None] or scores
        typer.echo(_by_default(chosen, [name for name in without if name not in chosen]), err=True)
    intervals = {} if bootstrap is None else text_intervals(evaluation, wanted, bootstrap)
    pairing = "none" if not evaluation.references else "pairs" if evaluation.in_pairs else "set"
    if as_json:
        found = {
            "texts": {"file": str(file), "n": len(given.texts), "texts_hash": evaluation.texts_hash},
            "references": {"n": len(evaluation.references), "pairing": pairing},
            "seed": seed,
            "scores": [_plain(one, intervals.get(one.name)) for one in scores],
        }
        typer.echo(as_json_text(found))
    else:
        _print(scores, intervals, f"{len(given.texts)} texts, {len(evaluation.references)} references ({pairing})")
    raise typer.Exit(0 if any(one.value is not None for one in scores) else 1)


def sensitivity(
    benchmark: Annotated[
        str,
        typer.Argument(help="Benchmark whose prompts have human continuations.", autocompletion=complete.benchmarks),
    ],
    metrics: Metrics,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Options of the benchmark: corpus=FILE.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the damage and of the metrics' own randomness.")] = 0,
    store: StoreUrl = DEFAULT_STORE,
    device: Device = "auto",
    include: Include = None,
    as_json: Json = False,
) -> None:
    """Show the scores of human texts that were damaged on purpose, as a Markdown table."""
    from harness.config.run import BASE_TRAINER, RunConfig
    from harness.config.section import Plugin
    from harness.config.written import unquoted
    from harness.data.splits import load_splits
    from harness.evaluation.scoring import parse_requests
    from harness.grids.settings import split_list
    from harness.plugins.options import resolve
    from harness.storage.engines import place_of

    include_files(include)
    wanted = parse_requests(split_list(metrics))
    wrong = [given for given in options or () if "=" not in given]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is not KEY=VALUE; write the benchmark's options as corpus=FILE")
    written = [(key, unquoted(value)) for key, _, value in (given.partition("=") for given in options or ())]
    chosen = Plugin(name=benchmark, options=dict(written))
    load_splits(resolve(RunConfig(benchmark=chosen, trainer=Plugin(name=BASE_TRAINER), metrics=())).benchmark)

    from harness.evaluation.sensitivity import as_markdown
    from harness.evaluation.sensitivity import sensitivity as measured
    from harness.system.device import choose_device

    found = measured(chosen, wanted, place_of(store).folder / "cache", choose_device(device), seed=seed)
    if as_json:
        rows = {name: [_plain(one, None) for one in scores] for name, scores in found.scores.items()}
        typer.echo(as_json_text({"texts": found.texts, "seed": seed, "scores": rows}))
    else:
        typer.echo(as_markdown(found), nl=False)


def _by_default(chosen: Sequence[str], others: Sequence[str]) -> str:
    """The sentence that says which metrics were chosen, and what others want."""
    wants = {"ngram_js": "--reference FILE", "memorisation": "--train FILE"}
    text = f"metrics by default: {', '.join(chosen) or 'none has a value'}"
    text += "".join(f"; {name} needs {wants[name]}" for name in others if name in wants)
    return f"{text}; --metrics NAME,NAME chooses others (`harness ls metrics`)"


def _plain(score: Score, interval: Interval | None) -> dict[str, Any]:
    """A score as JSON has it; a number that is not finite becomes the text `inf`, `-inf` or `nan`."""
    value = score.value if score.value is None or math.isfinite(score.value) else str(score.value)
    found = {"name": score.name} | dataclasses.asdict(score) | {"value": value}
    return found if interval is None else found | {"low": interval.low, "high": interval.high}


def _print(scores: Sequence[Score], intervals: Mapping[str, Interval], about: str) -> None:
    from rich.text import Text

    from harness.report.rendering import ARROWS, simple

    head = ["score", "value", *(["95 % interval"] if intervals else []), "n", "unit"]
    rows = []
    for one in scores:
        value = "no value" if one.value is None else f"{one.value:.6g}"
        interval = intervals.get(one.name)
        low_high = "–" if interval is None or interval.low is None else f"{interval.low:.4g} to {interval.high:.4g}"
        name = f"{one.name} {ARROWS[one.direction]}"
        rows.append([name, value, *([low_high] if intervals else []), str(one.n), one.unit])
    reasons: dict[str, list[str]] = {}
    for one in scores:
        if one.reason is not None:
            reasons.setdefault(one.reason, []).append(one.metric)
    lines = [about, *(f"{', '.join(names)}: no value: {reason}" for reason, names in reasons.items())]
    show([*simple("", head, rows, [])[:-1], *map(Text, lines)])
