"""Ids of the actions, and the reduced text that is left after deletions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BACKSPACE = "<backspace>"  # the action's name for a reader, and its token in an exported tokenizer
END_PIECE = "<end>"  # the end's name for a reader


@dataclass(frozen=True)
class ActionSpace:
    """Ids of the actions.  `size` counts every row of the vocabulary, `<backspace>` included.

    `unwritable` are ids that no text holds: end, start, padding, unknown, `<backspace>`.  `other_ends` end a rollout as
    the end does; one of them may be an ordinary token, which an expert's text may hold.  `nameless` are unwritable ids
    that stand for nothing, rows that pad a table or fill gaps between its tokens: no rollout draws one.
    """

    size: int
    end_id: int
    backspace_id: int | None = None
    unwritable: frozenset[int] = frozenset()
    other_ends: frozenset[int] = frozenset()
    nameless: frozenset[int] = frozenset()

    @property
    def ends(self) -> frozenset[int]:
        """Every id with which a policy may end its rollout."""
        return self.other_ends | {self.end_id}

    @property
    def never_injected(self) -> frozenset[int]:
        """Ids that injected mistakes never use: the unwritable ones and all ends."""
        return self.unwritable | self.other_ends

    def reduce(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The tokens that survive the actions' own deletions, the end token dropped.

        >>> ActionSpace(size=12, end_id=10, backspace_id=11).reduce([5, 9, 11, 6, 10])
        (5, 6)
        """
        kept: list[int] = []
        for action in actions:
            if action == self.backspace_id:
                kept.pop()
            elif action != self.end_id:
                kept.append(action)
        return tuple(kept)


def guess_backspace(rollouts: Iterable[tuple[Sequence[int], Sequence[int]]]) -> int | None:
    """The id which, taken as a deletion, turns the actions of every rollout into its tokens; None if there is none.

    `rollouts` are pairs of actions, the end excluded, and of the tokens that survive.  The row of `<backspace>` comes
    after a policy's vocabulary, so large ids are tried first; it never stands among the tokens.
    """
    pairs = [(list(actions), list(tokens)) for actions, tokens in rollouts]
    kept = {token for _, tokens in pairs for token in tokens}
    for candidate in sorted({action for actions, _ in pairs for action in actions} - kept, reverse=True):
        if all(_surviving(actions, candidate) == tokens for actions, tokens in pairs):
            return candidate
    return None


def _surviving(actions: Sequence[int], backspace: int) -> list[int]:
    """Tokens that are left of any ids, a deletion of nothing included."""
    tokens: list[int] = []
    for action in actions:
        if action != backspace:
            tokens.append(action)
        elif tokens:
            tokens.pop()
    return tokens
