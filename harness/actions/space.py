"""Ids of the actions, and the reduced text that is left after deletions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BACKSPACE = "<backspace>"  # the action's name for a reader, and its token in an exported tokenizer
END_PIECE = "<end>"  # the end's name for a reader


@dataclass(frozen=True)
class ActionSpace:
    """Ids of the actions.  `size` counts every row of the vocabulary, `<backspace>` included.

    `unwritable` are ids that injected mistakes never use: end, start, padding, unknown, `<backspace>`.
    """

    size: int
    end_id: int
    backspace_id: int | None = None
    unwritable: frozenset[int] = frozenset()

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
