"""Replay of a stored rollout, action by action, with the reduced text after each.  No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.actions.space import BACKSPACE, END_PIECE
from harness.storage.rollout_files import Row

NAMES = {"backspace": BACKSPACE, "end": END_PIECE}


@dataclass(frozen=True)
class Frame:
    """One action of a rollout.

    Attributes:
        number: from 1.
        kind: `token` where it wrote one, `backspace` where it deleted one, or `end`.
        piece: the text of its token; `[ID]` where the store has only the token's id.
        token: the action's id.
        log_prob: of the action in nats, before temperature and truncation; None where it was injected, or where no
            policy wrote the text: an expert's.
        injected: whether it was given rather than sampled.
        partner: of a deleted token the number of the `<backspace>` that deleted it, and the reverse; else None.
        candidates: the likeliest actions in its state, likeliest first: (piece, action id, probability); where they
            were not kept there are none.
        state: numbers of the actions whose tokens stand after the prompt once this one is done, in order.
    """

    number: int
    kind: Literal["token", "backspace", "end"]
    piece: str
    token: int
    log_prob: float | None
    injected: bool
    partner: int | None
    state: tuple[int, ...]
    candidates: tuple[tuple[str, int, float], ...] = ()

    @property
    def deleted(self) -> bool:
        """True if it wrote a token that a later action deleted."""
        return self.kind == "token" and self.partner is not None


def frames(row: Row, backspace: int | None) -> tuple[Frame, ...]:
    """The actions of a rollout; `backspace` is the id that `backspace_of` gives."""
    standing: list[int] = []
    states: list[tuple[int, ...]] = []
    partners: dict[int, int] = {}
    kinds: list[Literal["token", "backspace", "end"]] = []
    actions, kept = row["actions"], row.get("candidates") or ()
    for number, action in enumerate(actions, start=1):
        if row["stop"] == "ended" and number == len(actions):
            kinds.append("end")
        elif action == backspace:
            kinds.append("backspace")
            if standing:
                gone = standing.pop()
                partners |= {gone: number, number: gone}
        else:
            kinds.append("token")
            standing.append(number)
        states.append(tuple(standing))
    return tuple(
        Frame(
            number=i + 1,
            kind=kinds[i],
            piece=NAMES.get(kinds[i]) or (row["pieces"][i] if len(row["pieces"]) else f"[{actions[i]}]"),
            token=int(actions[i]),
            log_prob=None if row["injected"][i] or math.isnan(row["log_probs"][i]) else float(row["log_probs"][i]),
            injected=bool(row["injected"][i]),
            partner=partners.get(i + 1),
            state=states[i],
            candidates=tuple((piece, action, chance) for action, piece, chance in kept[i]) if i < len(kept) else (),
        )
        for i in range(len(actions))
    )
