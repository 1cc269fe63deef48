"""The law of finished texts against linear systems, arithmetic by hand, and what a policy really writes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from oracle.world import World, clean_rows, finished_by_solve
from tiny_policies import tiny_policy

from harness.evaluation.exact import writer
from harness.evaluation.marginal import Prefix, PrefixTree, Writer, enumerated, sampled
from harness.generation.decoders import Decoder
from harness.generation.rollouts import Start, sample
from harness.plugins.metric import Unscorable
from harness.records import Law

LETTERS = "abcde"


@dataclass(frozen=True)
class Even:
    """Every text over `alphabet` up to `length`: at each turn all letters and the end alike, at last the end alone."""

    alphabet: str
    length: int
    start: int = 0

    def next(self, state: Hashable) -> Mapping[str, float]:
        assert isinstance(state, int)
        return {"": 1.0} if state == self.length else dict.fromkeys([*self.alphabet, ""], 1 / (len(self.alphabet) + 1))

    def advance(self, state: Hashable, symbol: str) -> int | None:
        assert isinstance(state, int)
        return state + 1 if state < self.length and symbol in self.alphabet else None


class OnlyA(Even):
    """The one text a."""

    def __init__(self) -> None:
        super().__init__("a", 1)

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {"a": 1.0} if state == 0 else {"": 1.0}


def table(world: World, policy: torch.Tensor) -> Writer:
    """A tabular policy [P] as a writer; letters a, b, ... are the world's tokens."""
    rows: dict[Prefix, np.ndarray] = {}
    for (state, action, _), chance in zip(world.pairs, policy.tolist(), strict=True):
        row = rows.setdefault(world.states[state], np.zeros(world.tokens + 2))
        row[action] = chance

    def chances(prefixes: Sequence[Prefix]) -> np.ndarray:
        return np.array([rows[prefix] for prefix in prefixes])

    letters = {LETTERS[i]: i for i in range(world.tokens)}
    return Writer(chances, letters, world.end, world.back if world.backspace else None, world.length)


def law_of(world: World) -> Even:
    return Even(LETTERS[: world.tokens], world.length)


def random_policy(world: World, seed: int, spread: float = 1.0) -> torch.Tensor:
    return world.log_policy(world.random_logits(seed, spread)).exp()


def by_text(world: World, law: Law, finished: np.ndarray) -> dict[Prefix, float]:
    """The probabilities of an enumeration by text; `enumerated` lists the texts as the law's tree gives them."""
    order: list[Prefix] = []
    todo: list[tuple[Prefix, Hashable]] = [((), law.start)]
    while todo:
        text, state = todo.pop()
        order.append(text)
        for symbol in law.next(state):
            after = law.advance(state, symbol) if symbol else None
            if after is not None:
                todo.append(((*text, LETTERS.index(symbol)), after))
    return dict(zip(order, np.exp(finished).tolist(), strict=True))


@pytest.mark.parametrize(
    "world", [World(2, 4, True), World(3, 3, True), World(4, 3, True), World(3, 3, False)], ids=str
)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_linear_solve(world: World, seed: int) -> None:
    """Visits from (I - P) v = start, times pi(end|x): nothing of the recursion is in it."""
    policy = random_policy(world, seed, spread=1.0 + seed)
    found = enumerated(table(world, policy), law_of(world), 10_000)
    expected = finished_by_solve(world, policy)
    ours = by_text(world, law_of(world), found.low)
    assert ours.keys() == expected.keys()
    assert max(abs(ours[text] - expected[text]) for text in expected) < 1e-12
    assert (found.low == found.high).all()
    assert sum(ours.values()) == pytest.approx(1, abs=1e-12)
    assert not found.leaks


def test_one_letter_by_hand() -> None:
    """ "": a 1/2, end 1/2.  "a": back 1/2, end 1/4, another a 1/4, which fills the context.

    stay(a) = (1/4 + 1/4) / 1 = 1/2, kept("") = 1/2 + 1/2 * 1/2 = 3/4.  p("") = 1/2 / (3/4) = 2/3, p(a) =
    1/2 / (3/4) * 1/4 = 1/6, and 1/6 is cut off: with a law that ends after one letter that is a leak.
    """
    rows = {(): [0.5, 0.5, 0.0], (0,): [0.25, 0.25, 0.5]}
    write = Writer(lambda prefixes: np.array([rows[p] for p in prefixes]), {"a": 0}, end=1, backspace=2, longest=1)
    found = enumerated(write, Even("a", 1), 10)
    assert np.exp(found.low) == pytest.approx([2 / 3, 1 / 6], abs=1e-15)
    assert np.exp(found.log_law) == pytest.approx([0.5, 0.5])
    assert found.leaks
    assert found.states == 2


def test_renormalising_is_another_law() -> None:
    """The policy divided by 1 - pi(back), text by text, is .04 to .31 away in total variation on ten random ones."""
    world = World(3, 3, True)
    distances = []
    for seed in range(10):
        logits = world.random_logits(seed, 2.0)
        clean = {row.actions[:-1]: row.mass for row in clean_rows(world, logits)}
        found = enumerated(table(world, world.log_policy(logits).exp()), law_of(world), 999)
        ours = by_text(world, law_of(world), found.low)
        distances.append(sum(abs(ours[text] - clean[text]) for text in clean) / 2)
    assert 0.05 < np.median(distances) < 0.2 < max(distances)


