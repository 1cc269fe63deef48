"""A run's rollouts as one Parquet file, which any tool reads and which comes back exactly as it was written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.failpoints import failpoint
from harness.records import Example, Rollout

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

# What UTF-8 or a database's text cannot carry, and the escape itself: a character that means nothing anywhere.
_UNSAFE = re.compile("[\x00\ud800-\udfff\ufdd0]")
_ESCAPED = re.compile("\ufdd0([0-9a-f]{4})")


def escape(text: str) -> str:
    """Text without NUL and lone surrogates; ordinary text stays as it is.  `unescape` is its inverse."""
    return _UNSAFE.sub(lambda found: f"\ufdd0{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def to_parquet(prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> bytes:
    """The file's content; `rollouts[i]` answers `prompts[i]`, whose text is stored as `reference`.

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
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def from_parquet(content: bytes) -> pd.DataFrame:
    """One row per rollout, with the columns of `COLUMNS`; lists are Python lists.

    `pieces`, `candidates` and `discarded` (as `Rollout` has them) are empty in files that are older than they are.
    """
    rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    for row in rows:
        row.update({name: unescape(row[name]) for name in ("prompt", "text", "reference")})
        row["pieces"] = [unescape(piece) for piece in row.get("pieces") or ()]
        row["discarded"] = row.get("discarded") or 0
        row["candidates"] = [
            [(one["action"], unescape(one["piece"]), one["probability"]) for one in state]
            for state in row.get("candidates") or ()
        ]
    return pd.DataFrame(rows, columns=COLUMNS.names, dtype=object)  # pandas' own strings refuse lone surrogates


def write_durably(content: bytes, partial: Path, final: Path) -> None:
    """Write `partial`, then rename it to `final`; after a power cut the file is whole, or is not there."""
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        failpoint("file.written")
        os.fsync(file.fileno())
    failpoint("file.synced")
    partial.replace(final)
    failpoint("file.renamed")
    if os.name == "posix":  # the new name, too, has to reach the disk
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
