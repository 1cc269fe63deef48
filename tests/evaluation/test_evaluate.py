"""Likelihood by a sliding window, exact steps, and scores, against plain forward passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_policies import fresh_logits, tiny_policy

from harness.actions.space import ActionSpace
from harness.config.run import RunConfig
from harness.config.sampling import SamplingConfig
from harness.errors import ConfigError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.features import Features
from harness.evaluation.likelihood import likelihood, token_nll
from harness.evaluation.perturbation import backspace_after
from harness.generation.generate import sample_prompts
from harness.generation.prompts import choose_prompts
from harness.models.policy import Policy
from harness.records import Example, Splits

TEXTS = [Example("abcabcdefdef" * 3), Example("a"), Example("fedcba", prompt="ab")]


def plain_nll(policy: Policy, example: Example, window: int, stride: int, masked: bool) -> float:
    """Each token from a forward pass over exactly the context that the window protocol gives it."""
    tokens = [policy.start_id, *policy.encode(example.prompt), *policy.encode(example.text), policy.end_id]
    first = 1 + len(policy.encode(example.prompt))
    total = 0.0
    for at in range(first, len(tokens)):
        begin = 0
        while at >= begin + window:
            begin += stride
        logits = fresh_logits(policy, tuple(tokens[begin:at]))
        if policy.space.backspace_id is not None and (masked or at - begin == 1):
            logits[policy.space.backspace_id] = -torch.inf
        total -= float(logits.log_softmax(-1)[tokens[at]])
    return total


@pytest.mark.parametrize("backspace", [True, False])
@pytest.mark.parametrize(("window", "stride"), [(24, 12), (8, 4), (8, 7), (5, 1)])
def test_likelihood_equals_token_by_token(backspace: bool, window: int, stride: int) -> None:
    policy = tiny_policy(backspace=backspace)
    found = likelihood(policy, TEXTS, window=window, stride=stride)
    for value, masked in ((found.nll, False), (found.masked_nll, True)):
        expected = sum(plain_nll(policy, example, window, stride, masked) for example in TEXTS)
        assert value == pytest.approx(expected, abs=1e-8)
    assert (found.tokens, found.words, found.bytes, found.documents) == (36 + 1 + 6 + 3, 3, 43, 3)


def test_the_number_of_scored_tokens_is_the_same_for_every_stride() -> None:
    policy = tiny_policy()
    texts = [(1, list(range(2, 7)) * 9), (3, [2, 3, 4, 5])]
    counts = {token_nll(policy, texts, window, stride)[2] for window in (4, 9, 24) for stride in (1, 2, 3)}
    assert counts == {44 + 1}
    with pytest.raises(ValueError, match="stride=4"):
        token_nll(policy, texts, 4, 4)


def test_batches_of_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    whole = likelihood(policy, TEXTS)
    monkeypatch.setattr("harness.evaluation.likelihood.BATCH_LOGITS", 1)
    assert likelihood(policy, TEXTS).nll == pytest.approx(whole.nll, abs=1e-10)


def next_letter(text: str, generator: np.random.Generator) -> str:
    """A mistake that needs no law and no luck: the letter after the last one of the text."""
    return "abcdef"[(ord(text[-1]) - ord("a") + 1) % 6] if text else "a"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_backspace_after_mistakes_equals_fresh_forward_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text "ca" after prompt "b" has the places b, bc and bca, text "f" without a prompt has "" and f.

    The mistake after b is c and then d, so the first place asks about bc and bcd; five places, two states each.
    """
    policy = tiny_policy(name, seed=3)
    states = [("bc", "bcd"), ("bcd", "bcde"), ("bcab", "bcabc"), ("a", "ab"), ("fa", "fab")]
    expected = [
        [
            float(fresh_logits(policy, (policy.start_id, *policy.encode(text))).softmax(-1)[policy.space.backspace_id])
            for text in pair
        ]
        for pair in states
    ]
    examples = [Example("ca", prompt="b"), Example("f")]
    found = backspace_after(policy, examples, next_letter, 2, seed=0)
    assert found == pytest.approx(np.array(expected), abs=1e-9)
    assert backspace_after(policy, examples, next_letter, 1, seed=0) == pytest.approx(found[:, :1], abs=1e-9)
    monkeypatch.setattr("harness.evaluation.perturbation.BATCH_ROWS", 1)
    assert backspace_after(policy, examples, next_letter, 2, seed=0) == pytest.approx(found, abs=1e-9)


