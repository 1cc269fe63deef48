"""Injected mistakes: a wrong token that the expert would not write, then the `<backspace>` that deletes it.

A `Propose` function draws the wrong tokens; the configuration sets the rate and the length of their runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from harness.actions.space import ActionSpace
from harness.errors import ConfigError
from harness.records.data import Mistake
from harness.records.rollout import Trajectory


@dataclass(frozen=True)
class Slot:
    """A place for one wrong token: the reduced text before it (prompt included) and the expert's token, never drawn."""

    prefix: tuple[int, ...]
    expert: int | None
    rng: np.random.Generator


class Propose(Protocol):
    """A source of wrong tokens."""

    @property
    def nodes(self) -> int:
        """Number of nodes that went through the policy for its tokens so far; 0 if no policy is asked."""

    def __call__(self, slots: Sequence[Slot]) -> list[int]:
        """One wrong token for each slot; never the slot's expert token, never an unwritable one."""


@dataclass(frozen=True)
class WithoutPolicy:
    """A `Propose` that draws each slot's token by itself and asks no policy."""

    draw: Callable[[Slot], int]
    nodes: int = 0

    def __call__(self, slots: Sequence[Slot]) -> list[int]:
        """As `Propose`."""
        return [self.draw(slot) for slot in slots]


def from_weights(weights: np.ndarray, space: ActionSpace) -> Propose:
    """Wrong tokens from fixed weights [V], renormalised without the expert's token and the unwritable ones."""
    allowed = weights.astype(float).copy()
    allowed[list(space.never_injected)] = 0.0
    total = np.cumsum(allowed)
    if np.count_nonzero(allowed) < 2:
        raise ConfigError("actions.noise_kind: fewer than two tokens may be injected; the vocabulary is too small")
    return WithoutPolicy(lambda slot: _draw(total, allowed, slot))


def _draw(total: np.ndarray, weights: np.ndarray, slot: Slot) -> int:
    """Draw by inverse CDF of weights whose cumulative sums are `total`, without the expert's token."""
    cut = weights[slot.expert] if slot.expert is not None else 0.0
    point = slot.rng.random() * (total[-1] - cut)
    if slot.expert is not None and point >= total[slot.expert] - cut:
        point += cut
    return int(min(np.searchsorted(total, point, side="right"), len(total) - 1))


def uniform(space: ActionSpace) -> Propose:
    """Wrong tokens drawn uniformly from the writable ones."""
    return from_weights(np.ones(space.size), space)


def unigram(rows: Sequence[Trajectory], space: ActionSpace) -> Propose:
    """Wrong tokens drawn by their frequency in the training rows."""
    counts = Counter(token for row in rows for token in row.actions)
    weights = np.zeros(space.size)
    weights[list(counts)] = list(counts.values())
    return from_weights(weights, space)


def ground_truth(
    mistake: Mistake, decode: Callable[[Sequence[int]], str], encode: Callable[[str], Sequence[int]]
) -> Propose:
    """Wrong tokens that a benchmark gives as text; each must be one token."""

    @lru_cache(maxsize=4096)
    def token(text: str) -> int:
        tokens = encode(text)
        if len(tokens) != 1:
            raise ConfigError(
                f"actions.noise_kind=ground_truth: the mistake {text!r} is {len(tokens)} tokens, not one; "
                "use model.tokenizer=characters, or another noise_kind"
            )
        return tokens[0]

    def wrong(slot: Slot) -> int:
        text = decode(slot.prefix)
        for _ in range(20):
            drawn = token(mistake(text, slot.rng))
            if drawn != slot.expert:
                return drawn
        raise ConfigError(
            "actions.noise_kind=ground_truth: every mistake the benchmark proposed is what the expert wrote; "
            "nothing may be wrong there, so use uniform, unigram or policy"
        )

    return WithoutPolicy(wrong)


def inject(
    rows: Sequence[Trajectory],
    rngs: Sequence[np.random.Generator],
    space: ActionSpace,
    propose: Propose,
    *,
    rate: float,
    run: int,
    context: int,
) -> list[Trajectory]:
    """Put mistakes and the `<backspace>`s that delete them into clean expert rows.

    Before every action, the end included, with probability `rate`, 1 to `run` wrong tokens (uniform; fewer where
    the context's `context` tokens would overflow) and as many `<backspace>`s.  Events do not nest.  Each row draws
    from its own generator, so that a row's noise does not depend on its batch.
    """
    backspace = space.backspace_id
    if backspace is None or rate == 0:
        return list(rows)
    lengths: list[dict[int, int]] = []
    for row, rng in zip(rows, rngs, strict=True):
        events = {}
        for position in np.flatnonzero(rng.random(len(row.actions)) < rate):
            room = context - len(row.prompt) - int(position)
            length = min(int(rng.integers(1, run + 1)), room)
            if length > 0:
                events[int(position)] = length
        lengths.append(events)
    wrong: dict[tuple[int, int], list[int]] = {(n, at): [] for n, events in enumerate(lengths) for at in events}
    for depth in range(max((length for events in lengths for length in events.values()), default=0)):
        open_events = [(n, at) for (n, at) in wrong if lengths[n][at] > depth]
        slots = [
            Slot(
                prefix=(*rows[n].prompt, *rows[n].actions[:at], *wrong[n, at]),
                expert=rows[n].actions[at] if depth == 0 else None,
                rng=rngs[n],
            )
            for n, at in open_events
        ]
        for (n, at), token in zip(open_events, propose(slots), strict=True):
            wrong[n, at].append(token)
    noisy = []
    for n, row in enumerate(rows):
        actions: list[int] = []
        injected: list[bool] = []
        for at, action in enumerate(row.actions):
            mistakes = wrong.get((n, at), [])
            actions += [*mistakes, *[backspace] * len(mistakes), action]
            injected += [True] * len(mistakes) + [False] * (len(mistakes) + 1)
        noisy.append(Trajectory(row.prompt, tuple(actions), tuple(injected)))
    return noisy


def replace_context(
    rows: Sequence[Trajectory], rngs: Sequence[np.random.Generator], end_id: int, propose: Propose, rate: float
) -> list[Trajectory]:
    """Clean expert rows in whose context each token is replaced by a wrong one with probability `rate`.

    Labels stay the expert's: the control for the effect of noise alone, without an action that deletes it.
    """
    where = [
        [at for at in np.flatnonzero(rng.random(len(row.actions)) < rate).tolist() if row.actions[at] != end_id]
        for row, rng in zip(rows, rngs, strict=True)
    ]
    slots = [
        Slot((*row.prompt, *row.actions[:at]), row.actions[at], rng)
        for row, rng, places in zip(rows, rngs, where, strict=True)
        for at in places
    ]
    wrong = iter(propose(slots))
    noisy = []
    for row, places in zip(rows, where, strict=True):
        seen = list(row.actions)
        for at in places:
            seen[at] = next(wrong)
        noisy.append(Trajectory(row.prompt, row.actions, row.injected, tuple(seen)))
    return noisy
