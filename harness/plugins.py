"""The extension points: what a trainer, a benchmark and a metric are, and how their options are read.

A plug-in is one frozen dataclass whose fields are its options; `Annotated[float, Field(gt=0, description="...")]`
gives a field its bounds and its line in `harness info`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from harness.config import Plugin, RunConfig
from harness.errors import ConfigError, did_you_mean
from harness.records import Evaluation, Point, Splits
from harness.registry import BENCHMARKS, METRICS, TRAINERS, Registry

if TYPE_CHECKING:
    import torch

    from harness.actions import ActionValues, Batch

P = TypeVar("P")
Value = Literal["logsumexp", "head", "reference"]
Normalisation = Literal["constant", "batch_tokens", "per_sequence"]
NormalisationOption = Annotated[
    Normalisation,
    Field(description="divide by one constant for the whole run, or (biased) by each batch's or each row's own tokens"),
]


# --------------------------------------------------------------------------------------------------- trainers


@dataclass(frozen=True)
class Weighting:
    """How much each step of a row counts; `harness.actions.pack` turns it into `Batch.weight`.

    `discounted`: gamma^t from every start state, noise events included with mass kappa (the occupancy measure of
    arXiv 2306.05426).  `uniform`: 1 per own step, as maximum likelihood counts.

    With the size of a row sum_t gamma^t over its own steps (its tokens, where gamma = 1 or the kind is uniform),
    `normalisation` divides weights by the mean size of the training rows (`constant`), of the rows of the optimiser
    step (`batch_tokens`), or by each row's own (`per_sequence`).  The last two are biased: see `BIASED`.
    """

    kind: Literal["discounted", "uniform"] = "discounted"
    gamma: float = 1.0
    kappa: float = 1.0
    normalisation: Normalisation = "constant"


BIASED: Mapping[tuple[str, str], str] = {
    ("trainer.normalisation", "batch_tokens"): (
        "a step divided by its own number of tokens weighs long texts less than they occur"
    ),
    ("trainer.normalisation", "per_sequence"): (
        "a text divided by its own length is not scored properly: where the end has chance 1/2 it learns log 2 = .693"
    ),
    ("trainer.value_weighting", "uniform"): (
        "steps of weight 1 are no occupancy of the prompts: the optimum is that of other start states, and without "
        "chi2_mixture's penalty there is none on states that only rollouts reach"
    ),
}
"""Settings kept for ablation although they estimate something else than the objective, and what is wrong with them."""


@dataclass(frozen=True)
class Replay:
    """The buffer of rollouts that a trainer wants: its size, how often how many fresh ones come, how they start."""

    size: int = 512
    fresh: int = 64
    every: int = 25
    start: Literal["prompt", "matched"] = "matched"
    epsilon: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What a trainer asks of the harness: weights, a value function, rollouts, a frozen reference policy.

    `reference` is `"start"` (a frozen copy of the model as training starts) or a model directory.
    """

    weighting: Weighting = field(default_factory=Weighting)
    value: Value = "logsumexp"
    rollouts: Replay | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Moment:
    """When a loss is computed: the share of the budget used, and the step's own randomness."""

    progress: float
    generator: torch.Generator


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise (nats per token) and detached scalars for the curve."""

    total: torch.Tensor
    terms: Mapping[str, torch.Tensor | float] = field(default_factory=dict)


class Evaluate(Protocol):
    """The one forward pass: action values of a batch under the policy, or under the frozen reference."""

    def __call__(self, batch: Batch, reference: bool = False) -> ActionValues:
        """Action values of `batch`; with `reference`, the frozen reference's, without gradient."""


class Trainer(Protocol):
    """A training rule: a frozen dataclass of hyper-parameters with two members.

    The mean over rows is taken by the trainer; the harness combines micro-batches by their number of rows, so a
    loss that is a mean of per-row sums is exact under gradient accumulation.
    """

    @property
    def needs(self) -> Needs:
        """What this instance asks of the harness; it may depend on the hyper-parameters."""

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        """The loss of one (micro-)batch; `rollouts` is None unless `needs.rollouts` asks for them."""


# ------------------------------------------------------------------------------------- benchmarks and metrics


