"""Which of several texts for one prompt is kept: the controls for an action space that may think again.

A policy with `<backspace>` spends more actions on a text than stand in it.  What a policy without it makes of as many
actions, by writing whole texts and keeping the likelier ones, is best-of-n and rejection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.config.sampling import SamplingConfig
from harness.records.rollout import Rollout

Write = Callable[[Sequence[int], int], Sequence[Rollout]]
"""(starts by their number, try from 0) -> a rollout from each."""


def chosen(write: Write, count: int, sampling: SamplingConfig) -> list[Rollout]:
    """The rollout that is kept from each of `count` starts; it knows how many actions were thrown away for it.

    `best_of` n: the likeliest of n per action.  `reject` q: the `round(q count)` texts that are least likely per action
    are written once more, and the second text stays whatever it is.
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
    """Mean log pi(a|s) in nats over the policy's own actions; a text of none is as likely as certainty."""
    own = [p for p, injected in zip(rollout.log_probs, rollout.trajectory.injected, strict=True) if not injected]
    return sum(own) / len(own) if own else 0.0


def _over(dropped: Rollout, kept: Rollout) -> Rollout:
    """The kept rollout with what the dropped one cost, its end left out as everywhere where tokens are counted."""
    own = len(dropped.trajectory.actions) - sum(dropped.trajectory.injected) - (dropped.stop == "ended")
    return replace(kept, discarded=kept.discarded + dropped.discarded + own)
