"""Best-of-n and rejection sampling: baselines for `<backspace>`.

A policy with `<backspace>` spends more actions on a text than its tokens.  A policy without it can spend as many by
writing several texts for a prompt and keeping the likelier one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.config.sampling import SamplingConfig
from harness.records.rollout import Rollout

Write = Callable[[Sequence[int], int], Sequence[Rollout]]
"""(indices of starts, try from 0) -> a rollout from each."""


def chosen(write: Write, count: int, sampling: SamplingConfig) -> list[Rollout]:
    """The rollout that is kept from each of `count` starts, with the number of actions that were `discarded` for it.

    `best_of` n: the likeliest of n per action.  `reject` q: the `round(q count)` texts that are least likely per action
    are written once more, and the second text is kept even if it is less likely.
    """
    kept = list(write(range(count), 0))
    for again in range(1, sampling.best_of):
        other = write(range(count), again)
        kept = [_over(*sorted(pair, key=likeliness)) for pair in zip(kept, other, strict=True)]
    worst = sorted(range(count), key=lambda i: likeliness(kept[i]))[: round(sampling.reject * count)]
    for i, other_one in zip(sorted(worst), write(sorted(worst), 1) if worst else (), strict=True):
        kept[i] = _over(kept[i], other_one)
    return kept


def likeliness(rollout: Rollout) -> float:
    """Mean log pi(a|s) in nats over the policy's own actions; 0 for a rollout without any."""
    own = [p for p, injected in zip(rollout.log_probs, rollout.trajectory.injected, strict=True) if not injected]
    return sum(own) / len(own) if own else 0.0


def _over(dropped: Rollout, kept: Rollout) -> Rollout:
    """The kept rollout, with the dropped one's actions added to `discarded`; an end is not counted."""
    own = len(dropped.trajectory.actions) - sum(dropped.trajectory.injected) - (dropped.stop == "ended")
    return replace(kept, discarded=kept.discarded + dropped.discarded + own)