class Benchmark(Protocol):
    """A task: options (its data seed among them) -> splits, with the metrics that make sense there.

    `selection` is (metric, measure of it): the one number by which a choice among policies or decoders is made on the
    validation split.  It is computed from sampled texts, so that sharpening alone does not win it.
    """

    metrics: ClassVar[tuple[str, ...]]
    selection: ClassVar[tuple[str, str]]

    def splits(self) -> Splits:
        """The data; equal options give equal splits."""


class Unscorable(Exception):
    """A metric has no value here; its message is stored as the reason and no number is invented."""


@dataclass(frozen=True)
class Measure:
    """One number that a metric reports: its unit, which way is better, and what it says in one sentence."""

    unit: str
    direction: Literal["higher", "lower", "reference"]
    summary: str


@dataclass(frozen=True)
class ProfileMeasure(Measure):
    """A measure by position: `axis` says what the points' x is, such as `position (tokens)`."""

    axis: str


def measured(parts: Mapping[str, Callable[[], float]]) -> dict[str, float | Unscorable]:
    """Each number, or why that one has none: 16-grams may be missing from texts that hold 8-grams.

    Raises:
        Unscorable: none has a value; the first one's reason.
    """
    found: dict[str, float | Unscorable] = {}
    for name, compute in parts.items():
        try:
            found[name] = compute()
        except Unscorable as reason:
            found[name] = reason
    first = next(iter(found.values()))
    if isinstance(first, Unscorable) and all(isinstance(value, Unscorable) for value in found.values()):
        raise first
    return found


def against(evaluation: Evaluation) -> dict[str, Any]:
    """How many references there are, as it stands in the name of what looks at them; those in pairs are the texts'."""
    return {} if evaluation.in_pairs or not evaluation.references else {"references": len(evaluation.references)}


class Metric(Protocol):
    """A definition that turns an evaluation into one or more named numbers that one computation yields.

    `definition` names how it is computed (a dataclass field where a metric has several), `parameters` what the
    number depends on; both stand in the stored name.  `measure` raises `Unscorable` with a reason where there is
    nothing to measure, and gives one in place of a number that alone has no value.  What looks at texts reads
    `evaluation.texts` and `.references`, which also hold texts that came without a policy; only what looks at actions
    reads `evaluation.rollouts`.
    """

    measures: ClassVar[Mapping[str, Measure]]

    @property
    def definition(self) -> str:
        """The name of this way to compute the metric."""

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """What the number depends on beside the texts."""

    def count(self, evaluation: Evaluation) -> int:
        """How many texts, documents or states the number is computed from."""

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """One number for each key of `measures`, or the reason why that one alone has no value."""


@runtime_checkable
class Profiled(Metric, Protocol):
    """A metric that also gives numbers by position, stored with the run as curves."""

    profile_measures: ClassVar[Mapping[str, ProfileMeasure]]

    def profiles(self, evaluation: Evaluation) -> Mapping[str, Sequence[Point]]:
        """Points in order of x, for each key of `profile_measures`; `Unscorable` as `measure`."""


# ---------------------------------------------------------------------------------------------------- options


@dataclass(frozen=True)
class Option:
    """One option of a plug-in, as `harness info` prints it."""

    name: str
    type: str
    default: Any
    description: str


@cache
def options(plugin: Callable[..., Any]) -> tuple[Option, ...]:
    """The options that a plug-in class declares, in order.

    Raises:
        ConfigError: the plug-in is not a dataclass.
    """
    if not dataclasses.is_dataclass(plugin):
        raise ConfigError(f"plug-in {plugin!r} is not a dataclass; decorate its class with @dataclass(frozen=True)")
    hints = get_type_hints(plugin, include_extras=True)
    found = []
    for entry in dataclasses.fields(plugin):
        hint, description = hints[entry.name], ""
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, FieldInfo) and extra.description:
                description = extra.description
        bare = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        default = None if entry.default is dataclasses.MISSING else entry.default
        found.append(Option(entry.name, _type_name(bare), default, description))
    return tuple(found)


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(_type_name(choice) for choice in get_args(hint))
    if hint is NoneType:
        return "None"
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)


