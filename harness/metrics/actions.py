"""Rates of the policy's actions: deletions and their use, ends, loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.plugins.metric import Measure, Unscorable
from harness.records.evaluation import Evaluation
from harness.records.rollout import Rollout


@dataclass(frozen=True)
class _Counts:
    """Counts of one rollout's own actions; injected ones belong to the environment and are left out."""

    actions: int
    tokens: int
    kept: int
    backspaces: int
    longest_run: int
    loops: bool


def _count(rollout: Rollout, backspace_id: int | None) -> _Counts:
    steps = list(zip(rollout.trajectory.actions, rollout.trajectory.injected, strict=True))
    ended = rollout.stop == "ended"
    is_back = [action == backspace_id and not injected for action, injected in steps]
    reduced: list[bool] = []  # one flag per token of the reduced text: did the policy write it?
    for action, injected in steps[:-1] if ended else steps:
        if action != backspace_id:
            reduced.append(not injected)
        elif reduced:
            reduced.pop()
    actions = sum(not injected for _, injected in steps)
    backspaces = sum(is_back)
    return _Counts(
        actions=actions,
        tokens=actions - backspaces - ended,
        kept=sum(reduced),
        backspaces=backspaces,
        longest_run=max((len(list(run)) for back, run in groupby(is_back) if back), default=0),
        loops=any(
            is_back[t + 1] and is_back[t + 3] and not is_back[t] and steps[t] == steps[t + 2] and not steps[t][1]
            for t in range(len(steps) - 3)
        ),
    )


@dataclass(frozen=True)
class Actions:
    """Rates over the policy's own actions (tokens, `<backspace>`, end) and over its rollouts.

    Actions that were injected as a noise start are not counted, but the tokens they wrote can be deleted.  The rates
    are pooled: all actions of all rollouts together.  A policy without `<backspace>` has backspace_rate 0 and
    actions_per_kept_token 1; the latter is infinite if no token was kept.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "backspace_rate": Measure("fraction", "reference", "<backspace> actions over all own actions, end included"),
        "actions_per_kept_token": Measure(
            "actions/token",
            "lower",
            "own tokens and <backspace>s, those of discarded texts among them, over own tokens in the final text",
        ),
        "ended_rate": Measure("fraction", "reference", "share of rollouts that chose to end"),
        "truncated_rate": Measure("fraction", "lower", "share of rollouts cut off by the context or the action budget"),
        "budget_rate": Measure("fraction", "lower", "share of rollouts cut off by the action budget"),
        "backspace_run": Measure("actions", "reference", "mean over rollouts of the longest run of <backspace>s"),
        "backspace_run_max": Measure("actions", "reference", "longest run of consecutive <backspace>s of any rollout"),
        "loop_rate": Measure(
            "fraction", "lower", "share of rollouts that write a token, delete it, write it again and delete it again"
        ),
        "empty_fraction": Measure("fraction", "lower", "share of rollouts whose final text is empty"),
    }

    definition: Annotated[Literal["own"], Field(description="own: injected actions are not the policy's")] = "own"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Empty: no parameter beside the definition."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Number of rollouts, or of texts that came without actions."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """All of `measures`; `Unscorable` without rollouts or without an action of the policy's own.

        Of texts that came without actions, `empty_fraction` alone is known.
        """
        rollouts = evaluation.rollouts
        if evaluation.written:
            unknown: dict[str, float | Unscorable] = dict.fromkeys(
                self.measures, Unscorable("these texts came without the actions that wrote them")
            )
            return unknown | {
                "empty_fraction": sum(text == "" for text in evaluation.written) / len(evaluation.written)
            }
        if not rollouts:
            raise Unscorable("there are no rollouts to count actions in; sample at least one")
        counts = [_count(rollout, evaluation.backspace_id) for rollout in rollouts]
        actions = sum(count.actions for count in counts)
        if not actions:
            raise Unscorable(f"all actions of the {len(rollouts)} rollouts were injected; the policy took none")
        kept = sum(count.kept for count in counts)
        backspaces = sum(count.backspaces for count in counts)
        spent = sum(count.tokens for count in counts) + backspaces + sum(rollout.discarded for rollout in rollouts)
        stops = [rollout.stop for rollout in rollouts]
        n = len(rollouts)
        return {
            "backspace_rate": backspaces / actions,
            "actions_per_kept_token": spent / kept if kept else math.inf,
            "ended_rate": stops.count("ended") / n,
            "truncated_rate": (stops.count("depth") + stops.count("budget")) / n,
            "budget_rate": stops.count("budget") / n,
            "backspace_run": sum(count.longest_run for count in counts) / n,
            "backspace_run_max": float(max(count.longest_run for count in counts)),
            "loop_rate": sum(count.loops for count in counts) / n,
            "empty_fraction": sum(rollout.text == "" for rollout in rollouts) / n,
        }


class Revert(NamedTuple):
    """A token that the policy wrote and deleted, and the policy's next action in the state before that token."""

    state: tuple[int, ...]
    deleted: int
    instead: int


