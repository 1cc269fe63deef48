"""The configuration of one run: benchmark, trainer, action space, model, optimisation, sampling, metrics and seeds.

Equal configurations have equal `run_id`s.  What does not change a result up to rounding (device, accumulation,
threads) never enters the hash.  This file imports no torch, so that listing and planning stay quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from harness.config.actions import ActionConfig
from harness.config.evaluation import EvaluationConfig
from harness.config.keys import flatten
from harness.config.model import ARCHITECTURES, WHOLE
from harness.config.model import LATER_FIELDS as LATER_MODEL_FIELDS
from harness.config.model import ModelConfig as ModelConfig
from harness.config.sampling import LATER_FIELDS, SamplingConfig
from harness.config.section import Part, Plugin, Scalar
from harness.config.training import TrainingConfig
from harness.hashing import content_hash

Control: TypeAlias = Literal["expert", "unigram"]
BASE_TRAINER = "mle"  # trains the shared base
BASELINE: Mapping[str, Scalar] = {"trainer.name": BASE_TRAINER, "actions.backspace": False}  # what others must beat
UNTRAINED = "not trained"  # shown in place of a trainer where a model is scored as it is
HASH_VERSION = 1  # raise it when the meaning of a configuration changes; old results then stay what they were


class SeedConfig(Part):
    """Seeds of three sources of variance: data order and noise, sampled rollouts, and the metrics' own randomness."""

    train: int = Field(0, ge=0)
    sample: int = Field(0, ge=0)
    metric: int = Field(0, ge=0)


