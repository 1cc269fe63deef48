"""`harness tune` from end to end on a tiny grid: what it trains, what it reads, and what it says that it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from shell import TINY, Shell

from harness.grids.tuning import TRIAL_SEED
from harness.storage.store import Store


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Store, str]]:
    """2 trainers, 3 trials each, then 2 seeds of what they chose; what the command printed."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "tiny.yaml").write_text(TINY.replace("rollouts: 4", "rollouts: 8"))
    shell = Shell(folder)
    printed = shell("tune", str(folder / "tiny.yaml"), "--trials", "3").stdout
    with Store(shell.environment["HARNESS_STORE"]) as store:
        yield shell, store, printed


def test_every_group_has_the_same_number_of_trials(tuned: tuple[Shell, Store, str]) -> None:
    _, store, printed = tuned
    assert "2 groups x 3 trials = 6 trials (0 done)" in printed
    assert printed.count("(n=8)") == 2, "one choice a group, from so many texts"
    kept = store.trials("tiny-tuned")
    assert set(Counter(trial.asked for trial in kept).values()) == {3}
    assert Counter(store.config(trial.run_id).trainer.name for trial in kept) == {"mle": 3, "bc": 3}
    assert store.counts("tiny-trials") == {"cells": 6, "done": 6, "failed": 0, "running": 0, "pending": 0}
    assert set(store.runs("tiny-trials")["run_id"]) == {trial.run_id for trial in kept}


def test_the_test_split_is_read_once_by_final_runs_and_by_no_trial(tuned: tuple[Shell, Store, str]) -> None:
    _, store, _ = tuned
    for run_id in store.runs("tiny-trials")["run_id"]:
        assert store.provenance(run_id)["splits_read"] == {"validation": 1}  # type: ignore[index]
        assert store.config(run_id).seeds.train == TRIAL_SEED
    final = store.runs("tiny-tuned")
    assert sorted(final["seeds.train"]) == [0, 0, 1, 1]
    for run_id in final["run_id"]:
        assert store.provenance(run_id)["splits_read"] == {"test": 1}  # type: ignore[index]


def test_final_runs_have_the_chosen_settings(tuned: tuple[Shell, Store, str]) -> None:
    """Of each group the trial with the lowest value, by hand from the stored scores."""
    _, store, _ = tuned
    scores = store.scores("tiny-trials").query("metric == 'ngram_js_3'").set_index("run_id")["value"]
    for trial in store.trials("tiny-tuned"):
        alike = [one for one in store.trials("tiny-tuned") if one.asked == trial.asked]
        assert trial.chosen == (trial.run_id == min(alike, key=lambda one: scores[one.run_id]).run_id)
        if trial.chosen:
            chosen = store.config(trial.run_id)
            runs = [store.config(run) for run in store.runs("tiny-tuned")["run_id"]]
            assert sum(run.training == chosen.training and run.trainer == chosen.trainer for run in runs) == 2


def test_what_tuning_cost_stands_apart(tuned: tuple[Shell, Store, str]) -> None:
    shell, store, _ = tuned
    (table,) = shell.json("leaderboard", "tiny-tuned")["tables"]
    spent = store.runs("tiny-trials").set_index("run_id")["tokens"]
    for row in table["rows"]:
        (group,) = {store.runs("tiny-tuned").set_index("run_id").loc[run, "group_id"] for run in row["runs"]}
        own = [trial.run_id for trial in store.trials("tiny-tuned") if trial.group_id == group]
        assert row["tuning"]["trials"] == 3
        assert row["tuning"]["tokens"] == spent[own].sum() > 0
        assert row["cost"] is None
    text = shell("leaderboard", "tiny-tuned").stdout
    assert "trials' tokens" in text
    assert "is in no other cost" in " ".join(text.split())
    assert "tuning_seconds" in shell("leaderboard", "tiny-tuned", "--format", "csv").stdout.splitlines()[0]
    assert "on the validation split" in shell("leaderboard", "tiny-trials").stdout
    assert shell.json("leaderboard", "tiny-trials")["tables"][0]["benchmark"]["split"] == "validation"


def test_the_same_command_again_does_nothing_and_fewer_trials_choose_again(tuned: tuple[Shell, Store, str]) -> None:
    shell, store, _ = tuned
    grid = str(shell.folder / "tiny.yaml")
    again = shell("tune", grid, "--trials", "3")
    assert "6 cells: 0 done now, 6 done before" in again.stdout
    assert "4 cells: 0 done now, 4 done before" in again.stdout
    assert "2 groups x 1 trials = 2 trials (2 done)" in shell("tune", grid, "--trials", "1", "--plan").stdout
    assert len(store.trials("tiny-tuned")) == 6
    shell("tune", grid, "--trials", "1")
    assert {trial.drawn == {} and trial.chosen for trial in store.trials("tiny-tuned")} == {True}
    assert store.counts("tiny-tuned")["cells"] == 4, "what other trials chose is no cell of it any longer"


def test_what_rescoring_adds_chooses_nothing(tuned: tuple[Shell, Store, str]) -> None:
    """The same distance between words stands beside that between characters; the choice is as before."""
    shell, store, _ = tuned
    before = store.trials("tiny-tuned")
    shell("rescore", "tiny-trials", "--metrics", "ngram_js")
    own = store.scores("tiny-trials").query("metric == 'ngram_js_3'")
    assert set(Counter(own["run_id"]).values()) == {2}, "of words, and of characters"
    shell("tune", str(shell.folder / "tiny.yaml"), "--trials", "1")
    assert store.trials("tiny-tuned") == before


def test_a_grid_without_mle_tunes_one_for_its_control(tuned: tuple[Shell, Store, str]) -> None:
    shell, _, _ = tuned
    (shell.folder / "only-bc.yaml").write_text(TINY.replace("[mle, bc]", "[bc]"))
    assert "1 groups x 3 trials" in shell("tune", str(shell.folder / "only-bc.yaml"), "--trials", "3", "--plan").stdout
    (shell.folder / "only-bc.yaml").write_text(TINY.replace("[mle, bc]", "[bc]").replace("controls: false", ""))
    assert "2 groups x 3 trials" in shell("tune", str(shell.folder / "only-bc.yaml"), "--trials", "3", "--plan").stdout


def test_info_says_what_is_tuned(tuned: tuple[Shell, Store, str]) -> None:
    shell, _, _ = tuned
    (found,) = shell.json("info", "td_mle")
    assert set(found["tuned"]) == {"training.lr", "actions.noise_rate", "actions.context_noise", "trainer.td_weight"}
    assert (
        "harness tune draws trainer.td_weight from 0.00025 to 0.25, by its logarithm" in shell("info", "td_mle").stdout
    )
