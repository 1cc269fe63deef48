"""The grid that scores a checkpoint as it is: one model, no training, any number of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.config.model import ARCHITECTURES
from harness.config.run import BASE_TRAINER
from harness.data.splits import load_splits
from harness.errors import ConfigError
from harness.grids.grid import Grid
from harness.grids.yaml_file import Document
from harness.system.hub import check_model
from harness.system.model_files import content_of, local

NAME = "evaluated"
LONGEST = 1024  # tokens of context by default, where the model holds as many


def as_it_is(name: str, benchmark: str, overrides: Sequence[str], seeds: int) -> Grid:
    """A grid without training, for a model directory or a Hub id.

    Context (1,024 tokens at most), arithmetic and `<backspace>` are the model's own, for an exported policy those of
    its training, unless `overrides` change them; these are written as for a grid (`corpus=FILE`, `rollouts=1000`).
    The hash of a directory's content is part of the run id, so that another checkpoint in its place is another run.

    Raises:
        EnvironmentProblem: the model cannot be found.
        ConfigError: an unknown benchmark, key or value.
    """
    place = local(name)
    if place is None and name in ARCHITECTURES:
        raise ConfigError(
            f"{name} means a model that is built from scratch; give a directory, or OWNER/NAME of the Hub"
        )
    check_model(name, f"model.name={name!r}")
    model: dict[str, Any] = {
        "name": name if place is None else str(place.absolute()),
        "revision": None if place is None else content_of(place),
    }
    base: dict[str, Any] = {"benchmark": benchmark, "trainer": BASE_TRAINER, "model": model, "training": {"steps": 0}}
    written = {"name": NAME, "base": base, "seeds": seeds, "controls": False}

    def asked() -> Grid:
        grid = Grid.read(Document(written, "command line"), NAME).override(overrides)
        return replace(grid, name=NAME)  # one grid for all models, each a row of its own

    # what is wrong without the model is said before torch, which reads it, is loaded; it may have a <backspace>
    base["actions"] = {"backspace": True}
    for cell in asked().expand():
        load_splits(cell.benchmark)

    from harness.models import pretrained
    from harness.models.export import about_of

    known, about = pretrained.known(name), about_of(place)
    model["context"] = about.get("context", min(known.context, LONGEST))
    model["dtype"] = about.get("dtype", known.dtype)
    base["actions"] = {"backspace": known.backspace}
    return asked()
