"""From a trained policy to what metrics look at: likelihood of test texts, rollouts from prompts, exact laws."""

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
from harness.records.data import Example, Splits
from harness.records.evaluation import Evaluation, ExactStep, FinishedLaw, TokenScorer
from harness.records.rollout import Rollout

EXACT_TEXTS = 500  # expert texts on whose states the exact law is compared


MISTAKE_TEXTS = 200  # expert texts into which mistakes are put, one at every place


CANDIDATE_ROLLOUTS = 32  # rollouts of a run that keep the likeliest actions of each state, for whoever looks at them


def evaluate(
    policy: Policy,
    splits: Splits,
    prompts: tuple[Example, ...],
    config: RunConfig,
    features: Features,
    token_scorer: TokenScorer | None = None,
) -> Evaluation:
    """Everything that the metrics of `config` may look at; the policy is not changed."""
    mistake, sampling, seed = splits.mistake, config.sampling, config.seeds.sample
    propose = None if mistake is None else ground_truth(mistake, policy.decode, policy.inside)

    def forced(epsilon: float) -> tuple[Rollout, ...]:
        return tuple(sample_prompts(policy, prompts, sampling, seed, epsilon))

    def forced_wrong(epsilon: float) -> tuple[Rollout, ...]:
        assert propose is not None
        force = forced_mistakes(propose, len(prompts), seed)
        return tuple(sample_prompts(policy, prompts, sampling, seed, epsilon, force))

    def corrupted(wrong: int) -> tuple[Rollout, ...]:
        assert propose is not None
        starts = corrupted_starts(policy, prompts, propose, wrong, length=sampling.length, seed=config.seeds.metric)
        return tuple(sample_starts(policy, starts, sampling, seed))

    def p_back(wrong: int) -> np.ndarray:
        assert mistake is not None
        return backspace_after(policy, splits.test[:MISTAKE_TEXTS], mistake, wrong, config.seeds.metric)

    law, rollouts = splits.law, tuple(sample_prompts(policy, prompts, sampling, seed, candidates=CANDIDATE_ROLLOUTS))
    decoder = decoder_of(sampling, policy.space.backspace_id)

    def own() -> tuple[ExactStep, ...]:
        assert law is not None
        return tuple(own_steps(policy, law, rollouts))

    def finish(texts: int | None, states: int) -> FinishedLaw:
        assert law is not None
        if isinstance(decoder, Contrastive):
            raise Unscorable("contrastive search looks at hidden states, not only at chances; use another decoder")
        if sampling.best_of > 1 or sampling.reject:
            raise Unscorable("each text was chosen among several, so their law is not the decoder's; use best_of=1")
        writes = writer(policy, law, decoder, sampling.length)
        if texts is None:
            return enumerated(writes, law, states)
        return sampled(writes, law, [example.text for example in splits.test[:texts]], states)

    return replace(
        of_texts(prompts, rollouts, policy.space, splits, config, features),
        likelihood=likelihood(policy, splits.test),
        exact_steps=() if law is None else tuple(expert_steps(policy, law, splits.test[:EXACT_TEXTS])),
        forced=cache(forced),
        forced_wrong=None if mistake is None else cache(forced_wrong),
        corrupted=None if mistake is None else cache(corrupted),
        p_back=None if mistake is None or policy.space.backspace_id is None else cache(p_back),
        mistake_texts=len(splits.test[:MISTAKE_TEXTS]),
        own_steps=None if law is None else cache(own),
        finished=None if law is None else cache(finish),
        token_scorer=token_scorer,
    )


def of_texts(
    prompts: tuple[Example, ...],
    rollouts: tuple[Rollout, ...],
    space: ActionSpace,
    splits: Splits,
    config: RunConfig,
    features: Features,
) -> Evaluation:
    """What metrics may look at where texts are all there is: nothing that asks the policy that wrote them."""
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
