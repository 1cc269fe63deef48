"""Texts of several runs side by side for each prompt, in a chosen order.  No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.storage.rollout_files import Row, backspace_of
from harness.storage.store import Store


@dataclass(frozen=True)
class Written:
    """A run's text after a prompt.

    Attributes:
        sample: its number among the run's rollouts, from 0, as `harness replay --sample` takes it.
        text: the reduced text.
        stop: the reason why it ended.
        tokens: of the reduced text.
        backspaces: actions that deleted a token.
        repetition: share of the text's runs of four tokens that repeat an earlier one; 0 for shorter texts.
    """

    sample: int
    text: str
    stop: str
    tokens: int
    backspaces: int
    repetition: float


@dataclass(frozen=True)
class Sample:
    """A prompt, the expert's text after it, and each run's by id (None: the run did not sample there)."""

    prompt: str
    reference: str
    written: Mapping[str, Written | None]


ORDERS: Mapping[str, Callable[[Written], float]] = {
    "prompts": lambda written: 0,
    "longest": lambda written: written.tokens,
    "most-backspaces": lambda written: written.backspaces,
    "most-repetitive": lambda written: written.repetition,
    "empty": lambda written: written.text == "",
}
"""Sort key of each order; the largest value of any run comes first, equal ones stay in the order of the prompts."""


def side_by_side(store: Store, run_ids: Sequence[str], sort: str = "prompts") -> list[Sample]:
    """Every prompt from which some run sampled, with the texts of all runs, in the order that was asked for.

    Prompts are the same when their text is; a prompt that comes several times is matched by its turn.
    """
    found: dict[tuple[str, int], tuple[str, dict[str, Written | None]]] = {}
    for run_id in run_ids:
        rollouts = store.rollouts(run_id)
        backspace = backspace_of(rollouts)
        turns: Counter[str] = Counter()
        for number, row in enumerate(rollouts.to_dict("records")):
            place = (row["prompt"], turns[row["prompt"]])
            turns[row["prompt"]] += 1
            _, written = found.setdefault(place, (row["reference"], dict.fromkeys(run_ids)))
            written[run_id] = _written(number, row, backspace)
    samples = [Sample(prompt, reference, written) for (prompt, _), (reference, written) in found.items()]
    order = ORDERS[sort]
    return sorted(samples, key=lambda one: -max(order(written) for written in one.written.values() if written))


def _written(number: int, row: Row, backspace: int | None) -> Written:
    tokens = row["tokens"]
    runs = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    return Written(
        sample=number,
        text=row["text"],
        stop=row["stop"],
        tokens=len(tokens),
        backspaces=0 if backspace is None else list(row["actions"]).count(backspace),
        repetition=1 - len(set(runs)) / len(runs) if runs else 0.0,
    )