def reverts(rollout: Rollout, backspace_id: int) -> list[Revert]:
    """Reverts: own tokens that an own `<backspace>` deleted and an own token or end directly replaced.

    Of several deletions in a row only the last leads back to the state in which the replacement is written; the tokens
    after that place were deleted with it and have no replacement of their own.
    """
    found: list[Revert] = []
    text: list[tuple[int, bool]] = []  # the reduced text after the prompt: token, and whether the policy wrote it
    deleted: int | None = None  # the own token that the last action deleted, if it was an own <backspace>
    for action, injected in zip(rollout.trajectory.actions, rollout.trajectory.injected, strict=True):
        if action == backspace_id:
            token, own = text.pop() if text else (action, False)
            deleted = token if own and not injected else None
            continue
        if deleted is not None and not injected:
            state = (*rollout.trajectory.prompt, *(token for token, _ in text))
            found.append(Revert(state, deleted, action))
        deleted = None
        text.append((action, not injected))
    return found


@dataclass(frozen=True)
class UsefulRevert:
    """Share of replaced tokens that were less likely than their replacement under a reference: do deletions help?

    Counted are the policy's own tokens that its own `<backspace>` deleted and its own next action (a token or the end)
    replaced, in the state that was reached by that deletion: useful when log p(deleted|s) < log p(instead|s).  The
    reference p is the exact law where the benchmark has one, else the base model that the training started from; it is
    part of the name.  The same token written again is neither useful nor harmful.  A policy that deletes at random and
    writes again from the reference is useful as often as harmful: read the two rates together.  States that the law
    does not know, after an earlier mistake, are left out.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "useful_revert_rate": Measure("fraction", "higher", "share of replaced tokens whose replacement is likelier"),
        "harmful_revert_rate": Measure(
            "fraction", "lower", "share of replaced tokens whose replacement is less likely"
        ),
    }

    definition: Annotated[Literal["same-state"], Field(description="same-state: both in the state after deleting")] = (
        "same-state"
    )

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """Name of the reference, if there is one."""
        return {} if evaluation.token_scorer is None else {"reference": evaluation.token_scorer.name}

    def count(self, evaluation: Evaluation) -> int:
        """Number of replaced tokens."""
        return len(self._reverts(evaluation))

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Fractions in [0, 1]; `Unscorable` without `<backspace>`, reference, replaced tokens, or states it knows."""
        if evaluation.backspace_id is None:
            raise Unscorable("this policy has no <backspace> action; set actions.backspace=true")
        found = self._reverts(evaluation)
        if not found:
            raise Unscorable(f"in {len(evaluation.rollouts)} rollouts no own token was deleted and directly replaced")
        if evaluation.token_scorer is None:
            raise Unscorable(
                "there is no law and no base model that could score deletions; score it where the run is made"
            )
        states = [revert.state for revert in found] * 2
        log_probs = evaluation.token_scorer(states, [r.deleted for r in found] + [r.instead for r in found])
        deleted, instead = np.asarray(log_probs, np.float64).reshape(2, -1)
        known = ~(np.isnan(deleted) | np.isnan(instead))
        if not known.any():
            raise Unscorable(f"the reference gives no probability in any of the {len(found)} states of replaced tokens")
        return {
            "useful_revert_rate": float((deleted < instead)[known].mean()),
            "harmful_revert_rate": float((deleted > instead)[known].mean()),
        }

    @staticmethod
    def _reverts(evaluation: Evaluation) -> list[Revert]:
        if evaluation.backspace_id is None:
            return []
        return [revert for rollout in evaluation.rollouts for revert in reverts(rollout, evaluation.backspace_id)]
