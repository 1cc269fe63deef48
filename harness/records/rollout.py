"""Action sequences: `Trajectory`, and `Rollout`, a policy's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Trajectory:
    """A sequence of actions from a prompt, as token ids.

    `injected[t]` marks actions that the environment took: they move the state and carry no loss.
    `seen`, where given, are the tokens that the policy sees as its context in place of the actions: noise under clean
    labels.
    """

    prompt: tuple[int, ...]
    actions: tuple[int, ...]
    injected: tuple[bool, ...] = ()
    seen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a trajectory needs at least one prompt token: its first state is the node of that token")
        if not self.actions:
            raise ValueError("a trajectory needs at least one action")
        if not self.injected:
            object.__setattr__(self, "injected", (False,) * len(self.actions))
        for name, given in (("injected flags", self.injected), ("seen tokens", self.seen)):
            if given and len(given) != len(self.actions):
                raise ValueError(f"{len(given)} {name} for {len(self.actions)} actions")


@dataclass(frozen=True)
class Rollout:
    """The policy's actions after one prompt, and the reason why they stopped.

    Attributes:
        trajectory: prompt and actions; `injected` marks a given noise start.
        log_probs: log pi(a_t|s_t) in nats, one per action, before temperature and truncation; 0 for injected ones.
        stop: `ended` with one of its ends, at the `depth` limit of the context, or at the `budget` of actions.
        text: the reduced text after the prompt, decoded.
        tokens: token ids of the reduced text after the prompt, its end excluded.
        pieces: one readable string per action, the text that it wrote; empty where they were not kept.
        candidates: per action its likeliest alternatives (action, piece, probability), injected ones without; or empty.
        discarded: tokens and `<backspace>`s of other texts for the same prompt that were thrown away for this one.
    """

    trajectory: Trajectory
    log_probs: tuple[float, ...]
    stop: Literal["ended", "depth", "budget"]
    text: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...] = ()
    candidates: tuple[tuple[tuple[int, str, float], ...], ...] = field(default=(), compare=False)
    discarded: int = 0