def test_bounds_hold_the_truth_and_tighten() -> None:
    """Seven texts of 156 states in all: each budget's bounds lie inside the smaller one's, the last one is exact."""
    world = World(5, 3, True)
    policy, law = random_policy(world, 1), law_of(world)
    write = table(world, policy)
    texts = ["abc", "a", "", "ddd", "eab", "abd", "abc"]
    expected = finished_by_solve(world, policy)
    truth = np.log([expected[tuple(LETTERS.index(c) for c in text)] for text in texts])
    widths = []
    for budget in (13, 20, 60, 156):
        found = sampled(write, law, texts, budget)
        assert (found.low <= truth + 1e-12).all()
        assert (found.high >= truth - 1e-12).all()
        assert found.states <= budget
        widths.append(float((found.high - found.low).mean()))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.5
    assert widths[-1] <= 1e-3


def test_gains_share_out_the_width_of_the_bounds() -> None:
    """Slopes between the bounds are exact, so the gains of a tree, however far it has grown, sum to its mean width."""
    world = World(3, 4, True)
    write = table(world, random_policy(world, 3))
    texts, share = [(0, 1, 2), (0, 0), (2,)], [0.5, 0.25, 0.25]
    tree = PrefixTree(write, texts, share, 999)
    for budget in (7, 12, 20, 50, 121):
        tree.grow(budget)
        low, high = ([tree.log_probability(text, tree.solve(x).kept) for text in texts] for x in (1.0, 0.0))
        gain = tree.gains()
        assert len(tree.index) == budget
        assert gain[gain >= 0].sum() == pytest.approx(np.dot(share, np.subtract(high, low)), abs=1e-12)
        assert (budget == 121) == (not tree.unknown.any())


def test_what_is_always_deleted_does_not_leak() -> None:
    """ "": a 1/2, b 1/2; a ends; b is deleted for sure, so p(a) = 1/2 / (1 - 1/2) = 1.  If b ends one time in ten,
    kept("") = 1/2 + 1/20 and p(a) = 1/2 / .55 = 10/11: the rest is a text that the law excludes."""
    rows = {(): [0.5, 0.5, 0.0, 0.0], (0,): [0.0, 0.0, 1.0, 0.0], (1,): [0.0, 0.0, 0.0, 1.0]}
    write = Writer(lambda prefixes: np.array([rows[p] for p in prefixes]), {"a": 0, "b": 1}, 2, 3, longest=1)
    sure = sampled(write, OnlyA(), ["a"], 9)
    assert np.exp(sure.low) == pytest.approx([1])
    assert not sure.leaks
    rows[1,] = [0.0, 0.0, 0.1, 0.9]
    seldom = sampled(write, OnlyA(), ["a"], 9)
    assert np.exp(seldom.low) == pytest.approx([10 / 11])
    assert seldom.leaks


@pytest.mark.parametrize("decoder", [Decoder(), Decoder(temperature=0.7, top_k=4)], ids=str)
def test_is_what_the_policy_writes(decoder: Decoder) -> None:
    """1,000 rollouts of a network over six letters and the unknown one, texts of at most three: each frequent text's
    share is within 5 standard deviations of its probability; 120 actions are enough for (almost) all to finish."""
    policy = tiny_policy(context=5, seed=3)
    law = Even("abcdef", 3)
    rollouts = sample(policy, [Start((policy.start_id,))] * 1000, seed=1, decoder=decoder, max_actions=120)
    counts = Counter(rollout.text if rollout.stop == "ended" else None for rollout in rollouts)
    texts = ["".join(letters) for n in range(3) for letters in product("abcdef", repeat=n)]
    close = sampled(writer(policy, law, decoder, None), law, texts, 400)
    chances = dict(zip(texts, np.exp((close.low + close.high) / 2).tolist(), strict=True))
    frequent = [text for text in texts if chances[text] > 0.005]
    assert len(frequent) > 2
    for text in frequent:
        p = chances[text]
        assert counts[text] / 1000 == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 1000))


def test_refuses_with_the_reason() -> None:
    world = World(3, 3, True)
    write, law = table(world, random_policy(world, 0)), law_of(world)
    with pytest.raises(Unscorable, match="acts in 40 texts of up to 3, more than states=39"):
        enumerated(write, law, 39)
    with pytest.raises(Unscorable, match="more than states=39 beginnings"):
        enumerated(replace(write, backspace=None), law, 39)
    with pytest.raises(Unscorable, match="5 states, more than states=4"):
        sampled(write, law, ["ab", "ca"], 4)
    with pytest.raises(Unscorable, match="no expert text"):
        sampled(write, law, [], 4)
    always = Writer(
        lambda prefixes: np.array([[0.0, 0.0, 1.0] if p else [1.0, 0.0, 0.0] for p in prefixes]), {"a": 0}, 1, 2, 1
    )
    with pytest.raises(Unscorable, match="deletes for ever"):
        enumerated(always, Even("a", 1), 10)
    nan = replace(always, chances=lambda prefixes: np.full((len(prefixes), 3), math.nan))
    with pytest.raises(Unscorable, match="NaN"):
        enumerated(nan, Even("a", 1), 10)


def test_what_the_policy_cannot_write_has_no_chance() -> None:
    """A character without a token, and a text longer than the context holds."""
    world = World(2, 2, False)
    write = table(world, random_policy(world, 0))
    found = sampled(write, Even("abz", 3), ["az", "bab", "ab"], 10)
    assert found.low[:2].tolist() == found.high[:2].tolist() == [-math.inf] * 2
    assert math.isfinite(found.low[2])
