"""Mistakes put before a policy or forced on it stand where they should, and nothing else of its rollouts moves."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from tiny_policies import ALPHABET, tiny_policy

from harness.actions.noise import ground_truth
from harness.config.run import RunConfig
from harness.config.sampling import SamplingConfig
from harness.evaluation.evaluate import evaluate
from harness.evaluation.features import Features
from harness.evaluation.perturbation import corrupted_starts, forced_mistakes
from harness.generation.generate import sample_prompts
from harness.generation.rollouts import Start
from harness.models.policy import Policy
from harness.plugins.metric import Unscorable
from harness.records import Example, Splits

PROMPTS = (Example("cab", "b"), Example("", "cc"), Example("ffffff", ""))


def not_the_next(text: str, generator: np.random.Generator) -> str:
    """Any letter but the one after the last in the alphabet: what is wrong depends on the text, prompt included."""
    right = (ALPHABET.find(text[-1]) + 1) % 6 if text else 0  # also after a character that is unknown
    return ALPHABET[(right + int(generator.integers(1, 6))) % 6]


def starts(policy: Policy, wrong: int, *, length: int | None = None, seed: int = 0) -> list[Start]:
    propose = ground_truth(not_the_next, policy.decode, policy.encode)
    return corrupted_starts(policy, PROMPTS, propose, wrong, length=length, seed=seed)


def test_mistakes_follow_a_right_beginning() -> None:
    """The given text is a beginning of the expert's, then `wrong` letters; the first is not the expert's next one."""
    policy = tiny_policy()
    for seed in range(20):
        for wrong in range(4):
            for example, start in zip(PROMPTS, starts(policy, wrong, seed=seed), strict=True):
                assert policy.decode(start.prompt) == example.prompt
                given = policy.decode(start.given)
                place = len(given) - wrong
                assert given[:place] == example.text[:place]
                assert wrong == 0 or given[place] != example.text[place : place + 1]
                for at in range(place, len(given)):
                    before = example.prompt + given[:at]
                    assert not before or given[at] != ALPHABET[(ALPHABET.index(before[-1]) + 1) % 6]


def test_every_place_is_as_likely_and_stays_for_more_mistakes() -> None:
    """`cab` has four places, each with chance 1/4: 400 draws, sd 8.7; `ffffff` keeps its places as mistakes grow."""
    policy = tiny_policy()
    places = Counter(len(starts(policy, 1, seed=seed)[0].given) - 1 for seed in range(400))
    assert set(places) == {0, 1, 2, 3}
    assert all(abs(count - 100) < 4 * 8.7 for count in places.values()), places
    for seed in range(10):
        one, three = starts(policy, 1, seed=seed), starts(policy, 3, seed=seed)
        assert all(more.given[: len(less.given)] == less.given for less, more in zip(one, three, strict=True))


def test_mistakes_fit_or_are_refused() -> None:
    """Length 3: three mistakes stand before everything, two before at most one right letter, four nowhere."""
    policy = tiny_policy()
    assert all(len(start.given) == 3 for start in starts(policy, 3, length=3))
    assert {len(start.given) for seed in range(20) for start in starts(policy, 2, length=3, seed=seed)} == {2, 3}
    with pytest.raises(Unscorable, match=r"no room for 4 wrong tokens .* sampling\.length=3"):
        starts(policy, 4, length=3)
    with pytest.raises(Unscorable, match=r"raise model\.context=8"):
        starts(tiny_policy(context=8), 8)


def test_forced_mistakes_replace_actions_and_nothing_else() -> None:
    """Chance 1: each action is a letter that is wrong after the text so far.  Chance 0: the undisturbed rollouts."""
    policy = tiny_policy(seed=3)
    propose = ground_truth(not_the_next, policy.decode, policy.encode)
    sampling = SamplingConfig(length=10)

    def written(epsilon: float) -> list[str]:
        force = forced_mistakes(propose, len(PROMPTS), 0)
        return [rollout.text for rollout in sample_prompts(policy, PROMPTS, sampling, 0, epsilon, force)]

    assert written(0.0) == [rollout.text for rollout in sample_prompts(policy, PROMPTS, sampling, 0)]
    for example, text in zip(PROMPTS, written(1.0), strict=True):
        assert len(text) == 10
        whole = example.prompt + text
        for at in range(max(1, len(example.prompt)), len(whole)):
            assert whole[at] != ALPHABET[(ALPHABET.index(whole[at - 1]) + 1) % 6]
    assert written(0.5) == written(0.5) != written(1.0)


def test_forced_mistakes_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy(seed=3)
    propose = ground_truth(not_the_next, policy.decode, policy.encode)
    found = []
    for rows in (256, 1):
        monkeypatch.setattr("harness.generation.generate.BATCH_ROWS", rows)
        force = forced_mistakes(propose, len(PROMPTS), 0)
        found.append(list(sample_prompts(policy, PROMPTS, SamplingConfig(), 0, 0.5, force)))
    assert found[0] == found[1]


def test_an_evaluation_holds_them_where_mistakes_are_known() -> None:
    """One rollout for each prompt; the given tokens are injected ones, and what they say can be deleted."""
    config = RunConfig(benchmark="language", trainer="mle")
    splits = Splits((), (), (Example("ab"),), PROMPTS, mistake=not_the_next)
    features = Features(None, torch.device("cpu"))
    policy = tiny_policy(seed=3)
    found = evaluate(policy, splits, PROMPTS, config, features)
    assert found.corrupted is not None
    assert found.forced_wrong is not None
    assert found.forced_wrong(0.0) == found.rollouts != found.forced_wrong(0.9)
    given = starts(policy, 2, seed=config.seeds.metric)
    for start, rollout in zip(given, found.corrupted(2), strict=True):
        trajectory = rollout.trajectory
        assert trajectory.injected == (True,) * len(start.given) + (False,) * (
            len(trajectory.actions) - len(start.given)
        )
        assert trajectory.actions[: len(start.given)] == start.given
    unknown = evaluate(policy, dataclasses.replace(splits, mistake=None), PROMPTS, config, features)
    assert unknown.corrupted is unknown.forced_wrong is None
