"""A rollouts file gives back its content, `<backspace>` included; in older files the missing parts are empty."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.records import Example, Rollout, Trajectory
from harness.runs.rescore import as_rollout
from harness.storage.rollout_files import backspace_of, from_parquet, to_parquet

TOPS = (((7, "a\x00", 0.75), (9, "\ud800", 0.25)), (), ((8, " <end>", 1.0),))


def rollout(candidates: tuple[tuple[tuple[int, str, float], ...], ...] = ()) -> Rollout:
    trajectory = Trajectory(prompt=(5,), actions=(7, 9, 8), injected=(False, True, False))
    return Rollout(trajectory, (-0.1, 0.0, -2.5), "ended", "x", (8,), ("a", "b", "c"), candidates)


def test_candidates_come_back_with_whatever_their_pieces_hold() -> None:
    content = to_parquet([Example("x"), Example("y")], [rollout(TOPS), rollout()], None)
    first, second = from_parquet(content).to_dict("records")
    assert tuple(map(tuple, first["candidates"])) == TOPS
    assert second["candidates"] == []


def test_what_was_thrown_away_comes_back() -> None:
    content = to_parquet([Example("x")], [replace(rollout(), discarded=12)], None)
    assert as_rollout(from_parquet(content).to_dict("records")[0]).discarded == 12


def test_a_file_from_before_pieces_and_candidates_can_be_read() -> None:
    whole = pq.read_table(pa.BufferReader(to_parquet([Example("x")], [rollout(TOPS)], None)))
    older = pa.BufferOutputStream()
    pq.write_table(whole.drop_columns(["pieces", "candidates", "discarded"]), older)
    (row,) = from_parquet(older.getvalue().to_pybytes()).to_dict("records")
    assert row["pieces"] == row["candidates"] == []
    assert row["discarded"] == 0
    assert row["actions"] == [7, 9, 8]


def written(*actions: int) -> Rollout:
    """A rollout of tokens and `<backspace>` (9), ended by 0."""
    tokens: list[int] = []
    for action in actions:
        tokens = tokens[:-1] if action == 9 else [*tokens, action]
    return Rollout(Trajectory((5,), (*actions, 0)), (-1.0,) * (len(actions) + 1), "ended", "x", tuple(tokens))


def without_metadata(content: bytes) -> bytes:
    """The file as versions wrote it that did not store the id of `<backspace>`."""
    older = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(content)).replace_schema_metadata(None), older)
    return bytes(older.getvalue().to_pybytes())


def test_a_file_says_which_action_is_backspace_used_or_not() -> None:
    """A run that never deleted still has the action 9; a run without the action has none, and that is known, too."""
    for actions in ((1, 9, 2), (1, 2)):
        assert backspace_of(from_parquet(to_parquet([Example("x")], [written(*actions)], 9))) == 9
    assert backspace_of(from_parquet(to_parquet([], [], 9))) == 9
    # taken as a deletion, 2 would make these actions into these tokens: with the id stored, nothing is guessed
    odd = replace(written(1, 3), trajectory=Trajectory((5,), (1, 4, 2, 3, 0)), log_probs=(-1.0,) * 5)
    content = to_parquet([Example("x")], [odd], None)
    assert from_parquet(content).attrs == {"backspace_id": None}
    assert backspace_of(from_parquet(content)) is None
    assert backspace_of(from_parquet(without_metadata(content))) == 2


def test_the_backspace_of_an_older_file_is_guessed() -> None:
    for actions, guess in (((1, 9, 2), 9), ((1, 2), None)):
        older = from_parquet(without_metadata(to_parquet([Example("x")], [written(*actions)], 9)))
        assert older.attrs == {}
        assert backspace_of(older) == guess


def test_the_id_changes_nothing_in_the_rows() -> None:
    """Fingerprints are made of the rows: with the id, without it, and in an older file they are equal."""
    files = [to_parquet([Example("x")], [written(1, 9, 2)], backspace_id) for backspace_id in (9, None)]
    first, *others = map(from_parquet, [*files, without_metadata(files[0])])
    for other in others:
        pd.testing.assert_frame_equal(first, other)
        assert first.to_dict("records") == other.to_dict("records")
