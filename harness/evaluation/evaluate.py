"""The assembly of an `Evaluation`: likelihood of test texts, rollouts from prompts, mistakes, exact laws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from harness.actions.noise import ground_truth
from harness.actions.space import ActionSpace
from harness.config.run import RunConfig
from harness.evaluation.exact import expert_steps, own_steps, writer
from harness.evaluation.features import Features
from harness.evaluation.likelihood import likelihood
from harness.evaluation.marginal import enumerated, sampled
from harness.evaluation.perturbation import backspace_after, corrupted_starts, forced_mistakes
from harness.generation.decoders import Contrastive, decoder_of
from harness.generation.generate import sample_prompts, sample_starts
from harness.models.policy import Policy
from harness.plugins.metric import Unscorable
from harness.records.data import Example, Mistake, Splits
from harness.records.evaluation import Evaluation, ExactStep, FinishedLaw, TokenScorer
from harness.records.law import Law
from harness.records.progress import Report, unreported
from harness.records.rollout import Rollout

CANDIDATE_ROLLOUTS = 32  # rollouts of a run that keep the likeliest actions of each state, for its replay
MISTAKE_TEXTS = 200  # expert texts into which mistakes are put, one at every place
EXACT_TEXTS = 500  # expert texts on whose states the exact law is compared


def evaluate(
    policy: Policy,
    splits: Splits,
    prompts: tuple[Example, ...],
    config: RunConfig,
    features: Features,
    token_scorer: TokenScorer | None = None,
    report: Report = unreported,
) -> Evaluation:
    """Build the `Evaluation` that the metrics of `config` need; the policy is not changed.

    `report` gets the share of the rollouts that is done.
    """
    sampling, seed = config.sampling, config.seeds.sample

    def forced(epsilon: float) -> tuple[Rollout, ...]:
        return tuple(sample_prompts(policy, prompts, sampling, seed, epsilon))

    rollouts = tuple(sample_prompts(policy, prompts, sampling, seed, candidates=CANDIDATE_ROLLOUTS, report=report))
    evaluation = replace(
        of_texts(prompts, rollouts, policy.space, splits, config, features),
        likelihood=likelihood(policy, splits.test),
        forced=cache(forced),
        mistake_texts=len(splits.test[:MISTAKE_TEXTS]),  # part of a score's name, also where it has no value
        token_scorer=token_scorer,
    )
    if splits.mistake is not None:
        evaluation = _with_mistakes(evaluation, policy, splits.mistake, splits.test, config)
    if splits.law is not None:
        evaluation = _with_law(evaluation, policy, splits.law, splits.test, config)
    return evaluation


def of_texts(
    prompts: tuple[Example, ...],
    rollouts: tuple[Rollout, ...],
    space: ActionSpace,
    splits: Splits,
    config: RunConfig,
    features: Features,
) -> Evaluation:
    """The part of an evaluation that needs texts alone, and no policy."""
    return Evaluation(
        prompts=prompts,
        rollouts=rollouts,
        backspace_id=space.backspace_id,
        metric_seed=config.seeds.metric,
        train=tuple(example.text for example in splits.train),
        law=splits.law,
        features=features,
        featuriser_id=features.identify,
        paired=features.paired,
    )


def _with_mistakes(
    evaluation: Evaluation, policy: Policy, mistake: Mistake, test: tuple[Example, ...], config: RunConfig
) -> Evaluation:
    """Add the policy's reactions to the benchmark's mistakes; each is computed when a metric first needs it."""
    prompts, sampling, seeds = evaluation.prompts, config.sampling, config.seeds
    propose = ground_truth(mistake, policy.decode, policy.inside)

    def forced_wrong(epsilon: float) -> tuple[Rollout, ...]:
        force = forced_mistakes(propose, len(prompts), seeds.sample)
        return tuple(sample_prompts(policy, prompts, sampling, seeds.sample, epsilon, force))

    def corrupted(wrong: int) -> tuple[Rollout, ...]:
        starts = corrupted_starts(policy, prompts, propose, wrong, length=sampling.length, seed=seeds.metric)
        return tuple(sample_starts(policy, starts, sampling, seeds.sample))

    def p_back(wrong: int) -> np.ndarray:
        return backspace_after(policy, test[:MISTAKE_TEXTS], mistake, wrong, seeds.metric)

    return replace(
        evaluation,
        forced_wrong=cache(forced_wrong),
        corrupted=cache(corrupted),
        p_back=None if policy.space.backspace_id is None else cache(p_back),
    )


def _with_law(
    evaluation: Evaluation, policy: Policy, law: Law, test: tuple[Example, ...], config: RunConfig
) -> Evaluation:
    """Add the policy beside a known law: in expert states, in own states, and over finished texts."""
    sampling, decoder = config.sampling, decoder_of(config.sampling, policy.space.backspace_id)

    def own() -> tuple[ExactStep, ...]:
        return tuple(own_steps(policy, law, evaluation.rollouts))

    def finish(texts: int | None, states: int) -> FinishedLaw:
        if isinstance(decoder, Contrastive):
            raise Unscorable("contrastive search needs hidden states, not only probabilities; use another decoder")
        if sampling.best_of > 1 or sampling.reject:
            raise Unscorable("each text was chosen among several, so their law is not the decoder's; use best_of=1")
        writes = writer(policy, law, decoder, sampling.length)
        if texts is None:
            return enumerated(writes, law, states)
        return sampled(writes, law, [example.text for example in test[:texts]], states)

    return replace(
        evaluation,
        exact_steps=tuple(expert_steps(policy, law, test[:EXACT_TEXTS])),
        own_steps=cache(own),
        finished=cache(finish),
    )
