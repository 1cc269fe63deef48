"""Tuning: every group of a grid gets equally many trials, and the benchmark's own metric chooses among them.

A trial is an ordinary run that is evaluated on the validation split.  Trial 0 has the settings as they are written,
the others have random ones; trials of one number share their random numbers, so that all groups try the same learning
rates.  Trials of a group are distinct runs: there is one where it has nothing to tune or is not trained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.config.actions import ActionConfig
from harness.config.evaluation import EvaluationConfig
from harness.config.keys import flatten
from harness.config.run import RunConfig, SeedConfig
from harness.config.search_space import Search, searches
from harness.config.training import TrainingConfig
from harness.errors import ConfigError, HarnessError
from harness.hashing import content_hash
from harness.plugins.benchmark import cost, moved_by_ties, selection
from harness.plugins.metric import Metric
from harness.plugins.metric_names import parse_metric
from harness.plugins.options import resolve
from harness.records.data import Example
from harness.records.evaluation import Evaluation
from harness.records.trial import Trial
from harness.registry import BENCHMARKS, TRAINERS
from harness.seeding import generator
from harness.system.model_files import model_id

if TYPE_CHECKING:
    from harness.storage.store import Store

TRIAL_SEED = 1_000_003  # of all trials, so that no final run shares its luck with the trial that chose its settings
SHARED: Mapping[str, Search] = {
    f"{head}.{name}": search
    for head, section in (("training", TrainingConfig), ("actions", ActionConfig))
    for name, search in searches(section).items()
}
"""Settings that may be tuned for every trainer, by key; each trainer declares more of its own."""


@dataclass(frozen=True)
class Tried:
    """The groups of a grid that share a training, with its trials.

    Attributes:
        group: the group whose sampling the trials have, as written, with the seeds of its first cell: the one that
            samples from the policy as it is, or else the first.
        members: all groups of that training, which differ in sampling or metrics alone; `group` is one of them.
        drawn: the settings that each trial has in place of the written ones, by key; none for the first.
        trials: the runs, in order.
    """

    group: RunConfig
    members: tuple[RunConfig, ...]
    drawn: tuple[Mapping[str, Any], ...]
    trials: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Choice:
    """The best of a group's trials.

    Attributes:
        tried: the group and its trials.
        measure: the measure by which it was chosen: the benchmark's, or its area along the curve where ties move it.
        values: that measure's value on the validation split, or the reason why there is none, by trial.
        best: the number of the chosen trial.
        n: number of texts (or documents, or states) from which its value is.
        moved: the number of trials in which ties move the benchmark's measure.
    """

    tried: Tried
    measure: str
    values: tuple[float | str, ...]
    best: int
    n: int
    moved: int = 0

    @property
    def drawn(self) -> Mapping[str, Any]:
        """The chosen settings that differ from the written ones, by key."""
        return self.tried.drawn[self.best]


def trials(cells: Sequence[RunConfig], count: int) -> list[Tried]:
    """`count` distinct trials for each group of the cells (cells that differ in their seeds only), in their order.

    Groups that differ in sampling or metrics alone share their trials: they are about one policy, and stay so.  There
    are fewer where fewer settings exist: one where nothing may be tuned, or nothing is trained.

    Where cells that agree in benchmark, model, trainer and action space differ in a setting, that setting is the grid's
    question, and is not tuned.

    Raises:
        ConfigError: a cell has the trials' seed or is evaluated on the validation split, a benchmark cannot choose.
    """
    groups: dict[str, RunConfig] = {}
    for cell in cells:
        if TRIAL_SEED in cell.seeds.model_dump().values():
            raise ConfigError(f"seeds={TRIAL_SEED} is the seed of every trial; use other seeds for what is reported")
        if cell.evaluation.split != "test":
            raise ConfigError("evaluation.split=validation: tuning reports on the test split; remove it")
        groups.setdefault(cell.group_id, cell)
    asked = _questions(list(groups.values()))
    trainings: dict[str, list[RunConfig]] = {}
    for group in groups.values():
        trainings.setdefault(group.model_copy(update={"seeds": SeedConfig()}).train_id, []).append(group)
    found = []
    for members in trainings.values():
        group = next((one for one in members if not one.sampling.decoding), members[0])
        selection(group)
        spaces = {key: search for key, search in space(group).items() if key not in asked[_compared_within(group)]}
        distinct: dict[str, tuple[Mapping[str, Any], RunConfig]] = {}  # an equal trial counts once
        for number in range(1 if group.untrained else count):  # without training, settings change nothing
            changes = {key: _drawn(key, search, group, number) for key, search in spaces.items()} if number else {}
            trial = _trial(group, changes)
            distinct.setdefault(trial.run_id, (changes, trial))
        drawn, runs = zip(*distinct.values(), strict=True)
        found.append(Tried(group, tuple(members), drawn, runs))
    return found


def space(config: RunConfig) -> dict[str, Search]:
    """Search spaces of a configuration's tunable settings, by key; noise only where some is injected."""
    amounts = config.actions.model_dump()
    found = {
        key: search for key, search in SHARED.items() if (at := key.partition("."))[0] != "actions" or amounts[at[2]]
    }
    return found | {f"trainer.{name}": one for name, one in searches(TRAINERS[config.trainer.name]).items()}


