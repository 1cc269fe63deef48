"""A rollouts file gives back what was put in, and what an older file does not hold is empty."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from harness.records import Example, Rollout, Trajectory
from harness.runs.rescore import as_rollout
from harness.storage.rollout_files import from_parquet, to_parquet

TOPS = (((7, "a\x00", 0.75), (9, "\ud800", 0.25)), (), ((8, " <end>", 1.0),))


def rollout(candidates: tuple[tuple[tuple[int, str, float], ...], ...] = ()) -> Rollout:
    trajectory = Trajectory(prompt=(5,), actions=(7, 9, 8), injected=(False, True, False))
    return Rollout(trajectory, (-0.1, 0.0, -2.5), "ended", "x", (8,), ("a", "b", "c"), candidates)


def test_candidates_come_back_with_whatever_their_pieces_hold() -> None:
    content = to_parquet([Example("x"), Example("y")], [rollout(TOPS), rollout()])
    first, second = from_parquet(content).to_dict("records")
    assert tuple(map(tuple, first["candidates"])) == TOPS
    assert second["candidates"] == []


def test_what_was_thrown_away_comes_back() -> None:
    content = to_parquet([Example("x")], [replace(rollout(), discarded=12)])
    assert as_rollout(from_parquet(content).to_dict("records")[0]).discarded == 12


def test_a_file_from_before_pieces_and_candidates_can_be_read() -> None:
    whole = pq.read_table(pa.BufferReader(to_parquet([Example("x")], [rollout(TOPS)])))
    older = pa.BufferOutputStream()
    pq.write_table(whole.drop_columns(["pieces", "candidates", "discarded"]), older)
    (row,) = from_parquet(older.getvalue().to_pybytes()).to_dict("records")
    assert row["pieces"] == row["candidates"] == []
    assert row["discarded"] == 0
    assert row["actions"] == [7, 9, 8]