class RunConfig(Part):
    """One run, complete.  `harness.plugins.options.resolve` fills in every plug-in option before a run is hashed."""

    benchmark: Plugin
    trainer: Plugin
    actions: ActionConfig = Field(default_factory=ActionConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    metrics: tuple[Plugin, ...] | None = Field(None, description="default: the benchmark's own list")
    seeds: SeedConfig = Field(default_factory=SeedConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    control: Control | None = Field(
        None, description="no training: a second sample of expert texts, or tokens at random; see `as_control`"
    )

    @model_validator(mode="after")
    def _one_scope(self) -> RunConfig:
        if self.model.lora_r is not None and self.training.scope != "full":
            raise ValueError(
                f"training.scope={self.training.scope} and model.lora_r={self.model.lora_r} both say what is trained; "
                "remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _backspace_to_bias(self) -> RunConfig:
        if self.sampling.backspace_bias and not self.actions.backspace:
            raise ValueError(
                f"sampling.backspace_bias={self.sampling.backspace_bias}: this policy has no <backspace>; "
                "remove it, or set actions.backspace: true"
            )
        return self

    @property
    def run_id(self) -> str:
        """Sixteen hex digits of the canonical configuration's SHA-256."""
        return content_hash({"version": HASH_VERSION, **self._hashed()})

    @property
    def group_id(self) -> str:
        """Hash as `run_id`, without the seeds: runs that a leaderboard averages share it."""
        return content_hash({"version": HASH_VERSION, **self._hashed(), "seeds": None})

    @property
    def train_id(self) -> str:
        """Hash of the fields on which training depends: runs that differ in sampling or metrics share one policy."""
        hashed = self._hashed()
        parts = {key: hashed[key] for key in ("benchmark", "trainer", "actions", "model", "training")}
        return content_hash({"version": HASH_VERSION, **parts, "seed": self.seeds.train})

    @property
    def interim_id(self) -> str | None:
        """Hash of the fields, training aside, on which scores while training depend; None where there are none."""
        if not self.evaluation.while_training:
            return None
        dump = self.model_dump(mode="json", include={"evaluation", "sampling", "metrics", "seeds"})
        return content_hash({**dump, "evaluation": {**dump["evaluation"], "split": None}})

    @property
    def interim_metrics(self) -> tuple[Plugin, ...]:
        """The metrics of the scores while training."""
        wanted = self.evaluation.at_metrics
        return tuple(metric for metric in self.metrics or () if wanted is None or metric.name in wanted)

    @property
    def label(self) -> str:
        """A name of a few words: benchmark, trainer, divergence, action space, decoder, seed."""
        if self.control is not None:
            return f"{self.benchmark.name} control {self.control} seed {self.seeds.train}"
        words = [self.benchmark.name, self.trainer.name, self.trainer.options.get("divergence")]
        words = [self.benchmark.name, UNTRAINED] if self.untrained else words
        noise, scope = self.actions.context_noise, self.training.scope
        words += ["<backspace>" if self.actions.backspace else None, f"context_noise={noise:g}" if noise else None]
        words += [f"scope={scope}" if scope != "full" else None]
        words += [f"{key}={value}" for key, value in self.sampling.decoding.items()]
        return " ".join(word for word in (*words, f"seed {self.seeds.train}") if word)

    @property
    def untrained(self) -> bool:
        """True if the run scores a model as it is: no control, and a budget of no steps."""
        return self.control is None and self.training.steps == 0

    @property
    def is_control(self) -> bool:
        """True if the run is a control, with which others are compared."""
        return is_control(self.model_dump(include={"control", "sampling", "trainer"}))

    def _hashed(self) -> dict[str, Any]:
        """The fields that make runs different; later ones are left out at their neutral values, so that ids stay."""
        dump = self.model_dump(mode="json")
        del dump["training"]["accumulation"]
        del dump["model"]["gradient_checkpointing"]
        for key in LATER_FIELDS.difference(self.sampling.decoding):
            del dump["sampling"][key]
        for key in LATER_MODEL_FIELDS:
            if dump["model"][key] is None:
                del dump["model"][key]
        if not dump["actions"]["context_noise"]:
            del dump["actions"]["context_noise"]
        if dump["control"] is None:
            del dump["control"]
        if self.training.tokens is not None:
            dump["training"]["counted"] = "all"  # once without sampler and noise proposals: another budget
        used = self.evaluation.used
        return {**dump, "evaluation": used} if used else {key: dump[key] for key in dump if key != "evaluation"}

    def flat(self) -> dict[str, Scalar]:
        """Dotted keys to plain values: `{"trainer.name": "mle", ...}`; metrics joined to one string."""
        dump = self.model_dump(mode="json")
        dump["metrics"] = ",".join(plugin["name"] for plugin in dump["metrics"] or ())
        return flatten(dump)

    def base(self) -> RunConfig:
        """The run that trains this run's shared base: the same data and model, MLE, no `<backspace>`.

        Only a from-scratch model has one.  Fields on which the base does not depend have fixed values, so that every
        cell of a grid asks for the same `run_id`.
        """
        assert self.model.from_scratch, "a loaded model has no base to train"
        return RunConfig(
            benchmark=self.benchmark,
            trainer=Plugin(name=BASE_TRAINER),
            model=self.model.model_copy(update={"base_steps": 0, **WHOLE}),
            training=TrainingConfig(
                steps=self.model.base_steps, rows=self.model.base_rows or 32, lr=self.model.base_lr or 3e-3
            ),
            sampling=SamplingConfig(),
            metrics=(),
            seeds=SeedConfig(train=self.model.base_seed or 0),
        )

    def as_control(self, kind: Control) -> RunConfig:
        """The control run beside this run: same benchmark, tokenizer, context, rollouts, metrics and seeds.

        A control trains nothing, so all else is set to fixed values and one control serves a whole grid at each seed.
        """
        model = self.model
        if model.from_scratch:
            tokens = {"tokenizer": model.tokenizer, "vocab_size": model.vocab_size, "context": model.context}
            model = ModelConfig.model_validate({"name": ARCHITECTURES[0], "base_steps": 0, **tokens})
        return RunConfig(
            benchmark=self.benchmark,
            trainer=Plugin(name=BASE_TRAINER),
            model=model.model_copy(update={"dtype": "float32", **WHOLE}),
            training=TrainingConfig(steps=0),
            sampling=SamplingConfig(rollouts=self.sampling.rollouts, length=self.sampling.length),
            metrics=self.metrics,
            seeds=self.seeds,
            control=kind,
        )

    def at_best_temperature(self) -> RunConfig:
        """This run's policy, sampled at the temperature that the validation split chooses."""
        sampling = SamplingConfig(rollouts=self.sampling.rollouts, length=self.sampling.length, temperature="best")
        once = EvaluationConfig(split=self.evaluation.split)  # a temperature is chosen for a trained policy
        return self.model_copy(update={"sampling": sampling, "evaluation": once})

    def at_temperature(self, temperature: float) -> RunConfig:
        """This run at a temperature that was chosen for it."""
        return self.model_copy(update={"sampling": self.sampling.model_copy(update={"temperature": temperature})})


def is_control(config: Mapping[str, Any]) -> bool:
    """True if a configuration, as it is stored, is a control, or maximum likelihood at its best temperature."""
    if config.get("control") is not None:
        return True
    best: bool = config["sampling"]["temperature"] == "best"
    return best and config["trainer"]["name"] == BASE_TRAINER


def key_order(key: str) -> tuple[int, bool, str]:
    """Sort key of a dotted key: sections in their order, a plug-in's name before its options."""
    section, _, rest = key.partition(".")
    order = list(RunConfig.model_fields)
    return (order.index(section) if section in order else len(order), rest != "name", rest)
