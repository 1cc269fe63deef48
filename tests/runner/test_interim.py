"""A run that is scored while it trains has the same weights, reads the test split once, and can be continued."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from shell import Shell

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.records.events import StageProgress
from harness.records.training import Interim
from harness.runner.grid import run_grid
from harness.runner.run import run as compute
from harness.storage.store import Store
from harness.training.checkpoint import write
from harness.training.resume import Attempt

TIMES = ["seconds", "seconds_before"]
GRID = """
base:
  benchmark: {name: language, length: 8, train: 200, validation: 20, test: 40}
  model: {name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 12, base_steps: 5}
  training: {steps: 12, rows: 8, lr: 3e-3}
  actions: {backspace: true, noise_rate: 0.2, noise_kind: policy}
  trainer: {name: sequence_match, buffer_fresh: 8, buffer_size: 16, buffer_every: 5}
  sampling: {rollouts: 16}
  metrics: [exact_kl, actions, perplexity]
  evaluation: {at_steps: [4, 9], at_metrics: [exact_kl, perplexity]}
controls: false
"""


def cell(folder: Path, *changes: str) -> RunConfig:
    (folder / "g.yaml").write_text(GRID)
    (found,) = check(load_grid(str(folder / "g.yaml"), changes))
    return found


def run(store: Store, config: RunConfig) -> None:
    list(run_grid([config], store, grid_name="g"))
    assert store.runs("g").set_index("run_id").loc[config.run_id, "status"] == "done", store.runs("g")["error"].tolist()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, RunConfig]]:
    folder = tmp_path_factory.mktemp("interim")
    with Store(f"sqlite:///{folder}/runs.db") as store:
        config = cell(folder)
        run(store, config)
        yield store, config


def weights(store: Store, config: RunConfig) -> bytes:
    return (store.folder / "policies" / config.train_id / "model.safetensors").read_bytes()


def test_scores_stand_at_the_points_and_at_the_end(whole: tuple[Store, RunConfig]) -> None:
    """Points 4 and 9 and the end at 12; tokens and seconds are the curve's at those steps; perplexity on 20 texts."""
    store, config = whole
    found = store.interims(run_id=config.run_id)
    assert sorted(found["step"].unique()) == [4, 9, 12]
    assert {"exact_kl", "perplexity"} <= set(found["metric"])
    assert "backspace_rate" not in set(found["metric"]), "a stated subset"
    curve = store.curves(config.run_id).set_index("step")
    for step, rows in found.groupby("step"):
        assert set(rows["tokens"]) == {curve.loc[step, "tokens"]}
        assert set(rows["seconds"]) == {curve.loc[step, "seconds"]}
    last = found[found["step"] == 12].set_index("metric")["value"]
    test = store.scores(run_id=config.run_id).set_index("metric")["value"]
    assert last["exact_kl"] != test["exact_kl"], "other texts"
    assert set(found[found["metric"] == "perplexity"]["n"]) == {20}


def test_the_test_split_is_read_once(whole: tuple[Store, RunConfig]) -> None:
    store, config = whole
    assert store.provenance(config.run_id)["splits_read"] == {"test": 1, "validation": 3}  # type: ignore[index]


def test_three_kinds_of_tokens_add_up(whole: tuple[Store, RunConfig]) -> None:
    """Learned from, looked at (mistakes drawn from the policy) and sampled: all in the curve, the facts, the total."""
    store, config = whole
    facts = store.provenance(config.run_id)["tokens"]  # type: ignore[index]
    last = store.curves(config.run_id).iloc[-1]
    assert min(facts.values()) > 0
    assert sum(facts.values()) == last["tokens"]
    assert (facts["without_gradient"], facts["sampler"]) == (
        last["terms.tokens_without_gradient"],
        last["terms.tokens_sampled"],
    )


def test_the_same_run_without_has_the_same_weights_and_scores(whole: tuple[Store, RunConfig], tmp_path: Path) -> None:
    store, config = whole
    with Store(f"sqlite:///{tmp_path}/runs.db") as other:
        plain = cell(tmp_path, "evaluation.at_steps=null", "evaluation.at_metrics=null")
        assert plain.run_id != config.run_id
        run(other, plain)
        assert weights(other, plain) == weights(store, config)
        pd.testing.assert_frame_equal(
            other.scores().drop(columns="run_id"), store.scores(run_id=config.run_id).drop(columns="run_id")
        )
        assert other.interims().empty
        run(other, config)  # the kept policy was not scored on the way: trained again
        assert other.provenance(config.run_id)["trained_by"] == config.run_id  # type: ignore[index]
        assert len(other.interims()) == len(store.interims())


