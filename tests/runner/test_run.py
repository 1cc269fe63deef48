"""A grid from end to end: real training on tiny settings, interruption, failure, and the shared base."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harness.config.run import RunConfig
from harness.data.splits import _splits, load_splits
from harness.errors import ConfigError
from harness.evaluation.features import Features
from harness.grids.check import check
from harness.grids.grid import Grid, load_grid
from harness.models.initial import start_policy
from harness.records.events import Event, Results, SavedCheckpoint, StageProgress
from harness.records.progress import Progress, Stage
from harness.runner.grid import run_grid
from harness.runner.options import RunnerOptions
from harness.runner.run import run as compute
from harness.runner.supervisor import FailedAlike
from harness.storage.store import Store
from harness.system.device import choose_device
from harness.system.disk_full import OutOfSpace
from harness.training.base_model import base_id, prepare_base, prepared
from harness.training.resume import Attempt

GRID = """
question: Does everything run from end to end?
base:
  benchmark: {name: language, length: 8, train: 200, validation: 20, test: 40}
  model: {name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 12, base_steps: 20}
  training: {steps: 12, rows: 8, lr: 3e-3}
  actions: {noise_rate: 0.2, noise_kind: ground_truth}
  sampling: {rollouts: 24}
grid:
  trainer: [mle, {name: sequence_match, buffer_fresh: 8, buffer_size: 16}]
  actions.backspace: [false, true]
