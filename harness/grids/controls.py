"""Control cells of a grid: expert texts, unigrams, and MLE at its best temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from harness.config.actions import ActionConfig
from harness.config.run import BASE_TRAINER, Control, RunConfig
from harness.config.sampling import SamplingConfig
from harness.config.section import Plugin
from harness.plugins.options import resolve
from harness.registry import BENCHMARKS


def controls(cells: Sequence[RunConfig]) -> list[RunConfig]:
    """The control cells of a grid's cells, equal ones once, without those that the grid holds itself.

    Ceiling and floor for every benchmark, tokenizer, sampling, list of metrics and seeds; and every plain MLE cell at
    its best temperature.  Where the grid has no MLE for some benchmark, model and seeds, there is one with the budget
    of the first cell there.  Cells that are scored on the validation split are trials, and have no controls.
    """
    comparable = _comparable(cells)
    found = [resolve(members[0].as_control(kind)) for members in comparable for kind in get_args(Control)]
    for members in comparable:
        if hasattr(BENCHMARKS[members[0].benchmark.name], "selection"):
            found += [cell.at_best_temperature() for cell in _plain(members) or [_as_plain(members[0])]]
    own = {cell.run_id for cell in cells}
    return [cell for run_id, cell in {cell.run_id: cell for cell in found}.items() if run_id not in own]


def missing_mle(cells: Sequence[RunConfig]) -> list[RunConfig]:
    """Plain MLE for each benchmark, model and seeds where cells have none, with the budget of the first cell there.

    They are tuned as the cells are: an MLE row with settings that were chosen for another objective is no control.
    """
    return [_as_plain(members[0]) for members in _comparable(cells) if not _plain(members)]


def _comparable(cells: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """The cells on the test split, in groups that share their controls."""
    groups: dict[str, list[RunConfig]] = {}
    for cell in (cell for cell in cells if cell.evaluation.split == "test"):
        sampling = (cell.sampling.rollouts, cell.sampling.length)
        shared = repr((cell.benchmark, cell.model, sampling, cell.metrics, cell.seeds))
        groups.setdefault(shared, []).append(cell)
    return list(groups.values())


def _plain(members: Sequence[RunConfig]) -> list[RunConfig]:
    return [cell for cell in members if _plain_mle(cell)]


def _as_plain(cell: RunConfig) -> RunConfig:
    """Plain MLE with all else as in a cell, sampled at temperature 1 without truncation."""
    sampling = SamplingConfig(rollouts=cell.sampling.rollouts, length=cell.sampling.length)
    mle = {"trainer": Plugin(name=BASE_TRAINER), "actions": ActionConfig(), "sampling": sampling}
    return resolve(cell.model_copy(update=mle))


def _plain_mle(cell: RunConfig) -> bool:
    """True if the cell is the baseline of the others: trained, by MLE, with all weights, from clean contexts."""
    trained = cell.trainer.name == BASE_TRAINER and not cell.untrained and cell.training.scope == "full"
    return trained and not cell.actions.backspace and not cell.actions.context_noise
