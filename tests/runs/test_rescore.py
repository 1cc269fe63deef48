"""Rescoring gives the same scores as the run, where rollouts are enough, and leaves everything else alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import torch
from typer.testing import CliRunner

from harness.cli.app import app
from harness.data.splits import load_splits
from harness.errors import StoreError
from harness.evaluation.features import Features
from harness.evaluation.scoring import parse_requests, score
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.records import Evaluation, Example, Rollout, Trajectory
from harness.runner.grid import run_grid
from harness.runs.fingerprint import content
from harness.runs.rescore import FROM_POLICY, NeedsPolicy, StoredEvaluation, as_rollout, rescore, stored_evaluation
from harness.storage.rollout_files import backspace_of, from_parquet, to_parquet
from harness.storage.schema import ROLLOUTS
from harness.storage.store import Store

GRID = """
question: Are the rollouts enough?
base:
  benchmark: {name: language, train: 64, validation: 8, test: 40, length: 8}
  trainer: bc
  model: {width: 16, layers: 1, heads: 2, tokenizer: characters, base_steps: 20, context: 16}
  training: {steps: 20, rows: 8}
  sampling: {rollouts: 32}
  metrics: [exact_kl, actions, out_of_support, distinct, length]
grid:
  actions.backspace: [false, true]