seeds: 2
controls: false
"""


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    path = tmp_path / "small.yaml"
    path.write_text(GRID)
    return load_grid(str(path))


def run(grid: Grid, store: Store) -> list[Progress]:
    return list(run_grid(check(grid), store, grid_name=grid.name))


def results(store: Store) -> pd.DataFrame:
    scores = store.scores().drop(columns=["parameters"])
    return scores.sort_values(["run_id", "name"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The grid, run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(GRID)
    with Store(f"sqlite:///{folder}/runs.db") as store:
        run(load_grid(str(folder / "small.yaml")), store)
        yield store


def test_every_cell_is_trained_scored_and_stored(whole: Store) -> None:
    """Two trainers x two action spaces x two seeds, one base for all eight, every metric of the benchmark."""
    assert whole.counts() == {"cells": 8, "done": 8, "failed": 0, "running": 0, "pending": 0}
    scores = results(whole)
    assert set(scores.groupby("run_id").size()) == {len(scores) // 8}
    assert {"exact_kl", "out_of_support", "perplexity", "backspace_rate"} <= set(scores["metric"])
    assert scores["value"].notna().all()
    facts = [whole.provenance(run_id) for run_id in whole.runs()["run_id"]]
    assert len({fact["base"] for fact in facts if fact}) == 1
    for fact in facts:
        assert fact is not None
        assert fact["evaluated_tokens"] > 12 * 8 * 9
        assert {"git", "packages", "threads", "data_hash", "peak_memory_bytes", "seconds"} <= set(fact)
    for run_id in whole.runs()["run_id"]:
        assert len(whole.rollouts(run_id)) == 24
        assert whole.curves(run_id)["step"].max() == 12


def test_a_finished_grid_does_nothing_again(whole: Store, grid: Grid) -> None:
    before = whole.runs()
    assert {event.stage for event in run(grid, whole)} == {"skipped"}
    pd.testing.assert_frame_equal(whole.runs(), before)


def test_interrupted_and_continued_equals_uninterrupted(whole: Store, grid: Grid, tmp_path: Path) -> None:
    """Stopped in the base, in the middle of a training, and between two cells; the scores end up identical."""
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        for stop in ("base", "train", "done"):
            events = run_grid(check(grid), store, grid_name=grid.name)
            for event in events:
                if event.stage == stop:
                    break
            events.close()
            assert store.counts()["running"] == 0
        finished = store.counts()["done"]
        assert 0 < finished < 8
        events = run(grid, store)
        assert sum(event.stage == "done" for event in events) == 8 - finished
        pd.testing.assert_frame_equal(results(store), results(whole))


def test_a_failing_cell_says_why_and_the_others_go_on(grid: Grid, tmp_path: Path) -> None:
    """A learning rate of 1e30 makes a loss that is no number; the second cell is fine."""
    cells = check(grid.override(["lr=1e30,1e-3", "trainer=mle", "seeds=1", "backspace=false", "clip=1e30"]))
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        stages = [event.stage for event in run_grid(cells, store, grid_name="x")]
        assert (stages.count("failed"), stages.count("done")) == (1, 1)
        (error,) = store.runs(status="failed")["error"]
        assert "the loss is" in error
        assert "training.lr" in error
        with pytest.raises(FailedAlike, match="--fail-fast"):
            list(run_grid(cells, store, grid_name="x", options=RunnerOptions(keep_going=False)))


def test_ground_truth_noise_is_refused_before_anything_runs(grid: Grid) -> None:
    with pytest.raises(ConfigError, match="'text' has no ground truth"):
        check(grid.override(["benchmark=text", "noise_kind=ground_truth"]))


def test_a_missing_directory_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("base: {benchmark: language, trainer: mle, model: {name: ./nowhere}}")
    with pytest.raises(ConfigError, match="no such directory"):
        check(load_grid(str(path)))


@pytest.mark.parametrize("change", ["sampling.temperature=best", "evaluation.split=validation", "at_steps=3"])
def test_one_validation_text_chooses_nothing(tmp_path: Path, change: str) -> None:
    (tmp_path / "small.yaml").write_text(GRID)
    path, one = str(tmp_path / "small.yaml"), "benchmark.validation=1"
    with pytest.raises(ConfigError, match=r"gives 1 prompt\(s\), wanted at least 2 for .*raise benchmark\.validation"):
        check(load_grid(path, [one, change]))
    assert check(load_grid(path, [one]))
    assert check(load_grid(path, ["benchmark.validation=2", change]))


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="--device tpux"):
        choose_device("tpux")


def test_a_base_is_trained_once_and_shared(grid: Grid, tmp_path: Path) -> None:
    """Trainer, seeds, action space and optimisation leave the base alone; model and data do not."""
    cells = check(grid)
    splits = load_splits(cells[0].benchmark)
    assert len({base_id(config, splits) for config in cells}) == 1
    wider = cells[0].model_copy(update={"model": cells[0].model.model_copy(update={"width": 32})})
    assert base_id(wider, splits) != base_id(cells[0], splits)
    device = torch.device("cpu")

    def prepare(config: RunConfig) -> tuple[int, Path]:
        steps = prepare_base(config, splits, tmp_path, device)
        count = 0
        try:
            while True:
                next(steps)
                count += 1
        except StopIteration as stop:
            return count, stop.value

    trained, directory = prepare(cells[0])
    assert trained > 0
    assert prepare(cells[-1]) == (0, directory)
    plain, deleting = start_policy(cells[0], directory, device), start_policy(cells[1], directory, device)
    assert (plain.space.backspace_id, deleting.space.backspace_id) == (None, plain.space.size)
    assert not list((tmp_path / "bases").glob(".writing-*"))


def test_a_base_that_does_not_fit_leaves_nothing_behind(grid: Grid, tmp_path: Path) -> None:
    """Files may grow to 1,000 bytes, as on a full disk; with room again the base is trained anew."""
    (config, *_), cpu = check(grid), torch.device("cpu")
    splits, before = load_splits(config.benchmark), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutOfSpace, match=r"a base model cannot be written to .*; make room"):
            prepared(config, splits, tmp_path, cpu)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "bases").iterdir())
    assert prepared(config, splits, tmp_path, cpu).is_dir()


@pytest.mark.parametrize("stage", ["base", "reference"])
def test_a_shared_training_says_its_stage_and_share_after_every_step(grid: Grid, tmp_path: Path, stage: Stage) -> None:
    """120 steps give 121 signs of life, at each of which a request to stop ends it; a curve has 50 points."""
    (config, *_), cpu = check(grid), torch.device("cpu")
    config = config.model_copy(update={"model": config.model.model_copy(update={"base_steps": 120})})
    events = list(prepare_base(config, load_splits(config.benchmark), tmp_path, cpu, stage))
    assert [event.stage for event in events] == [stage] * 121
    assert [round(120 * event.fraction) for event in events] == list(range(121))


def test_threads_of_a_resumed_training_are_recorded_though_its_attempt_was_killed(grid: Grid, tmp_path: Path) -> None:
    """Stopped while training with one thread, resumed with two, killed while sampling: the third finds its policy."""
    (config, *_), cpu = check(grid), torch.device("cpu")
    known, saved = torch.get_num_threads(), list[SavedCheckpoint]()

    def attempt(until: Stage) -> Event:
        own = Attempt(config.run_id, 1, tmp_path, tuple(saved))
        for event in compute(config, cpu, own):
            if isinstance(event, StageProgress) and event.stage == until:
                saved.extend([own.save()] if until == "train" else [])
                break
        return event

    torch.set_num_threads(1)
    try:
        attempt("train")
        torch.set_num_threads(2)
        attempt("sample")
        last = attempt("done")
    finally:
        torch.set_num_threads(known)
    assert len(saved) == 1
    assert isinstance(last, Results)
    assert list(last.provenance["training_threads"]) == [1, 2]


def test_features_are_pooled_over_the_texts_own_tokens(
    grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and last against the hidden states of one text alone; an empty text has the start token's state."""
    cells = check(grid)
    directory = prepared(cells[0], load_splits(cells[0].benchmark), tmp_path, torch.device("cpu"))
    features = Features(directory, torch.device("cpu"), tmp_path)
    texts = ["abcab", "", "ba", "abcdefabcdefabcdef"]  # the last is cut to 10 of the context's 12 tokens
    mean, last = (features("reference-lm", pooling, texts) for pooling in ("mean", "last"))
    policy = start_policy(cells[0], directory, torch.device("cpu"))
    for i, text in enumerate(texts):
        ids = torch.tensor([[policy.start_id, *policy.encode(text[:10])]])
        with torch.no_grad():
            hidden = policy.model.base_model(ids).last_hidden_state[0]
        own = hidden[1:] if text else hidden
        assert torch.allclose(torch.from_numpy(mean[i]), own.mean(0), atol=1e-5)
        assert torch.allclose(torch.from_numpy(last[i]), own[-1], atol=1e-5)
    monkeypatch.setattr("harness.evaluation.features.pooled", lambda *_: pytest.fail("features are computed once"))
    assert np.array_equal(features("reference-lm", "mean", texts[::-1]), mean[::-1])
    other_cell = Features(directory, torch.device("cpu"), tmp_path)
    assert np.array_equal(other_cell("reference-lm", "last", texts), last)
    assert features.identify("reference-lm") == f"reference-lm:{directory.name}"


def test_finished_cells_whose_data_changed_are_pointed_out(tmp_path: Path) -> None:
    """The corpus file is edited after the run: nothing is run again, and every skipped cell has a warning."""
    corpus, path = tmp_path / "corpus.txt", tmp_path / "words.yaml"
    corpus.write_text("\n\n".join(f"story {n} of one and twenty words " * 4 for n in range(60)))
    path.write_text(
        f"""
base:
  benchmark: {{name: text, corpus: {corpus}, prompt_words: 2, continuation_words: 6, test: 0.2}}
  trainer: mle
  model: {{name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 64, base_steps: 0}}
  training: {{steps: 1, rows: 2}}
  sampling: {{rollouts: 4}}
  metrics: [length]
controls: false
"""
    )
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        run(load_grid(str(path)), store)
        (same,) = run(load_grid(str(path)), store)
        assert (same.stage, same.message) == ("skipped", "")
        corpus.write_text(corpus.read_text().replace("twenty", "thirty"))
        _splits.cache_clear()
        (changed,) = run(load_grid(str(path)), store)
        assert changed.stage == "skipped"
        assert "on other data" in changed.message