def tuned(config: RunConfig, drawn: Mapping[str, Any]) -> RunConfig:
    """The configuration with other settings."""
    dump = config.model_dump()
    for key, value in drawn.items():
        head, _, name = key.partition(".")
        dump[head][name] = value
    return resolve(RunConfig.model_validate(dump))


def choose(store: Store, grid: str, tried: Sequence[Tried]) -> list[Choice]:
    """The best trial of each group by the stored scores of the cells of `grid`; of equally good ones the first.

    Trials that failed, are unfinished or have no finite value cannot win.  Where ties move an area in a trial, the area
    along the curve chooses (see `moved_by_ties`), which all trials with a value must then have.

    Raises:
        HarnessError: no trial of some group has a value; the message gives the reason of each.
    """
    runs = store.runs(grid).set_index("run_id")[["status", "error"]].to_dict("index")
    scores: dict[str, list[dict[str, Any]]] = {}
    for row in store.scores(grid).to_dict("records"):
        scores.setdefault(row["run_id"], []).append({str(key): value for key, value in row.items()})
    choices, without_value = [], []
    for one in tried:
        metric, measure = selection(one.group)
        values: list[float | str] = []
        found: dict[int, dict[str, float]] = {}
        sizes: dict[int, int] = {}
        for number, trial in enumerate(one.trials):
            stored = scores.get(trial.run_id, ())
            run, score = runs.get(trial.run_id), _own_score(store, metric, measure, stored)
            if run is None or run["status"] != "done":
                error = str(run["error"] or "").strip() if run else ""
                values.append(error.splitlines()[-1] if error else "not finished")
            elif score is None or not math.isfinite(score["value"]):
                values.append(str(score["reason"] or f"{measure} is {score['value']}") if score else f"no {measure}")
            else:
                sizes[number] = score["n"]
                values.append(float(score["value"]))
                found[number] = {measure: float(score["value"]), **_along_curve(score, stored)}
        moved, by = moved_by_ties(measure, list(found.values())), measure
        if moved:
            by, name = f"{measure}_curve", f"{measure}@{metric.definition}"
            missing = f"no {by}, which must choose, for ties move {measure} in {moved} trial(s); "
            missing += f"`harness rescore {grid} --metrics {name}` adds it"
            values = [found[i].get(by, missing) if i in found else value for i, value in enumerate(values)]
        usable = {number: value for number, value in enumerate(values) if isinstance(value, float)}
        if len(usable) < (len(found) or 1):
            reasons = dict.fromkeys(value for value in values if isinstance(value, str))
            without_value.append(f"{_named(one.group)}: {'; '.join(reasons)}")
            continue
        best = min(usable, key=lambda number: cost(metric, measure, usable[number]))
        choices.append(Choice(one, by, tuple(values), best, sizes[best], moved))
    if without_value:
        raise HarnessError(
            f"no trial of {len(without_value)} group(s) can be chosen, so nothing was trained with chosen settings: "
            + " | ".join(without_value)
            + "; fix the reason, add --trials, or leave the group out"
        )
    return choices


