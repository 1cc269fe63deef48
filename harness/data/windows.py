"""Texts cut into rows of the context length."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import ConfigError
from harness.models.codec import Codec
from harness.records.data import Example, Splits
from harness.records.rollout import Trajectory


def rows(examples: Sequence[Example], codec: Codec) -> list[Trajectory]:
    """Texts cut into windows of the context length, every token an action exactly once.

    The first window of a text starts with the start token (and the example's prompt); a later one starts with the
    token before it, on which there is no loss.  A row holds the end token only when the text ends inside it.
    """
    found = []
    for example in examples:
        prompt = [codec.start_id, *codec.encode(example.prompt)] if example.prompt else [codec.start_id]
        tokens = [*prompt, *codec.follow(example.prompt, example.text), codec.end_id]
        room = codec.context - len(prompt)
        if room < 1:
            raise ConfigError(
                f"model.context={codec.context}: a prompt of {len(prompt)} tokens leaves no room; raise it"
            )
        found.append(Trajectory(tuple(prompt), tuple(tokens[len(prompt) : codec.context])))
        for begin in range(codec.context - 1, len(tokens) - 1, codec.context - 1):
            window = tokens[begin : begin + codec.context]
            found.append(Trajectory((window[0],), tuple(window[1:])))
    return found


def training_rows(splits: Splits, codec: Codec) -> list[Trajectory]:
    """The training split as rows; equal data and tokens are cut once in a process, for most cells of a grid share them.

    The list is shared: it is not to be changed.
    """
    asked = (splits.data_hash, codec.tokenizer_id, codec.start_id, codec.end_id, codec.context)
    if asked not in _ROWS:
        while len(_ROWS) >= ROWS_KEPT:
            del _ROWS[next(iter(_ROWS))]
        _ROWS[asked] = rows(splits.train, codec)
    return _ROWS[asked]


ROWS_KEPT = 2  # a grid that alternates between two benchmarks


_ROWS: dict[tuple[str | int, ...], list[Trajectory]] = {}
