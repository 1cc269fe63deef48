"""The check of a grid before it runs: every cell with its options written out, or an error that says why one cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from harness.config.run import RunConfig
from harness.data.checks import check_room, check_texts
from harness.data.fit import check_fit
from harness.data.splits import load_splits
from harness.errors import ConfigError, did_you_mean
from harness.grids.controls import controls
from harness.grids.grid import Grid
from harness.plugins.benchmark import selection
from harness.plugins.metric import REFERENCE_LM
from harness.plugins.options import build
from harness.records.data import Splits
from harness.records.verdict import Verdict
from harness.registry import TRAINERS
from harness.system.hub import check_files, check_model
from harness.system.model_files import local


def check(
    grid: Grid, folder: Path | None = None, before: Callable[[list[RunConfig]], None] | None = None
) -> list[RunConfig]:
    """Every cell of a grid with all options written out, its controls last.

    Args:
        grid: it is expanded once.
        folder: that of a store: verdicts on models that the cells load are kept there.
        before: looks at the cells before they are checked, controls aside.

    Raises:
        ConfigError: a cell that cannot run, and why.
    """
    cells = grid.expand()
    if before is not None:
        before(cells)
    return check_cells([*cells, *controls(cells)] if grid.controls else cells, folder)


def check_cells(cells: list[RunConfig], folder: Path | None = None) -> list[RunConfig]:
    """The cells as they are, if all of them can run; `folder` as in `check`.

    Raises:
        ConfigError: a cell that cannot run, and why.
    """
    for config in cells:
        build(TRAINERS, config.trainer, "trainer")
        name = config.model.name
        if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
            raise ConfigError(f"model.name={name!r}: no such directory; give one with config.json and weights")
        splits = load_splits(config.benchmark)
        if config.actions.noise_kind == "ground_truth" and splits.mistake is None:
            raise ConfigError(
                f"actions.noise_kind=ground_truth: benchmark {config.benchmark.name!r} has no ground truth; "
                "use uniform, unigram or policy"
            )
        if config.sampling.temperature == "best":
            selection(config)
        for featuriser in featurisers(config):
            if local(featuriser) is not None or featuriser.startswith((".", "/", "~")):
                check_model(featuriser, f"featuriser={featuriser!r}")
                check_files(Path(featuriser).expanduser(), f"featuriser={featuriser!r}")
        _check_interim(config)
        _check_validation(config, splits)
    _check_fit(cells)
    here = loaded(cells, folder)
    loras(cells, folder)
    check_fit((cell for cell in cells if cell.model.name in here), None if folder is None else folder / "cache")
    return cells


def loaded(cells: Iterable[RunConfig], folder: Path | None = None) -> dict[str, Verdict]:
    """The verdicts of the probe on the models that the cells load, by name; those that are not here yet are left out.

    Raises:
        ConfigError: the harness would compute one of them wrongly, or it cannot do what a cell asks for.
        EnvironmentProblem: a directory holds no model.
    """
    found = {}
    asked = {
        (config.model, config.actions.backspace, config.sampling.decoder == "contrastive"): None
        for config in cells
        if not config.model.from_scratch
    }
    for model, backspace, contrastive in asked:
        from harness.generation import verdicts  # of a model that is not known yet the verdict loads torch

        kept = None if folder is None else folder / "cache"
        if (
            verdict := verdicts.check_model(model, backspace=backspace, contrastive=contrastive, folder=kept)
        ) is not None:
            found[model.name] = verdict
    return found


def loras(cells: Iterable[RunConfig], folder: Path | None = None) -> dict[str, str]:
    """Places of the LoRAs of loaded models, in words, by model and targets; `folder` as in `check`.

    Raises:
        ConfigError: one names no layer, or could not be folded in.
    """
    found = {}
    for model in dict.fromkeys(config.model for config in cells if config.model.lora_r is not None):
        if not model.from_scratch:
            from harness.generation.verdicts import check_lora  # as in `loaded`

            verdict = check_lora(model, None if folder is None else folder / "cache")
            if verdict is not None and verdict.lora:
                found[f"model.name={model.name}: model.lora_targets={model.lora_targets}"] = verdict.lora
    return found


def notes(cells: Iterable[RunConfig], folder: Path | None = None) -> list[str]:
    """The notes of the cells' benchmarks on their data, on slow models and on layers without their LoRA, once.

    `folder` as in `check`.
    """
    cells = list(cells)
    benchmarks = {config.benchmark.model_dump_json(): config.benchmark for config in cells}
    found = [note for benchmark in benchmarks.values() for note in load_splits(benchmark).notes]
    found += [
        f"model.name={name}: {verdict.family} has no cache that single tokens can be computed with, so that every "
        "sampled token computes its whole text again: exact, and slower"
        for name, verdict in loaded(cells, folder).items()
        if verdict.slow
    ]
    found += [f"{what}: a LoRA stands {where}" for what, where in loras(cells, folder).items() if "not beside" in where]
    return list(dict.fromkeys(found))


def _check_fit(cells: Iterable[RunConfig]) -> None:
    """Refuse cells whose tokenizer is known not to fit their texts, or whose context leaves no room; likes once."""
    fitting: set[tuple[object, ...]] = set()
    for config in cells:
        model, sampling = config.model, config.sampling
        seen: tuple[object, ...] = (config.benchmark.model_dump_json(), model.from_scratch, model.tokenizer)
        seen += (model.context, sampling.length, sampling.rollouts, sampling.temperature == "best", config.untrained)
        seen += (config.evaluation.split, config.evaluation.while_training)
        if seen not in fitting:  # it reads all texts
            splits = load_splits(config.benchmark)
            check_texts(splits, config)
            check_room(splits, config)
            fitting.add(seen)


def featurisers(config: RunConfig) -> list[str]:
    """Names of the models that a cell's metrics look at texts with: directories and ids of the Hub."""
    named = [metric.options.get("featuriser") for metric in config.metrics or ()]
    return [name for name in dict.fromkeys(named) if isinstance(name, str) and name != REFERENCE_LM]


def _check_validation(config: RunConfig, splits: Splits) -> None:
    """Refuse a cell that reads the validation split where that has too few prompts."""
    best, evaluation = config.sampling.temperature == "best", config.evaluation
    n = len(splits.tuning_prompts)
    if (best or evaluation.split == "validation" or evaluation.while_training) and n < 2:
        raise ConfigError(
            f"benchmark {config.benchmark.name!r}: the validation split gives {n} prompt(s), wanted at least 2 for "
            f"{'sampling.temperature=best' if best else 'scores on it'}; raise benchmark.validation, lower "
            "benchmark.prompt_words, or do without: controls: false, a temperature, no tuning, no evaluation.at_ points"
        )


def _check_interim(config: RunConfig) -> None:
    """Refuse scores while training that could not be computed."""
    known = [metric.name for metric in config.metrics or ()]
    for name in config.evaluation.at_metrics or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"evaluation.at_metrics: {name!r} is none of the run's metrics; {hint}")
    if config.evaluation.while_training and config.sampling.temperature == "best":
        raise ConfigError(
            "sampling.temperature=best is chosen for a trained policy, so there are no scores while it trains; write a "
            "temperature, or remove the evaluation.at_ points"
        )
