"""What the policy does with its actions: how much it deletes, whether it ends, whether it loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.plugins import Measure, Unscorable
from harness.records import Evaluation, Rollout


@dataclass(frozen=True)
class _Counts:
    """One rollout's own actions, counted; injected ones belong to the environment and are left out."""

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

    Actions that were injected as a noise start count nowhere, except that the tokens they wrote can be deleted.  The
    rates are pooled: all actions of all rollouts together.  A policy without `<backspace>` has backspace_rate 0 and
    actions_per_kept_token 1; the latter is infinite where nothing was kept.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "backspace_rate": Measure("fraction", "reference", "<backspace> actions over all own actions, end included"),
        "actions_per_kept_token": Measure(
            "actions/token", "lower", "own tokens and <backspace>s over own tokens that stand in the final text"
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
        """None."""
        return {}

    def count(self, evaluation: Evaluation) -> int:
        """Rollouts, or texts that came without actions."""
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """All of `measures`; `Unscorable` without rollouts or without an action of the policy's own.

        Of texts that came without actions, only how many are empty is known.
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
        stops = [rollout.stop for rollout in rollouts]
        n = len(rollouts)
        return {
            "backspace_rate": backspaces / actions,
            "actions_per_kept_token": (sum(count.tokens for count in counts) + backspaces) / kept if kept else math.inf,
            "ended_rate": stops.count("ended") / n,
            "truncated_rate": (stops.count("depth") + stops.count("budget")) / n,
            "budget_rate": stops.count("budget") / n,
            "backspace_run": sum(count.longest_run for count in counts) / n,
            "backspace_run_max": float(max(count.longest_run for count in counts)),
            "loop_rate": sum(count.loops for count in counts) / n,
            "empty_fraction": sum(rollout.text == "" for rollout in rollouts) / n,
        }
