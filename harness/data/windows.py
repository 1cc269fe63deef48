"""Texts cut into rows of the context length."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.checks import check_prompt
from harness.models.codec import Codec
from harness.records.data import Example, Splits
from harness.records.rollout import Trajectory

ROWS_KEPT = 2  # splits whose rows are kept: a grid may alternate between two benchmarks
_ROWS: dict[tuple[str | int, ...], list[Trajectory]] = {}


def rows(examples: Sequence[Example], codec: Codec) -> list[Trajectory]:
    """Rows of at most the context length, in which every token of the texts is an action exactly once.

    The first window of a text starts with the start token (and the example's prompt); a later one starts with the
    token before it, on which there is no loss.  A row holds the end token only when the text ends inside it.

    Raises:
        ConfigError: a prompt fills the context, or a text holds the end token.
    """
    found = []
    for example in examples:
        prompt = [codec.start_id, *codec.encode(example.prompt)] if example.prompt else [codec.start_id]
        tokens = [*prompt, *codec.whole(example.prompt, example.text)]
        check_prompt(len(prompt), codec.context)
        found.append(Trajectory(tuple(prompt), tuple(tokens[len(prompt) : codec.context])))
        for begin in range(codec.context - 1, len(tokens) - 1, codec.context - 1):
            window = tokens[begin : begin + codec.context]
            found.append(Trajectory((window[0],), tuple(window[1:])))
    return found


def training_rows(splits: Splits, codec: Codec) -> list[Trajectory]:
    """Rows of the training split, cut once in a process for equal data and tokens, as most cells of a grid share them.

    The list is shared: do not change it.
    """
    asked = (splits.data_hash, codec.tokenizer_id, codec.start_id, codec.end_id, codec.context)
    if asked not in _ROWS:
        while len(_ROWS) >= ROWS_KEPT:
            del _ROWS[next(iter(_ROWS))]
        _ROWS[asked] = rows(splits.train, codec)
    return _ROWS[asked]