def build(registry: Registry[Any], given: Plugin, where: str) -> Any:
    """An instance of the named plug-in with the given options checked and the others at their defaults.

    Raises:
        ConfigError: unknown plug-in, unknown option (with the closest known one), or a value out of its domain.
    """
    if given.name not in registry:
        known = known_metrics() if registry is METRICS else registry
        raise ConfigError(f"{where}.name: unknown {registry.kind} {given.name!r}; {did_you_mean(given.name, known)}")
    cls = registry[given.name]
    declared = {option.name: option for option in options(cls)}
    for key in given.options:
        if key not in declared:
            raise ConfigError(
                f"{where}.{key}: {registry.kind} {given.name!r} has no option {key!r}; {did_you_mean(key, declared)}"
            )
    try:
        return _adapter(cls).validate_python(dict(given.options))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise ConfigError(f"{path}={first['input']!r}: {first['msg']}") from error


@cache
def _adapter(plugin: type[Any]) -> TypeAdapter[Any]:
    """Making one takes longer than all that a grid asks of it."""
    return TypeAdapter(plugin)


def resolve(config: RunConfig) -> RunConfig:
    """The same configuration with every plug-in option written out, so that its hash says all that matters.

    Raises:
        ConfigError: as `build`, for the benchmark, the trainer or a metric.
    """
    benchmark = build(BENCHMARKS, config.benchmark, "benchmark")
    metrics = config.metrics
    if metrics is None:
        metrics = tuple(parse_metric(text) for text in benchmark.metrics)
    chosen = tuple(_resolved(METRICS, metric, f"metrics[{i}]") for i, metric in enumerate(metrics))
    for i, metric in enumerate(chosen):
        if metric in chosen[:i]:
            raise ConfigError(f"metrics[{i}]: {metric.name!r} stands there twice with the same options; remove one")
    return config.model_copy(
        update={
            "benchmark": Plugin(name=config.benchmark.name, options=dataclasses.asdict(benchmark)),
            "trainer": _resolved(TRAINERS, config.trainer, "trainer"),
            "metrics": chosen,
        }
    )


def _resolved(registry: Registry[Any], given: Plugin, where: str) -> Plugin:
    return Plugin(name=given.name, options=dataclasses.asdict(build(registry, given, where)))


def parse_metric(text: str) -> Plugin:
    """`name`, `name@definition` or `name@definition[key=value,...]` as a plug-in with options.

    The name is a metric's or one of its measures': `mauve_star` stands for the metric that measures it.

    >>> parse_metric("diversity@simctg").options
    {'definition': 'simctg'}

    Raises:
        ConfigError: it is none of the three: a missing definition, an open bracket, a part in brackets without a value.
    """
    found = _METRIC.fullmatch(text)
    pairs = [pair.partition("=") for pair in (found["inside"] or "").split(",")] if found and found["inside"] else []
    if found is None or not all(key and equals for key, equals, _ in pairs):
        name = re.split(r"[@\[]", text)[0] or "NAME"
        raise ConfigError(
            f"metric {text!r} is not written as {name}, {name}@DEFINITION or {name}@DEFINITION[key=value,...]; "
            f"`harness info {name}` says its definitions and keys"
        )
    chosen: dict[str, Any] = {"definition": found["definition"]} if found["definition"] else {}
    return Plugin(name=metric_of(found["name"]), options=chosen | {key: value for key, _, value in pairs})


_METRIC = re.compile(r"(?P<name>[^@\[\]]+)(@(?P<definition>[^@\[\]]+)(\[(?P<inside>.+)\])?)?", re.DOTALL)


def metric_of(name: str) -> str:
    """The metric that is called so or measures what is called so; an unknown name comes back as it is."""
    if name in METRICS:
        return name
    return next((metric for metric in METRICS if name in METRICS[metric].measures), name)


def as_measures(text: str) -> list[str]:
    """What a name shows on a leaderboard: a metric that is not called as one of its measures stands for all of them.

    >>> as_measures("repetition@exact"), as_measures("diversity")
    (['rep_2@exact', 'rep_3@exact', 'rep_4@exact'], ['diversity'])
    """
    name, at, rest = text.partition("@")
    measures = METRICS[name].measures if name in METRICS else (name,)
    return [text] if name in measures else [f"{measure}{at}{rest}" for measure in measures]


def known_metrics() -> list[str]:
    """Every name that `metric_of` knows: the metrics and what they measure."""
    return sorted({*METRICS, *(measure for metric in METRICS.values() for measure in metric.measures)})