def test_mistakes_that_do_not_fit_into_the_context_are_left_out() -> None:
    """Context 8 holds the start and seven letters: two mistakes fit before letters 1 to 6 of a text of seven."""
    policy = tiny_policy(context=8)
    assert len(backspace_after(policy, [Example("abcdefa")], next_letter, 2, seed=0)) == 6
    assert len(backspace_after(policy, [Example("abcdefa")], next_letter, 1, seed=0)) == 7
    assert backspace_after(policy, [Example("a", prompt="abcdef")], next_letter, 2, seed=0).shape == (0, 2)


def test_the_mistakes_about_an_evaluation_are_its_own() -> None:
    """Forced rollouts answer its prompts; no <backspace>, or no known mistakes, leaves nothing to ask about it."""
    config = RunConfig(benchmark="language", trainer="mle")
    prompts = (Example("ab", "c"),) * 5
    splits = Splits(train=(), validation=(), test=(Example("ab"),), prompts=prompts)
    features = Features(None, torch.device("cpu"))
    policy = tiny_policy(seed=3)
    found = evaluate(policy, dataclasses.replace(splits, mistake=next_letter), prompts, config, features)
    assert found.forced is not None
    assert found.p_back is not None
    assert found.forced(0.0) == found.rollouts
    assert found.forced(0.9) != found.rollouts
    assert len(found.forced(0.9)) == 5
    assert found.p_back(2).shape == (3, 2)
    assert evaluate(policy, splits, prompts, config, features).p_back is None
    plain = tiny_policy(backspace=False)
    assert evaluate(plain, dataclasses.replace(splits, mistake=next_letter), prompts, config, features).p_back is None


def test_continuations_are_cut_to_what_a_rollout_may_hold() -> None:
    """Context 24: a prompt of 1 + 2 tokens leaves 21; a length of 3 is shorter."""
    policy = tiny_policy()
    prompts = [Example("abcdef" * 5, prompt="ab"), Example("ab")]
    assert [e.text for e in choose_prompts(policy, prompts, SamplingConfig())] == [("abcdef" * 5)[:21], "ab"]
    assert [e.text for e in choose_prompts(policy, prompts, SamplingConfig(length=3))] == ["abc", "ab"]


def test_prompts_leave_half_of_the_context_free() -> None:
    """Context 24: eleven tokens after the start are half of it, twelve are too many and the next prompt is taken."""
    policy = tiny_policy()
    prompts = [Example("a", prompt="abcdef" * 2), *(Example("a", prompt="abcdefabcde"[n:]) for n in range(3))]
    chosen = choose_prompts(policy, prompts, SamplingConfig(rollouts=2))
    assert [len(example.prompt) for example in chosen] == [11, 10]
    with pytest.raises(ConfigError, match=r"model\.context=24: 0 of 5 prompts"):
        choose_prompts(policy, prompts[:1] * 5, SamplingConfig())


def test_rollouts_are_the_same_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy(seed=3)
    prompts = [Example("", prompt="abc"[: n % 4]) for n in range(7)]
    whole = list(sample_prompts(policy, prompts, SamplingConfig(), 0))
    monkeypatch.setattr("harness.generation.generate.BATCH_ROWS", 2)
    assert list(sample_prompts(policy, prompts, SamplingConfig(), 0)) == whole
    assert [len(rollout.trajectory.prompt) for rollout in whole] == [1, 2, 3, 4, 1, 2, 3]


def test_reduce_drops_deleted_tokens_and_the_end() -> None:
    space = ActionSpace(size=9, end_id=7, backspace_id=8)
    assert space.reduce(np.array([1, 2, 8, 8, 3, 4, 8, 7]).tolist()) == (3,)
