"""Bulk reads for leaderboards: every run and score of a grid in a few queries, no object per number.

`Store.runs` and `Store.scores` are for notebooks; they are too slow for a page over 10,000 runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from harness.config.keys import flatten
from harness.config.run import UNTRAINED
from harness.errors import Archived, UnknownName, did_you_mean
from harness.storage.reader import OVER, Reader, of_grid, status_now
from harness.storage.schema import CELLS, CURVES, INTERIMS, PROFILES, RUNS, SCORES, TRIALS, from_json, number, unescape


class Seeds(NamedTuple):
    """The three sources of variance of a run; runs of different groups are paired by them."""

    train: int
    sample: int
    metric: int


@dataclass(frozen=True)
class Run:
    """A run as leaderboards see it.

    `config` has dotted keys to values, `seeds.*` left out and whatever the run does not have (noise without
    `<backspace>`, a control that it is not, a trainer where there was no training); the runs of a group share one
    mapping.  `steps`, `tokens` (through the trainer's forward passes) and `seconds` (of training) are those of the last
    logged step, None where there is none.
    """

    run_id: str
    group_id: str
    status: str
    data_hash: str | None
    config: Mapping[str, Any]
    seeds: Seeds
    steps: int | None
    tokens: int | None
    seconds: float | None

    def get(self, key: str) -> Any:
        """The value of a configuration key, seeds included; None where the run has no such key."""
        section, _, rest = key.partition(".")
        return getattr(self.seeds, rest) if section == "seeds" else self.config.get(key)


@dataclass(frozen=True)
class ScoreName:
    """The parts of a score's full name, its unit and direction."""

    name: str
    metric: str
    definition: str
    unit: str
    direction: str

    @property
    def gap(self) -> str:
        """The full name of this measure's distance to the human texts' value, where its metric measures that, too."""
        return f"{self.metric}_gap{self.name.removeprefix(self.metric)}"

    @property
    def curve(self) -> str:
        """The full name of this area along its curve, where ties cost nothing, if its metric measures that, too."""
        return f"{self.metric}_curve{self.name.removeprefix(self.metric)}"


@dataclass(frozen=True)
class Timing:
    """Times at which a run was started and finished (ISO 8601, UTC; None: not yet), and the reason why it failed."""

    run_id: str
    started: str | None
    finished: str | None
    error: str | None


@dataclass(frozen=True)
class TrialRun:
    """A trial of a tuned grid: the final group that it served, and what its training spent."""

    group_id: str
    run_id: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class ProfileName:
    """The parts of a profile's full name, its unit and direction; `axis` says what x is."""

    name: str
    metric: str
    axis: str
    unit: str
    direction: str


class Loss(NamedTuple):
    """A logged step's loss, and what training had spent by then."""

    step: int
    tokens: int
    seconds: float
    loss: float


class InterimValue(NamedTuple):
    """An interim score, or the reason why there is none, and what training had spent by then (and a step before)."""

    step: int
    tokens: int
    seconds: float
    value: float | str
    tokens_before: int
    seconds_before: float

    def beyond(self, unit: str, amount: float) -> bool:
        """True if the budget was already spent before this step; a run ends with the first step at or over it."""
        before = {"steps": self.step - 1, "tokens": self.tokens_before, "seconds": self.seconds_before}
        return before[unit] >= amount


class Nodes(NamedTuple):
    """Nodes that training sent through the model: without a gradient, in the sampler, and not in the run's tokens.

    Older versions counted a frozen reference's nodes as learned from, and of the sampler's only the actions, apart.
    """

    without_gradient: int
    sampler: int
    missing: int


Interims: TypeAlias = dict[str, dict[str, list[InterimValue]]]
"""Full name -> run id -> the interim scores, in order of steps."""
Values: TypeAlias = dict[str, dict[str, float | str]]
"""Full name -> run id -> the number (inf and nan are numbers), or the reason why there is none."""
_SEEDS = re.compile(r'"seeds":\{"metric":(\d+),"sample":(\d+),"train":(\d+)\}')


def read_runs(store: Reader, grid: str | None = None) -> list[Run]:
    """Every run of a grid in its order, or of the whole store in order of creation."""
    wanted: list[Any] = [RUNS.c[name] for name in ("run_id", "group_id", "status", "owner")]
    wanted += [
        OVER.label("over"),
        RUNS.c.data_hash,
        RUNS.c.step,
        RUNS.c.tokens,
        RUNS.c.seconds,
        sa.type_coerce(RUNS.c.config, sa.Text).label("config"),
    ]
    order = [RUNS.c.created, RUNS.c.run_id] if grid is None else [CELLS.c.position]
    with store.database.read() as connection:
        rows = connection.execute(of_grid(sa.select(*wanted), grid).order_by(*order)).all()
    shared: dict[str, Mapping[str, Any]] = {}
    found = []
    for run_id, group_id, stored, owner, over, data_hash, steps, tokens, seconds, text in rows:
        if group_id not in shared:  # parsed once per group, whose runs differ in their seeds only
            shared[group_id] = _settings(_parsed(text))
        match = _SEEDS.findall(text)
        if len(match) == 1:
            metric, sample, train = map(int, match[0])
            seeds = Seeds(train, sample, metric)
        else:  # a plug-in has an option that reads the same
            seeds = Seeds(**_parsed(text)["seeds"])
        status = status_now(stored, owner, over)
        found.append(Run(run_id, group_id, status, data_hash, shared[group_id], seeds, steps, tokens, seconds))
    return found


def read_names(store: Reader, grid: str | None = None) -> list[ScoreName]:
    """Names of the scores that runs of a grid, or of the whole store, have; sorted by full name."""
    columns = [SCORES.c[name] for name in ("name", "metric", "definition", "unit", "direction")]
    with store.database.read() as connection:
        rows = connection.execute(of_grid(sa.select(*columns), grid, SCORES).distinct()).all()
    return sorted((ScoreName(*row) for row in rows), key=lambda score: score.name)


def read_interims(store: Reader, grid: str | None = None) -> tuple[dict[str, ScoreName], Interims]:
    """The names, by full name, and the values of the interim scores of finished runs."""
    named = [INTERIMS.c[name] for name in ("name", "metric", "definition", "unit", "direction")]
    rest: list[Any] = [INTERIMS.c[name] for name in ("run_id", "step", "tokens", "seconds", "value", "kind", "reason")]
    rest += [sa.func.coalesce(INTERIMS.c[f"{unit}_before"], INTERIMS.c[unit]) for unit in ("tokens", "seconds")]
    query = sa.select(*named, *rest).join(RUNS, RUNS.c.run_id == INTERIMS.c.run_id).where(RUNS.c.status == "done")
    with store.database.read() as connection:
        rows = connection.execute(of_grid(query, grid, INTERIMS).order_by(INTERIMS.c.step)).all()
    names: dict[str, ScoreName] = {}
    found: Interims = {}
    for *score, run_id, step, tokens, seconds, value, kind, reason, tokens_before, seconds_before in rows:
        names.setdefault(score[0], ScoreName(*score))
        one = (reason or "") if kind is None else number(value, kind)
        scored = InterimValue(step, tokens, seconds, one, tokens_before, seconds_before)
        found.setdefault(score[0], {}).setdefault(run_id, []).append(scored)
    return dict(sorted(names.items())), found


def read_names_by_data(store: Reader, grid: str | None = None) -> dict[str | None, list[ScoreName]]:
    """Names of the scores for which some run has a number, finite or not, by the hash of the runs' data."""
    columns = [SCORES.c[name] for name in ("name", "metric", "definition", "unit", "direction")]
    query = sa.select(RUNS.c.data_hash, *columns).join(RUNS, RUNS.c.run_id == SCORES.c.run_id)
    query = query.where(SCORES.c.kind.is_not(None))
    with store.database.read() as connection:
        rows = connection.execute(of_grid(query, grid, SCORES).distinct()).all()
    found: dict[str | None, list[ScoreName]] = {}
    for data_hash, *score in sorted(rows, key=lambda row: str(row[1])):
        found.setdefault(data_hash, []).append(ScoreName(*score))
    return found


def read_values(store: Reader, grid: str | None, names: Collection[str]) -> Values:
    """Values of the named scores."""
    wanted: list[Any] = [sa.type_coerce(SCORES.c[name], sa.Text) for name in ("run_id", "name", "reason", "kind")]
    query: sa.Select[Any] = sa.select(*wanted, SCORES.c.value).where(SCORES.c.name.in_(list(names)))
    with store.database.read() as connection:
        rows = connection.execute(of_grid(query, grid, SCORES)).all()
    found: Values = {}
    for run_id, name, reason, kind, value in rows:
        stored = found.get(name)
        if stored is None:
            stored = found[name] = {}
        stored[run_id] = value if value is not None else unescape(reason or "") if kind is None else number(None, kind)
    return {unescape(name): values for name, values in found.items()}


def read_grids(store: Reader) -> list[str]:
    """Names of the grids that are not archived, the one with the newest run first."""
    newest = sa.func.max(RUNS.c.created)
    query = sa.select(CELLS.c.grid).join(RUNS, RUNS.c.run_id == CELLS.c.run_id).group_by(CELLS.c.grid)
    with store.database.read() as connection:
        found = list(connection.execute(query.order_by(newest.desc(), CELLS.c.grid)).scalars())
    shown = set(store.grids())
    return [grid for grid in found if grid in shown]


def read_timings(store: Reader, grid: str | None, statuses: Collection[str]) -> list[Timing]:
    """The latest attempts at the runs with one of these stored statuses, in order of their start."""
    columns = [RUNS.c[name] for name in ("run_id", "started", "finished", "error")]
    query = of_grid(sa.select(*columns).where(RUNS.c.status.in_(list(statuses))), grid)
    with store.database.read() as connection:
        return [Timing(*row) for row in connection.execute(query.order_by(RUNS.c.started))]


def read_profile_names(store: Reader, grid: str | None = None) -> dict[str | None, list[ProfileName]]:
    """Names of the profiles of the runs, by the hash of their data."""
    columns = [PROFILES.c[name] for name in ("name", "metric", "axis", "unit", "direction")]
    query = sa.select(RUNS.c.data_hash, *columns).join(RUNS, RUNS.c.run_id == PROFILES.c.run_id)
    with store.database.read() as connection:
        rows = connection.execute(of_grid(query, grid, PROFILES).distinct()).all()
    found: dict[str | None, list[ProfileName]] = {}
    for data_hash, *profile in sorted(rows, key=lambda row: str(row[1])):
        found.setdefault(data_hash, []).append(ProfileName(*profile))
    return found


def read_profile(store: Reader, name: str, run_ids: Collection[str]) -> dict[str, list[tuple[float, float, int]]]:
    """The points (x, value, n) of one profile, by run id."""
    query = sa.select(PROFILES.c.run_id, PROFILES.c.points).where(PROFILES.c.name == name)
    with store.database.read() as connection:
        rows = connection.execute(query.where(PROFILES.c.run_id.in_(list(run_ids)))).all()
    return {run_id: [(float(x), float(value), int(n)) for x, value, n in points] for run_id, points in rows}


def read_losses(store: Reader, run_ids: Collection[str]) -> dict[str, list[Loss]]:
    """The logged losses of runs, in order of steps, by run id."""
    wanted = [CURVES.c[name] for name in ("run_id", "step", "tokens", "seconds", "loss", "kind")]
    query = sa.select(*wanted).where(CURVES.c.run_id.in_(list(run_ids))).order_by(CURVES.c.run_id, CURVES.c.step)
    found: dict[str, list[Loss]] = {}
    with store.database.read() as connection:
        for run_id, step, tokens, seconds, loss, kind in connection.execute(query):
            found.setdefault(run_id, []).append(Loss(step, tokens, seconds, number(loss, kind)))
    return found


def read_nodes(store: Reader, grid: str | None = None) -> dict[str, Nodes]:
    """Nodes of each finished run that were not learned from; runs without these figures are left out."""
    found = {}
    for run_id, facts in read_facts(store, grid, ["sampled_actions", "tokens"]).items():
        if "tokens" in facts:
            found[run_id] = Nodes(facts["tokens"]["without_gradient"], facts["tokens"]["sampler"], 0)
        elif facts:
            sampled = int(facts["sampled_actions"])
            found[run_id] = Nodes(0, sampled, sampled)
    return found


def read_trials(store: Reader, grid: str | None) -> list[TrialRun]:
    """The trials that a grid's settings were chosen from; failed ones with what they had spent until then."""
    spent = sa.func.coalesce(RUNS.c.tokens, 0), sa.func.coalesce(RUNS.c.seconds, 0.0)
    query = sa.select(TRIALS.c.group_id, TRIALS.c.run_id, *spent).join(RUNS, RUNS.c.run_id == TRIALS.c.run_id)
    with store.database.read() as connection:
        return [TrialRun(*row) for row in connection.execute(query.where(TRIALS.c.grid == grid))]


def read_facts(store: Reader, grid: str | None, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Named parts of the provenance of each finished run; parts that it does not have are left out."""
    query = sa.select(RUNS.c.run_id, RUNS.c.provenance).where(RUNS.c.provenance.is_not(None))
    with store.database.read() as connection:
        rows = connection.execute(of_grid(query, grid)).all()
    return {run_id: {name: facts[name] for name in names if name in facts} for run_id, facts in rows}


def _parsed(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = from_json(text)
    return parsed


def _settings(config: dict[str, Any]) -> Mapping[str, Any]:
    flat = {key: value for key, value in flatten(config).items() if "." in key and not key.startswith("seeds.")}
    if config.get("control") is not None:
        flat["control"] = config["control"]
    if not flat.get("actions.backspace") and not flat.get("actions.context_noise"):  # neutral values, then
        flat = {key: value for key, value in flat.items() if not key.startswith("actions.noise_")}
    if config.get("control") is None and flat.get("training.steps") == 0:  # no trainer had a part in it
        how = ("trainer.", "training.", "actions.noise_")
        flat = {key: value for key, value in flat.items() if not key.startswith(how)}
        flat |= {"trainer.name": UNTRAINED, "training.steps": 0}
    return flat


def is_run_id(text: str) -> bool:
    """True if the text may be a run id or its beginning: up to sixteen hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{1,16}", text) is not None


def find_run(store: Reader, beginning: str) -> str:
    """Id of the run whose id has this beginning.

    Raises:
        UnknownName: no id has it, or several have.
        Archived: that run is archived, or all of its grids are.
    """
    ids = list(store.runs()["run_id"])
    found = [run_id for run_id in ids if run_id.startswith(beginning)]
    if len(found) == 1 or beginning in found:
        return beginning if beginning in found else found[0]
    if found:
        raise UnknownName(f"{beginning!r} begins {len(found)} run ids: {', '.join(found[:5])}; write more of one")
    hidden = next((one for one in store.runs(archived=True)["run_id"] if beginning and one.startswith(beginning)), None)
    if hidden is not None:
        grids = [] if hidden in store.archived_runs() else store.grids_of(hidden)
        what = f" with grid {grids[0]}" if grids else ""
        names = " ".join(map(shlex.quote, grids[:1] or [hidden]))
        raise Archived(f"run {hidden} is archived{what}; `harness restore {names}` brings it back")
    raise UnknownName(
        f"no run id begins with {beginning!r}; `harness ls runs` lists them ({did_you_mean('', ids[:3])})"
    )
