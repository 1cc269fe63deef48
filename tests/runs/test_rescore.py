"""Rescoring gives the same scores as the run, where rollouts are enough, and leaves everything else alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import StoreError
from harness.evaluation.scoring import asked
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.records import Evaluation
from harness.runner.grid import run_grid
from harness.runs.rescore import FROM_POLICY, NeedsPolicy, StoredEvaluation, as_rollout, rescore
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
    found = rescore(store, "g", asked(TEXTS), CPU)
    assert (found.runs, found.added, dict(found.refused), dict(found.skipped)) == (2, 0, {}, {})
    assert found.replaced == (~before["metric"].str.startswith("exact_kl")).sum() == 40
    pd.testing.assert_frame_equal(store.scores(), before)
    pd.testing.assert_frame_equal(store.profiles(), curves)
    assert before["value"].notna().sum() > 30


def test_new_scores_are_added_and_those_of_the_policy_stay(store: Store) -> None:
    """repetition has three measures and two runs; exact_kl needs the policy and keeps its numbers."""
    before = store.scores()
    found = rescore(store, None, asked(["repetition@exact[units=characters]", "exact_kl", "p_back", "recovery"]), CPU)
    assert (found.runs, found.added, found.replaced) == (2, 6, 0)
    assert set(found.refused) >= {"exact_kl", "recovery"}
    assert "needs the policy (exact_steps)" in found.refused["exact_kl"]
    after = store.scores()
    assert len(after) == len(before) + 6
    kept = after[after["name"].isin(before["name"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def test_rollouts_are_rebuilt_exactly(store: Store) -> None:
    """Rows of `Store.rollouts` become the rollouts that they were made from."""
    for run_id, has in zip(store.runs("g")["run_id"], store.runs("g")["actions.backspace"], strict=True):
        rows = store.rollouts(run_id).to_dict("records")
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
    found = rescore(store, "g", asked(["distinct"]), CPU)
    assert found.runs == 2
    from stored import score

    with pytest.raises(StoreError, match="has other texts by now"):
        store.rescore({run_id: ([dataclasses.replace(score(), texts_hash="f" * 16)], [])})
    store.rescore({run_id: ([dataclasses.replace(score(), texts_hash=stored["texts_hash"])], [])})

    from harness.data.splits import load_splits

    splits = dataclasses.replace(load_splits(store.config(run_id).benchmark), test=())
    monkeypatch.setattr("harness.runs.rescore.load_splits", lambda benchmark: splits)
    left = rescore(store, "g", asked(["distinct"]), CPU)
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
