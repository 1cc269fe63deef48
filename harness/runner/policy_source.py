"""The source of a run's policy, one of three values: a control, an earlier run's training, or training now."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.config.run import Control, RunConfig
from harness.data.noise_sources import proposals
from harness.data.splits import HeldOut
from harness.data.stream import ExpertStream
from harness.data.windows import training_rows
from harness.evaluation.controls import CONTROLS, control_policy
from harness.evaluation.evaluate import evaluate
from harness.evaluation.features import Features
from harness.evaluation.scoring import score
from harness.evaluation.token_scorer import choose_token_scorer
from harness.generation.probe import check_policy
from harness.generation.prompts import choose_prompts
from harness.generation.verdicts import check_model
from harness.models.initial import start_policy
from harness.models.policy import Policy
from harness.plugins.options import build
from harness.plugins.trainer import Trainer
from harness.records.data import Example, Splits
from harness.records.evaluation import Evaluation
from harness.records.events import Event, Resumed, StageProgress
from harness.records.progress import Report, unreported
from harness.records.training import Interim
from harness.registry import TRAINERS
from harness.training.base_model import prepare_base
from harness.training.loop import Training
from harness.training.resume import Attempt, train
from harness.training.trained_policies import Origin, find, keep, policy_folder


@dataclass(frozen=True)
class Learned:
    """The training behind a policy: where it is kept and the CPU threads that computed it; both None for a control.

    Of an untrained policy (no steps) nothing is kept: `origin` is None.
    """

    origin: Origin | None = None
    threads: Sequence[int] | None = None


@dataclass(frozen=True)
class ControlSource:
    """A control: no training; only the policy's tokenizer and context are used."""

    config: RunConfig
    kind: Control
    policy: Policy
    base: None = None

    def held(self, held_out: HeldOut) -> Splits:
        """The test split, with the validation split as more expert texts."""
        return held_out.both()

    def train(self, attempt: Attempt, held_out: HeldOut, features: Features) -> Generator[Event, None, Learned]:
        """Train nothing."""
        yield from ()
        return Learned()

    def evaluate(
        self,
        held: Splits,
        prompts: tuple[Example, ...],
        config: RunConfig,
        features: Features,
        report: Report = unreported,
    ) -> Evaluation:
        """The control's texts for the metrics."""
        return CONTROLS[self.kind](self.policy, held, prompts, config, features)


@dataclass(frozen=True)
class TrainingSource:
    """A policy that is trained now, from where the attempt's newest checkpoint ended.

    Attributes:
        config: of the run.
        splits: the benchmark's data.
        base: the directory of the shared base that training starts from; None for a pretrained model.
        policy: before training; `train` changes it.
    """

    config: RunConfig
    splits: Splits
    base: Path | None
    policy: Policy

    def held(self, held_out: HeldOut) -> Splits:
        """The split that the run is evaluated on."""
        return held_out.of(self.config.evaluation.split)

    def train(self, attempt: Attempt, held_out: HeldOut, features: Features) -> Generator[Event, None, Learned]:
        """Train to the end of the budget, score on the way where that is asked for, and keep the policy."""
        config, training = self.config, self._training()
        for event in train(training, attempt):
            yield event
            if isinstance(event, StageProgress) and training.due:
                interim = self._interim(training, held_out, features)
                with attempt.reporting:
                    training.interims.append(interim)
                    training.due = False
                    yield interim
        threads = sorted(training.threads)
        if config.untrained:  # it is what was loaded, and lies there already
            return Learned(None, threads)
        folder, data_hash = policy_folder(attempt.folder, config), self.splits.data_hash
        origin = keep(self.policy, folder, config, training.points, data_hash, training.interims, threads)
        attempt.end()
        return Learned(origin, threads)

    def _training(self) -> Training:
        config, policy = self.config, self.policy
        trainer: Trainer = build(TRAINERS, config.trainer, "trainer")
        expert = training_rows(self.splits, policy)
        propose = proposals(config.actions, policy, expert, self.splits.mistake)
        stream = ExpertStream(
            expert, policy.space, config.actions, propose, context=policy.context, seed=config.seeds.train
        )
        return Training(policy, trainer, stream, config)

    def _interim(self, training: Training, held_out: HeldOut, features: Features) -> Interim:
        """Scores of the policy as it is now, on the validation split; training is not changed by it."""
        held, config = held_out.of("validation"), training.config
        prompts = choose_prompts(self.policy, held.prompts, config.sampling)
        evaluation = self.evaluate(held, prompts, config, features)
        return Interim(training.spent, training.before, tuple(score(evaluation, config.interim_metrics)))

    def evaluate(
        self,
        held: Splits,
        prompts: tuple[Example, ...],
        config: RunConfig,
        features: Features,
        report: Report = unreported,
    ) -> Evaluation:
        """The policy's likelihoods and rollouts for the metrics; `report` gets the share of the rollouts."""
        token_scorer = choose_token_scorer(self.policy, self.splits.law, self.base, config.model)
        return evaluate(self.policy, held, prompts, config, features, token_scorer, report)


@dataclass(frozen=True)
class KeptSource(TrainingSource):
    """A policy that an earlier run of the same training left, with its curve and interim scores in `origin`."""

    origin: Origin

    def train(self, attempt: Attempt, held_out: HeldOut, features: Features) -> Generator[Event, None, Learned]:
        """Repeat what that training reported."""
        yield Resumed(0)  # what earlier attempts of this run logged does not count
        yield from self.origin.steps
        yield from self.origin.interims
        return Learned(self.origin, self.origin.threads)


PolicySource = ControlSource | TrainingSource


def policy_source(
    config: RunConfig, splits: Splits, folder: Path, device: torch.device
) -> Generator[StageProgress, None, PolicySource]:
    """Choose the source for a run of the store in `folder`; trains the shared base where it is needed and not cached.

    Raises:
        OutOfSpace: there is no room for the base.
        ConfigError: the harness would compute the model wrongly.
    """
    if config.control is not None:
        return ControlSource(config, config.control, control_policy(config, splits, device))
    base, verdict = None, None
    if config.model.from_scratch:
        base = yield from prepare_base(config, splits, folder / "cache", device)
    else:
        verdict = check_model(config.model, backspace=config.actions.backspace, folder=folder / "cache")
    found = find(
        policy_folder(folder, config), config, splits.data_hash, device, lambda: start_policy(config, base, device)
    )
    if found is None:
        policy = start_policy(config, base, device)
        if not config.model.from_scratch:
            check_policy(policy, config.model, verdict)
        return TrainingSource(config, splits, base, policy)
    policy, origin = found
    return KeptSource(config, splits, base, policy, origin)