seeds: 1
controls: false
"""
CPU = torch.device("cpu")
TEXTS = ["out_of_support", "actions", "distinct", "length"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two finished runs."""
    path = tmp_path_factory.mktemp("rescoring")
    (path / "g.yaml").write_text(GRID)
    torch.set_num_threads(1)
    with Store(f"sqlite:///{path}/runs.db") as store:
        events = list(run_grid(check(load_grid(str(path / "g.yaml"))), store, grid_name="g"))
    assert [event.message for event in events if event.stage == "failed"] == []
    return path


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Store:
    """A copy of it to change."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return Store.open(f"sqlite:///{tmp_path}/runs.db")


def test_rollouts_give_the_same_scores_again(store: Store) -> None:
    """Every score of every metric about texts and actions comes back to the last bit; the rest is not touched."""
    before, curves = store.scores(), store.profiles()
    found = rescore(store, "g", parse_requests(TEXTS), CPU)
    assert (found.runs, found.added, dict(found.refused), dict(found.skipped)) == (2, 0, {}, {})
    assert found.replaced == (~before["metric"].str.startswith("exact_kl")).sum() == 40
    pd.testing.assert_frame_equal(store.scores(), before)
    pd.testing.assert_frame_equal(store.profiles(), curves)
    assert before["value"].notna().sum() > 30


def test_new_scores_are_added_and_those_of_the_policy_stay(store: Store) -> None:
    """repetition has three measures and two runs; exact_kl needs the policy and keeps its numbers."""
    before = store.scores()
    found = rescore(
        store, None, parse_requests(["repetition@exact[units=characters]", "exact_kl", "p_back", "recovery"]), CPU
    )
    assert (found.runs, found.added, found.replaced) == (2, 6, 0)
    assert set(found.refused) >= {"exact_kl", "recovery"}
    assert "needs the policy (exact_steps)" in found.refused["exact_kl"]
    after = store.scores()
    assert len(after) == len(before) + 6
    kept = after[after["name"].isin(before["name"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def older(store: Store) -> None:
    """Rewrite the rollouts files as versions wrote them that did not store the id of `<backspace>`."""
    for run_id in store.runs()["run_id"]:
        file, content = store.folder / "rollouts" / f"{run_id}.parquet", pa.BufferOutputStream()
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), content)
        file.write_bytes(content.getvalue().to_pybytes())
        changed = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        with store.database.write() as connection:
            connection.execute(sa.update(ROLLOUTS).where(ROLLOUTS.c.run_id == run_id).values(changed))


def test_older_files_give_the_same_scores(store: Store) -> None:
    before, curves, prints = store.scores(), store.profiles(), content(store)
    older(store)
    assert all(store.rollouts(run_id).attrs == {} for run_id in store.runs()["run_id"])
    assert content(store) == prints
    assert rescore(store, "g", parse_requests(TEXTS), CPU).replaced == 40
    pd.testing.assert_frame_equal(store.scores(), before)
    pd.testing.assert_frame_equal(store.profiles(), curves)


def test_a_run_that_never_deleted_has_a_rate_of_zero_in_older_files_too(store: Store) -> None:
    """An older file has no id, and any unused one gives the same: no deletion, rather than "no such action"."""
    run_id = store.runs("g").set_index("actions.backspace")["run_id"][True]
    config = store.config(run_id)
    plain = Rollout(Trajectory((5,), (1, 2, 0)), (-1.0,) * 3, "ended", "x", (1, 2))
    frame = from_parquet(to_parquet([Example("x")], [plain], 9))
    for stored, backspace_id in ((frame.attrs, 9), ({}, 3)):
        frame.attrs = dict(stored)
        evaluation = stored_evaluation(frame, config, load_splits(config.benchmark), Features(None, CPU))
        assert evaluation.backspace_id == backspace_id
        found = {
            one.metric: one.value for one in score(evaluation, [one.plugin for one in parse_requests(["actions"])])
        }
        assert found["backspace_rate"] == 0.0


def test_rollouts_are_rebuilt_exactly(store: Store) -> None:
    """The file of the run with `<backspace>` says its id, and the other one that there is no such action."""
    for run_id, has in zip(store.runs("g")["run_id"], store.runs("g")["actions.backspace"], strict=True):
        frame = store.rollouts(run_id)
        assert set(frame.attrs) == {"backspace_id"}
        assert (backspace_of(frame) is not None) == has
        rows = frame.to_dict("records")
        first = as_rollout(rows[0])
        assert len(first.pieces) == len(first.trajectory.actions) == len(first.log_probs)
        written = "".join(
            piece
            for piece, action in zip(first.pieces, first.trajectory.actions, strict=True)
            if action in first.tokens
        )
        assert has or written == first.text


def test_other_texts_or_other_data_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = store.runs("g")["run_id"][0]
    stored = store.scores(run_id=run_id).iloc[0]
    found = rescore(store, "g", parse_requests(["distinct"]), CPU)
    assert found.runs == 2
    from stored import score as stored_score

    with pytest.raises(StoreError, match="has other texts by now"):
        store.rescore({run_id: ([dataclasses.replace(stored_score(), texts_hash="f" * 16)], [])})
    store.rescore({run_id: ([dataclasses.replace(stored_score(), texts_hash=stored["texts_hash"])], [])})

    splits = dataclasses.replace(load_splits(store.config(run_id).benchmark), test=())
    monkeypatch.setattr("harness.runs.rescore.load_splits", lambda benchmark: splits)
    left = rescore(store, "g", parse_requests(["distinct"]), CPU)
    assert left.runs == 0
    assert set(left.skipped) == set(store.runs("g")["run_id"])
    assert "its benchmark gives other data now" in left.skipped[run_id]


def test_what_only_the_policy_knows_is_refused_not_missing() -> None:
    """A field that a later metric adds counts as the policy's until `FROM_STORE` names it."""
    empty = StoredEvaluation(prompts=(), rollouts=(), backspace_id=None, metric_seed=0)
    assert empty.texts == ()
    assert {"likelihood", "exact_steps", "forced", "p_back"} <= FROM_POLICY
    for name in FROM_POLICY:
        assert name in Evaluation.__dataclass_fields__
        with pytest.raises(NeedsPolicy, match=name):
            getattr(empty, name)


def test_the_command_prints_its_counts(store: Store) -> None:
    def call(*args: str) -> tuple[int, str, str]:
        result = CliRunner(env={"HARNESS_STORE": store.url}).invoke(app, ["rescore", *args])
        return result.exit_code, result.stdout, result.stderr

    code, out, err = call("g", "--metrics", "distinct_2,exact_kl")
    assert (code, out) == (0, "2 runs: 0 scores added, 8 replaced\n")
    assert err == "left as it is: exact_kl: needs the policy (exact_steps), and the store keeps rollouts only\n"
    code, out, _ = call("--metrics", "exact_kl", "--json")
    assert code == 1
    assert json.loads(out)["runs"] == 0
    assert call("g", "--metrics", "distnct")[0] == 2
    assert call("h", "--metrics", "distinct")[0] == 2
