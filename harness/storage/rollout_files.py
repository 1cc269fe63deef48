"""A run's rollouts as one Parquet file, read by any tool and restored exactly as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.actions.space import guess_backspace
from harness.records.data import Example
from harness.records.rollout import Rollout
from harness.storage.schema import escape, unescape

BACKSPACE_KEY = "backspace_id"
"""Key of the file's metadata: the action id of `<backspace>` in JSON, `null` where the action space has none."""
CANDIDATE = pa.struct([("action", pa.int32()), ("piece", pa.string()), ("probability", pa.float64())])
COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("prompt", "text", "reference", "stop")),
        *((name, pa.list_(pa.int32())) for name in ("prompt_tokens", "tokens", "actions")),
        ("injected", pa.list_(pa.bool_())),
        ("log_probs", pa.list_(pa.float64())),
        ("pieces", pa.list_(pa.string())),
        ("candidates", pa.list_(pa.list_(CANDIDATE))),
        ("discarded", pa.int32()),
    ]
)
Row: TypeAlias = Mapping[Any, Any]
"""A row of `Store.rollouts`: column to value."""


def to_parquet(prompts: Sequence[Example], rollouts: Sequence[Rollout], backspace_id: int | None) -> bytes:
    """Content of the file; `rollouts[i]` answers `prompts[i]`, whose text is stored as `reference`.

    Raises:
        ValueError: prompts and rollouts differ in number.
    """
    if len(prompts) != len(rollouts):
        raise ValueError(f"{len(rollouts)} rollouts for {len(prompts)} prompts; each rollout answers one prompt")
    rows = [
        {
            "prompt": escape(example.prompt),
            "text": escape(rollout.text),
            "reference": escape(example.text),
            "stop": rollout.stop,
            "prompt_tokens": rollout.trajectory.prompt,
            "tokens": rollout.tokens,
            "actions": rollout.trajectory.actions,
            "injected": rollout.trajectory.injected,
            "log_probs": rollout.log_probs,
            "pieces": [escape(piece) for piece in rollout.pieces],
            "candidates": [
                [{"action": action, "piece": escape(piece), "probability": chance} for action, piece, chance in state]
                for state in rollout.candidates
            ],
            "discarded": rollout.discarded,
        }
        for example, rollout in zip(prompts, rollouts, strict=True)
    ]
    sink = pa.BufferOutputStream()
    schema = COLUMNS.with_metadata({BACKSPACE_KEY: json.dumps(backspace_id)})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def from_parquet(content: bytes) -> pd.DataFrame:
    """One row per rollout, with the columns of `COLUMNS`; lists are Python lists.

    Files of older versions have no `pieces`, `candidates` or `discarded` (as in `Rollout`): these are empty then.
    The id in the metadata, where there is one, is in `attrs` of the frame: read it with `backspace_of`.
    """
    table = pq.read_table(pa.BufferReader(content))
    rows = table.to_pylist()
    for row in rows:
        row.update({name: unescape(row[name]) for name in ("prompt", "text", "reference")})
        row["pieces"] = [unescape(piece) for piece in row.get("pieces") or ()]
        row["discarded"] = row.get("discarded") or 0
        row["candidates"] = [
            [(one["action"], unescape(one["piece"]), one["probability"]) for one in state]
            for state in row.get("candidates") or ()
        ]
    frame = pd.DataFrame(rows, columns=COLUMNS.names, dtype=object)  # pandas' own strings refuse lone surrogates
    stored = (table.schema.metadata or {}).get(BACKSPACE_KEY.encode())
    if stored is not None:
        frame.attrs[BACKSPACE_KEY] = json.loads(stored)
    return frame


def backspace_of(rollouts: pd.DataFrame) -> int | None:
    """Action id of `<backspace>` in a run's `Store.rollouts`; None if its action space has none.

    Files of older versions lack it.  Theirs is guessed, and None also if no rollout used the action.
    """
    if BACKSPACE_KEY in rollouts.attrs:
        stored: int | None = rollouts.attrs[BACKSPACE_KEY]
        return stored
    rows = rollouts.to_dict("records")
    return guess_backspace((row["actions"][: -1 if row["stop"] == "ended" else None], row["tokens"]) for row in rows)