def _own_score(store: Store, metric: Metric, measure: str, scores: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """A trial's score by exactly this metric, its options included; scores that rescoring added cannot choose."""
    alike = [one for one in scores if (one["metric"], one["definition"]) == (measure, metric.definition)]
    if len(alike) < 2:
        return alike[0] if alike else None
    # several scores come from rescoring alone, so that the texts decide the parameters
    rows = store.rollouts(alike[0]["run_id"]).to_dict("records")
    texts = Evaluation(
        prompts=tuple(Example(row["reference"], row["prompt"]) for row in rows),
        rollouts=(),
        backspace_id=None,
        metric_seed=TRIAL_SEED,
        written=tuple(row["text"] for row in rows),
        paired=lambda _, pairs: pairs,  # only the parameters are asked, which say that texts are in pairs
    )
    for named in (model_id, str):  # an earlier version named a featuriser's directory by its path
        wanted = _without_hashes(metric.parameters(replace(texts, featuriser_id=named)))
        for one in alike:
            if _without_hashes(one["parameters"]) == wanted:
                return one
    return None


def _along_curve(score: Mapping[str, Any], stored: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The area along the curve that stands beside a score, by its measure; none where it was not stored."""
    alike = (one for one in stored if one["metric"] == f"{score['metric']}_curve")
    same = (one for one in alike if all(one[key] == score[key] for key in ("definition", "parameters")))
    return {one["metric"]: float(one["value"]) for one in same if math.isfinite(one["value"])}


def _without_hashes(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as text, a featuriser without the hash of its training texts: equal in all of a run's scores."""
    return {key: re.sub(r"^reference-lm:\w+", "reference-lm", str(value)) for key, value in parameters.items()}


def final_cells(cells: Sequence[RunConfig], choices: Sequence[Choice]) -> list[RunConfig]:
    """The cells with the settings that were chosen for their groups."""
    drawn = {member.group_id: choice.drawn for choice in choices for member in choice.tried.members}
    found = [tuned(cell, drawn[cell.group_id]) for cell in cells]
    return list({cell.run_id: cell for cell in found}.values())


def as_trials(choices: Sequence[Choice]) -> list[Trial]:
    """The choices as records for the store."""
    found = []
    for choice, member in [(one, member) for one in choices for member in one.tried.members]:
        final = tuned(member, choice.drawn).group_id
        for number, (run, drawn) in enumerate(zip(choice.tried.trials, choice.tried.drawn, strict=True)):
            found.append(Trial(member.group_id, number, run.run_id, drawn, number == choice.best, final))
    return found


def _trial(group: RunConfig, drawn: Mapping[str, Any]) -> RunConfig:
    given, _ = BENCHMARKS[group.benchmark.name].selection
    seeds = SeedConfig(**dict.fromkeys(SeedConfig.model_fields, TRIAL_SEED))
    changes = {"metrics": (parse_metric(given),), "seeds": seeds, "evaluation": EvaluationConfig(split="validation")}
    return tuned(group.model_copy(update=changes), drawn)


def _drawn(key: str, search: Search, group: RunConfig, number: int) -> Any:
    head, _, name = key.partition(".")
    return search.draw(generator(TRIAL_SEED, "trials", key, number), group.model_dump()[head][name])


def _compared_within(config: RunConfig) -> str:
    """Hash of benchmark, model, trainer and action space: a grid compares settings of configurations that share it."""
    return content_hash(
        [config.benchmark.model_dump(), config.model.model_dump(), config.trainer.name, config.actions.backspace]
    )


def _questions(groups: Sequence[RunConfig]) -> dict[str, set[str]]:
    """The keys in which groups differ that share `_compared_within`, by that hash."""
    values: dict[str, dict[str, set[str]]] = {}
    for group in groups:
        unused = SHARED.keys() - space(group).keys()  # no noise beside some is not about the amount
        for key, value in flatten(group.model_dump(mode="json")).items():
            if key in unused:
                continue
            values.setdefault(_compared_within(group), {}).setdefault(key, set()).add(repr(value))
    return {shared: {key for key, found in keys.items() if len(found) > 1} for shared, keys in values.items()}


def _named(group: RunConfig) -> str:
    return group.label.rpartition(" seed ")[0]