def test_a_run_that_shares_the_policy_shares_its_way(whole: tuple[Store, RunConfig]) -> None:
    """Other metrics at the end alone, the same on the way: nothing is trained, and the scores on the way are there."""
    store, config = whole
    run(
        store,
        plain := config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"split": "validation"})}),
    )
    assert store.provenance(plain.run_id)["trained_by"] == config.run_id  # type: ignore[index]
    mine, theirs = (store.interims(run_id=one.run_id).drop(columns="run_id") for one in (plain, config))
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), theirs.reset_index(drop=True))


def test_stopped_and_continued_it_has_the_same_scores_once(whole: tuple[Store, RunConfig], tmp_path: Path) -> None:
    """Given back in the middle of its training; the points before are not scored again, none is missing."""
    store, config = whole
    with Store(f"sqlite:///{tmp_path}/runs.db") as other:
        events = run_grid([config], other, grid_name="g")
        for event in events:
            if event.stage == "train" and event.fraction > 0.3:
                break
        events.close()
        run(other, config)
        mine, theirs = (one.interims(run_id=config.run_id).drop(columns=TIMES) for one in (other, store))
        pd.testing.assert_frame_equal(mine, theirs)
        assert weights(other, config) == weights(store, config)


@pytest.mark.parametrize("moment", ["before it is scored", "once it is scored"])
def test_saved_in_the_step_that_is_scored_it_is_scored_once(
    whole: tuple[Store, RunConfig], tmp_path: Path, moment: str
) -> None:
    """As another thread saves it: at the very step, before or after its scores are there, and once with them lost."""
    store, config = whole
    first = Attempt(config.run_id, 1, tmp_path)
    events = compute(config, torch.device("cpu"), first)
    for event in events:
        due = first.training is not None and first.training.due
        if isinstance(event, StageProgress) and due if moment.startswith("before") else isinstance(event, Interim):
            break
    state = first.training.state() if first.training is not None else None
    assert state is not None
    path = f"checkpoints/{config.run_id}/1-1.safetensors"
    second = Attempt(config.run_id, 2, tmp_path, (write(state, tmp_path, path),))
    events.close()
    found = [event for event in compute(config, torch.device("cpu"), second) if isinstance(event, Interim)]
    steps = store.interims(run_id=config.run_id)["step"].unique().tolist()
    assert [one.spent.step for one in found] == (steps if moment.startswith("before") else steps[1:])
    with Store(f"sqlite:///{tmp_path}/runs.db") as other:  # scored again, it replaces what was stored
        other.enqueue("g", [config])
        claim = other.claim_next("here:1:1")
        assert claim is not None
        for _ in range(2):
            other.log(config.run_id, claim.owner, [], None, found)
        assert other.interims(run_id=config.run_id)["step"].nunique() == len(found)
        assert not other.interims(run_id=config.run_id).duplicated(["step", "name"]).any()


def test_what_cannot_be_scored_on_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at_metrics: 'mauv' is none of the run's metrics"):
        cell(tmp_path, "evaluation.at_metrics=mauv")
    with pytest.raises(ConfigError, match="no scores while it trains"):
        cell(tmp_path, "temperature=best")


def test_a_leaderboard_at_a_budget(whole: tuple[Store, RunConfig]) -> None:
    """At 9 steps the score of step 9, at 11 the same, at 3 none, nor at 500, where 12 were run; the export has all."""
    store, config = whole
    shell = Shell(store.folder)
    shell.environment["HARNESS_STORE"] = store.url
    chosen = ["leaderboard", "g", "--metric", "exact_kl", "--filter", "split=test"]
    found = store.interims(run_id=config.run_id).query("metric == 'exact_kl'").set_index("step")["value"]
    for steps, step in ((9, 9), (11, 9), (13, 12)):
        board = shell.json(*chosen, "--at", f"steps={steps}")
        (row,) = board["tables"][0]["rows"]
        ((_, score),) = row["scores"].items()
        assert score["mean"] == found[step]
        assert board["at"] == f"steps={steps}"
    far = shell(*chosen, "--at", "steps=500").stdout
    assert "it ended at 12 steps, more than 10% below that budget" in " ".join(far.split())
    none = shell(*chosen, "--at", "steps=3").stdout
    assert "its first score while training stands at 4 steps" in " ".join(none.split())
    assert "not a budget" in shell(*chosen, "--at", "9 steps", code=2).stderr
    assert "did you mean 'tokens'" in shell(*chosen, "--at", "token=9", code=2).stderr
    assert "leave --per step out" in shell(*chosen, "--at", "steps=9", "--per", "step", code=2).stderr
    text = shell("export", "g", "--what", "interims").stdout
    assert len(text.splitlines()) == 1 + len(store.interims("g"))
