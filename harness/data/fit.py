"""The fit of a loaded model's tokenizer and a benchmark, found out before anything runs; what fits is kept."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from harness.config.run import RunConfig
from harness.data.checks import check_room, check_texts
from harness.data.splits import load_splits
from harness.hashing import content_hash

_CODE = 1  # raise it when other texts fit, so that what is kept is not that of before


def check_fit(cells: Iterable[RunConfig], folder: Path | None = None) -> None:
    """Check the cells that load models, which must be here, as a run does before it trains; equal questions once.

    Args:
        cells: none of them builds its model from scratch.
        folder: where that it fits is kept; None keeps nothing.

    Raises:
        ConfigError: a tokenizer does not fit, with the sentence that every such cell would fail with.
        EnvironmentProblem: a tokenizer cannot be read.
    """
    seen: set[str] = set()
    for config in cells:
        model, sampling = config.model, config.sampling
        splits = load_splits(config.benchmark)
        asked = [_CODE, version("transformers"), model.name, model.revision, model.context, splits.data_hash]
        asked += [splits.whole, splits.law is not None, sampling.length, sampling.rollouts]
        asked += [sampling.temperature == "best", config.evaluation.split, config.evaluation.while_training]
        key = content_hash(asked)
        if key in seen:
            continue
        seen.add(key)
        kept = None if folder is None else folder / "probes" / f"fits-{key}"
        if kept is not None and kept.is_file():
            continue
        from harness.models.codec import codec_of  # it loads torch

        codec = codec_of(model)
        check_texts(splits, config, codec)
        check_room(splits, config, codec)
        if kept is not None:
            with suppress(OSError):  # a folder that cannot be written to: it is found out again
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.touch()
