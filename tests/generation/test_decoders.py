"""Decoders: truncations against transformers' own, contrastive search against a slow reference, and deletions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_policies import tiny_policy
from torch.nn.functional import cosine_similarity
from transformers import (
    EtaLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from harness.config.sampling import SamplingConfig
from harness.generation.decoders import Contrastive, Decoder, Greedy, decoder_of
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy


def random_logits(seed: int, rows: int = 8, size: int = 30) -> torch.Tensor:
    """Logits [rows, size] of different sharpness, a tenth of them illegal (-inf)."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = torch.linspace(0.1, 6, rows)[:, None].double()
    logits = torch.randn(rows, size, generator=generator, dtype=torch.float64) * sharpness
    return logits.masked_fill(torch.rand(rows, size, generator=generator) < 0.1, -torch.inf)


def kept_by_transformers(decoder: Decoder, logits: torch.Tensor) -> torch.Tensor:
    """The library's warpers, in the order in which its `generate` applies them."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(decoder.temperature)])
    if decoder.top_k:
        warpers.append(TopKLogitsWarper(decoder.top_k))
    if decoder.top_p < 1:
        warpers.append(TopPLogitsWarper(decoder.top_p))
    if decoder.min_p:
        warpers.append(MinPLogitsWarper(decoder.min_p))
    if decoder.typical_p < 1:
        warpers.append(TypicalLogitsWarper(decoder.typical_p))
    if decoder.eta:
        warpers.append(EtaLogitsWarper(decoder.eta))
    kept: torch.Tensor = warpers(torch.zeros(len(logits), 1, dtype=torch.long), logits)
    return kept


ALONE = [
    Decoder(temperature=0.7),
    Decoder(top_k=5),
    Decoder(top_k=100),
    Decoder(top_p=0.8),
    Decoder(min_p=0.05),
    Decoder(typical_p=0.3),
    Decoder(typical_p=0.95),
    Decoder(eta=0.002),
    Decoder(eta=0.3),
]


@pytest.mark.parametrize("decoder", ALONE, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_each_truncation_keeps_what_transformers_keeps(decoder: Decoder, seed: int) -> None:
    logits = random_logits(seed)
    ours = decoder.shaped(logits)
    assert torch.equal(ours, kept_by_transformers(decoder, logits))
    if decoder.temperature == 1 and decoder.top_k != 100:
        assert (ours == -torch.inf).sum() > (logits == -torch.inf).sum()  # it does cut something


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Decoder,
        temperature=st.floats(0.2, 3),
        top_k=st.integers(0, 40),
        top_p=st.floats(0.05, 1),
        min_p=st.floats(0, 0.9),
        typical_p=st.floats(0.05, 1),
        eta=st.floats(0, 0.9),
    ),
    st.integers(0, 2**31),
)
def test_together_they_keep_what_transformers_keeps(decoder: Decoder, seed: int) -> None:
    """Any combination, in one order; every row keeps something."""
    logits = random_logits(seed)
    ours = decoder.shaped(logits)
    assert torch.equal(ours, kept_by_transformers(decoder, logits))
    assert (ours > -torch.inf).any(-1).all()


def test_truncations_by_hand() -> None:
    """p = (.1, .5, .3, .1) has entropy 1.168; the surprises are 2.303, .693, 1.204, 2.303.

    typical: 1.204 is nearest (.036), then .693 (.475), then both 2.303: mass .3 keeps the third alone, .31 two.
    min_p: .3/.5 = .6 passes min_p = .6 but not .61; .1/.5 = .2.
    eta = .5: min(.5, .7071 exp(-1.168) = .2199) keeps .3 and .5; eta = .04: min(.04, .0622) drops nothing.
    """
    logits = torch.tensor([[0.1, 0.5, 0.3, 0.1]], dtype=torch.float64).log()

    def kept(decoder: Decoder) -> list[int]:
        return [i for i, value in enumerate(decoder.shaped(logits)[0].tolist()) if value > -np.inf]

    assert kept(Decoder(typical_p=0.29)) == [2]
    assert kept(Decoder(typical_p=0.31)) == [1, 2]
    assert kept(Decoder(typical_p=0.81)) == [0, 1, 2, 3]  # the two last are equally surprising: neither goes alone
    assert kept(Decoder(min_p=0.59)) == [1, 2]
    assert kept(Decoder(min_p=0.61)) == [1]
    assert kept(Decoder(min_p=0.19)) == [0, 1, 2, 3]
    assert kept(Decoder(eta=0.5)) == [1, 2]
    assert kept(Decoder(eta=0.04)) == [0, 1, 2, 3]


# ------------------------------------------------------------------------------------------------ deterministic ones


def states(policy: Policy, text: tuple[int, ...]) -> torch.Tensor:
    """Last hidden states [T, F] of a text by a plain forward pass without a cache."""
    with torch.no_grad():
        hidden: torch.Tensor = policy.model.base_model(torch.tensor([text]), use_cache=False).last_hidden_state[0]
    return hidden


def law(policy: Policy, text: tuple[int, ...], boundary: int, tried: set[int]) -> torch.Tensor:
    """pi(.|text) over legal actions that were not deleted here before."""
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
    if len(text) == boundary and policy.space.backspace_id is not None:
        logits[policy.space.backspace_id] = -torch.inf
    logits[list(tried)] = -torch.inf
    return logits.softmax(-1)


def slow_search(policy: Policy, start: Start, k: int, alpha: float, most: int) -> tuple[list[int], int]:
    """Contrastive search from its definition, one forward pass per candidate; k = 1 is greedy.

    Returns the actions, and how many of them delete a token that the search would otherwise write again.
    """
    boundary, back = len(start.prompt), policy.space.backspace_id
    text, actions = (*start.prompt, *start.given), []
    tried: dict[tuple[int, ...], set[int]] = {}
    while len(actions) < most:
        probs = law(policy, text, boundary, tried.get(text, set()))
        own = states(policy, text)
        best, chosen = -np.inf, -1
        for token in probs.topk(min(k, len(probs))).indices.tolist():
            if probs[token] == 0:
                continue
            if token == back:
                likeness = float(cosine_similarity(own[-2], own[:-2]).max()) if len(text) > 2 else 0.0
            else:
                likeness = float(cosine_similarity(states(policy, (*text, token))[-1], own).max())
            value = (1 - alpha) * float(probs[token]) - alpha * likeness
            if value > best:
                best, chosen = value, token
        actions.append(chosen)
        if chosen == policy.space.end_id:
            break
        if chosen == back:
            tried.setdefault(text[:-1], set()).add(text[-1])
            text = text[:-1]
        else:
            text = (*text, chosen)
        if len(text) == policy.context:
            break
    return actions, sum(map(len, tried.values()))


def starts(policy: Policy) -> list[Start]:
    """One start for each of six prompts of one to four tokens; every other one with two given tokens."""
    rng = np.random.default_rng(1)
    letters = policy.encode("abcdef")
    return [
        Start(
            (policy.start_id, *rng.choice(letters, size=n % 4).tolist()),
            tuple(rng.choice(letters, size=2).tolist()) if n % 2 else (),
        )
        for n in range(6)
    ]


@pytest.mark.parametrize(
    ("name", "k", "alpha"),
    [("gpt2", 1, 0.0), ("llama", 1, 0.0), ("gpt2", 3, 0.6), ("llama", 3, 0.6), ("gpt2", 9, 0.9), ("gpt2", 4, 0.2)],
)
def test_deterministic_decoders_equal_a_slow_search(name: str, k: int, alpha: float) -> None:
    """k = 1 is greedy.  The policies delete; a deleted token is not written there again."""
    deleted = 0
    for seed in (0, 3):
        policy = tiny_policy(name, seed=seed, context=9)
        decoder = Greedy() if k == 1 else Contrastive(k, alpha)
        rollouts = sample(policy, starts(policy), seed=7, decoder=decoder, max_actions=14)
        for start, rollout in zip(starts(policy), rollouts, strict=True):
            expected, gone = slow_search(policy, start, k, alpha, most=14)
            assert list(rollout.trajectory.actions[len(start.given) :]) == expected
            deleted += gone
    assert deleted > 3


def test_a_contrastive_rollout_depends_on_neither_batch_nor_seed() -> None:
    policy = tiny_policy(seed=3)
    together = sample(policy, starts(policy), seed=5, decoder=Contrastive(4, 0.6))
    alone = [sample(policy, [start], seed=9, decoder=Contrastive(4, 0.6))[0] for start in starts(policy)]
    assert [r.trajectory for r in together] == [r.trajectory for r in alone]


def test_contrastive_search_prefers_what_is_new() -> None:
    """Candidates of probability .5 and .3 with likeness .9 and .1 at alpha = .5: .25 - .45 < .15 - .05."""
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    likeness = torch.tensor([[0.9, 0.1]])
    assert Contrastive(2, 0.5).draw(logits, torch.zeros(1), lambda candidates: likeness).tolist() == [1]
    assert Contrastive(2, 0.1).draw(logits, torch.zeros(1), lambda candidates: likeness).tolist() == [0]


def test_a_bias_moves_one_action_before_the_temperature() -> None:
    """Logits log(1, 2, 1) with log 4 on the last, at temperature 1/2: 1, 4 and 16 parts of 21; masked: 1 and 4 of 5."""
    logits = torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64).log()
    biased = Decoder(temperature=0.5, bias=(2, math.log(4))).chances(logits)[0]
    assert biased.tolist() == pytest.approx([1 / 21, 4 / 21, 16 / 21])
    assert Decoder(temperature=0.5, bias=(2, -math.inf)).chances(logits)[0].tolist() == pytest.approx([0.2, 0.8, 0])
    assert logits.exp()[0].tolist() == pytest.approx([1, 2, 1])


# ---------------------------------------------------------------------------------------------------- configuration


def test_every_setting_reaches_the_decoder() -> None:
    shaped = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "eta": 0.01}
    assert decoder_of(SamplingConfig.model_validate(shaped)) == Decoder(**shaped)
    assert decoder_of(SamplingConfig()) == Decoder()
    assert decoder_of(SamplingConfig(backspace_bias=2), 5) == Decoder(bias=(5, 2.0))
    assert decoder_of(SamplingConfig(backspace_bias="masked"), 5) == Decoder(bias=(5, -math.inf))
    assert decoder_of(SamplingConfig(decoder="greedy")) == Greedy()
    assert decoder_of(SamplingConfig(decoder="contrastive")) == Contrastive(4, 0.6)
    assert decoder_of(SamplingConfig(decoder="contrastive", top_k=7, penalty_alpha=0.3)) == Contrastive(7, 0.3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder": "greedy", "temperature": 0.7}, "temperature=0.7 belongs to decoder=sample"),
        ({"decoder": "contrastive", "top_p": 0.9}, "top_p=0.9 belongs to decoder=sample"),
        ({"decoder": "greedy", "top_k": 4}, "top_k=4 belongs to decoder=sample or contrastive"),
        ({"decoder": "greedy", "temperature": "best"}, "temperature=best belongs to decoder=sample"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 belongs to decoder=contrastive"),
        ({"decoder": "contrastive", "top_k": 1}, "use greedy, or top_k >= 2"),
        ({"temperature": True}, "a number greater than 0, or best"),
        ({"temperature": "hot"}, "a number greater than 0, or best"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplingConfig.model_validate(given)
