"""The trials of a grid, and the one that is chosen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from boards import ME, score
from stored import RESULTS
from stored import config as stored_config
from tiny_policies import tiny_policy

from harness.analysis import costs
from harness.analysis.groups import Group
from harness.cli.commands.tuning import _choice_text
from harness.config.run import RunConfig
from harness.errors import ConfigError, HarnessError
from harness.grids import tuning
from harness.grids.grid import load_grid
from harness.grids.tuning import TRIAL_SEED, Tried, as_trials, choose, final_cells, space, trials
from harness.metrics.mauve import Mauve
from harness.storage.queries import Run, Seeds, TrialRun
from harness.storage.store import Store
from harness.system.model_files import content_of

GRID = """
base:
  benchmark: {name: language, length: 8}
  model: {tokenizer: characters}
  training: {lr: 4e-3}
grid:
  trainer: [mle, bc, {name: sequence_match, divergence: js}]
  actions.backspace: [false, true]
seeds: 3
"""


def cells(tmp_path: Path, *changes: str) -> list[RunConfig]:
    (tmp_path / "small.yaml").write_text(GRID)
    return load_grid(str(tmp_path / "small.yaml"), changes).expand()


def store_result(store: Store, run: RunConfig, value: float | None, reason: str | None = None) -> None:
    assert store.claim(run.run_id, ME)
    found = [score("ngram_js_3", value, "pooled", reason=reason, direction="lower")]
    store.finish(
        run.run_id, ME, scores=found, prompts=[], rollouts=[], backspace_id=None, provenance={"data_hash": "d"}
    )


def stored(store: Store, tried: Tried, values: list[float | None]) -> None:
    """Trials with these values; for None the trial fails."""
    store.enqueue("g-trials", tried.trials)
    for run, value in zip(tried.trials, values, strict=True):
        if value is None:
            assert store.claim(run.run_id, ME)
            store.fail(run.run_id, ME, "the loss is nan\nlower training.lr")
        else:
            store_result(store, run, value)


def test_every_group_gets_the_same_number(tmp_path: Path) -> None:
    """3 trainers x 2 action spaces x 3 seeds are 6 groups; each has 4 different trials on validation texts."""
    found = trials(cells(tmp_path), 4)
    assert len(found) == 6
    for one in found:
        assert len({run.run_id for run in one.trials}) == 4
        assert {run.evaluation.split for run in one.trials} == {"validation"}
        assert [[metric.name for metric in run.metrics or ()] for run in one.trials] == [["ngram_js"]] * 4
        assert {seed for run in one.trials for seed in run.seeds.model_dump().values()} == {TRIAL_SEED}
        assert one.drawn[0] == {}
        assert one.trials[0].training == one.group.training
        assert one.trials[0].trainer == one.group.trainer


def test_all_groups_try_the_same_learning_rates_and_more_trials_keep_the_first(tmp_path: Path) -> None:
    five, three = trials(cells(tmp_path), 5), trials(cells(tmp_path), 3)
    rates = [[run.training.lr for run in one.trials] for one in five]
    assert all(one == rates[0] for one in rates)
    assert len(set(rates[0])) == 5
    assert all(4e-4 <= rate <= 4e-2 for rate in rates[0])
    assert [one.trials[:3] for one in five] == [one.trials for one in three]


def test_what_is_tuned_depends_on_what_there_is(tmp_path: Path) -> None:
    """Noise only where some is injected; alpha and bc_end only where the trainer has them."""
    found = {(c.trainer.name, c.actions.backspace): set(space(c)) for c in cells(tmp_path)}
    assert found["mle", False] == {"training.lr"}
    assert found["bc", True] == {"training.lr", "actions.noise_rate"}
    own = {"trainer.alpha", "trainer.bc_end"}
    assert found["sequence_match", True] == {"training.lr", "actions.noise_rate"} | own
    assert found["sequence_match", False] == {"training.lr"} | own


def test_what_the_grid_asks_is_not_tuned(tmp_path: Path) -> None:
    """With two alphas in the grid, each of its groups keeps its own; bc_end is still drawn."""
    found = trials(cells(tmp_path, "trainer=sequence_match", "divergence=js", "alpha=0.01,0.1", "seeds=1"), 3)
    assert len(found) == 4
    for one in found:
        assert {run.trainer.options["alpha"] for run in one.trials} == {one.group.trainer.options["alpha"]}
        assert set(one.drawn[1]) >= {"training.lr", "trainer.bc_end"}


def test_where_nothing_can_be_drawn_there_is_one_trial(tmp_path: Path) -> None:
    """Two learning rates are the question of mle and leave it nothing to tune; a model that is not trained has no
    settings, whatever might be drawn; both are one run each, and no eight copies."""
    asked = trials(cells(tmp_path, "trainer=mle", "backspace=false", "training.lr=0.01,0.02"), 8)
    assert [one.drawn for one in asked] == [({},), ({},)]
    untrained = trials(cells(tmp_path, "trainer=bc", "backspace=true", "training.steps=0"), 8)
    assert [one.drawn for one in untrained] == [({},)]
    for one in (*asked, *untrained):
        assert [run.training for run in one.trials] == [one.group.training]


def test_what_trials_took_counts_each_run_once() -> None:
    """Two groups of a row share the run a of 5 tokens and 1 s; with b of 7 tokens and 2 s there are 2 trials."""
    runs = [Run(f"r{i}", f"g{i}", "done", "d", {}, Seeds(0, 0, 0), 1, 1, 1.0) for i in (0, 1)]
    given = [TrialRun("g0", "a", 5, 1.0), TrialRun("g1", "a", 5, 1.0), TrialRun("g1", "b", 7, 2.0)]
    assert costs.tuning([Group({}, tuple(runs), None, "train")], given) == [costs.Tuning(2, 12, 3.0)]


def test_groups_of_one_training_get_one_choice(tmp_path: Path, store: Store) -> None:
    """Three biases on <backspace>, the free one last: its trials choose, and all three final rows are one policy."""
    given = cells(tmp_path, "trainer=bc", "backspace=true", "sampling.backspace_bias=-1,masked,0", "seeds=2")
    (one,) = trials(given, 3)
    assert {run.sampling.backspace_bias for run in one.trials} == {0}
    assert len({member.group_id for member in one.members}) == 3
    stored(store, one, [0.3, 0.1, 0.2])
    choices = choose(store, "g-trials", [one])
    final = final_cells(given, choices)
    assert Counter(cell.sampling.backspace_bias for cell in final) == {-1: 2, "masked": 2, 0: 2}
    assert {cell.train_id for cell in final if cell.seeds.train == 0} == {
        one.trials[1].model_copy(update={"seeds": final[0].seeds}).train_id
    }
    kept = as_trials(choices)
    assert {(trial.asked, trial.number) for trial in kept} == {(m.group_id, n) for m in one.members for n in range(3)}
    assert {trial.group_id for trial in kept} == {cell.group_id for cell in final}


def test_noise_in_the_context_is_tuned_as_injected_noise_is(tmp_path: Path) -> None:
    """Beside a row without noise, a row with some asks whether, not how much; two amounts beside it are a question."""
    change = ("trainer=mle", "backspace=false", "seeds=1")
    without, one = trials(cells(tmp_path, *change, "actions.context_noise=0,0.1"), 3)
    assert set(without.drawn[1]) == {"training.lr"}
    assert set(one.drawn[1]) == {"training.lr", "actions.context_noise"}
    assert all(0.02 <= run.actions.context_noise <= 0.3 for run in one.trials)
    found = trials(cells(tmp_path, *change, "actions.context_noise=0,0.1,0.2"), 3)
    assert all(set(each.drawn[1]) == {"training.lr"} for each in found)


def test_seeds_and_splits_that_would_leak_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"seeds={TRIAL_SEED} is the seed of every trial"):
        trials(cells(tmp_path, f"seeds.metric={TRIAL_SEED}"), 2)
    with pytest.raises(ConfigError, match="tuning reports on the test split"):
        trials(cells(tmp_path, "evaluation.split=validation"), 2)


def test_the_best_trial_that_has_a_value_wins(tmp_path: Path, store: Store) -> None:
    """ngram_js is better lower: .2 beats .3; a failed trial, NaN and infinity cannot win, and of two .2 the first."""
    (one,) = trials(cells(tmp_path, "trainer=mle", "backspace=false"), 6)
    stored(store, one, [0.3, None, 0.2, math.nan, 0.2, -math.inf])
    (choice,) = choose(store, "g-trials", [one])
    assert (choice.best, choice.n) == (2, 8)
    assert choice.values == (0.3, "lower training.lr", 0.2, "ngram_js_3 is nan", 0.2, "ngram_js_3 is -inf")
    final = final_cells(cells(tmp_path, "trainer=mle", "backspace=false"), [choice])
    assert [cell.seeds.train for cell in final] == [0, 1, 2]
    assert {cell.training.lr for cell in final} == {one.trials[2].training.lr}
    assert {cell.evaluation.split for cell in final} == {"test"}
    assert all(cell.metrics == one.group.metrics for cell in final)


def test_a_trial_without_a_value_says_why_and_cannot_win(tmp_path: Path, store: Store) -> None:
    (one,) = trials(cells(tmp_path, "trainer=mle", "backspace=false"), 3)
    store.enqueue("g-trials", one.trials)
    store_result(store, one.trials[0], None, "too short")
    store_result(store, one.trials[1], 0.5)
    (choice,) = choose(store, "g-trials", [one])
    assert (choice.best, choice.values) == (1, ("too short", 0.5, "not finished"))


def test_a_group_without_any_value_is_an_error(tmp_path: Path, store: Store) -> None:
    found = trials(cells(tmp_path, "trainer=mle,bc", "backspace=false", "seeds=1"), 2)
    stored(store, found[0], [0.1, 0.2])
    stored(store, found[1], [None, None])
    with pytest.raises(HarnessError, match=r"no trial of 1 group\(s\) can be chosen.*language bc: lower training\.lr"):
        choose(store, "g-trials", found)


def test_the_store_keeps_what_was_chosen_from_what(tmp_path: Path, store: Store) -> None:
    """Two groups of three trials, one chosen each; recorded again, the old record is gone."""
    found = trials(cells(tmp_path, "trainer=mle,bc", "backspace=false", "seeds=1"), 3)
    stored(store, found[0], [0.3, 0.2, 0.1])
    stored(store, found[1], [0.1, 0.2, 0.3])
    choices = choose(store, "g-trials", found)
    store.record_trials("g-tuned", as_trials(choices)[:2])
    store.record_trials("g-tuned", as_trials(choices))
    kept = store.trials("g-tuned")
    assert sorted(kept, key=lambda t: t.run_id) == sorted(as_trials(choices), key=lambda t: t.run_id)
    assert Counter(trial.asked for trial in kept) == {one.group.group_id: 3 for one in found}
    assert {(trial.asked, trial.number) for trial in kept if trial.chosen} == {
        (found[0].group.group_id, 2),
        (found[1].group.group_id, 0),
    }
    final = {cell.group_id for cell in final_cells([one.group for one in found], choices)}
    assert {trial.group_id for trial in kept} == final
    assert store.trials("g") == []


def text_trials(tmp_path: Path, count: int) -> Tried:
    (tmp_path / "text.yaml").write_text("base: {benchmark: text, trainer: mle}\ncontrols: false\nseeds: 1\n")
    (one,) = trials(load_grid(str(tmp_path / "text.yaml")).expand(), count)
    return one


def store_areas(store: Store, tried: Tried, areas: Sequence[tuple[float | None, float | None]], **more: Any) -> None:
    """Trials with these areas of mauve-text and along the curve; None stores none."""
    store.enqueue("g-trials", tried.trials)
    for run, (area, along) in zip(tried.trials, areas, strict=True):
        assert store.claim(run.run_id, ME)
        given = {"mauve": area, "mauve_curve": along, **more}
        found = [score(name, value, "mauve-text") for name, value in given.items() if value is not None]
        store.finish(
            run.run_id, ME, scores=found, prompts=[], rollouts=[], backspace_id=None, provenance={"data_hash": "d"}
        )


@pytest.mark.parametrize(
    ("areas", "best", "measure", "moved"),
    [
        ([(0.9999, 0.9999), (0.75, 1.0)], 1, "mauve_curve", 1),  # equal histograms, and one text moved
        ([(0.75, 1.0), (0.9999, 0.9999), (0.75, 1.0)], 0, "mauve_curve", 2),  # of equally good ones the first
        ([(0.95, 0.95), (0.93, 0.97), (0.94, 0.94)], 1, "mauve_curve", 1),  # one k-means seed of five ties
        ([(0.91, 0.88), (0.9, 0.9)], 1, "mauve_curve", 1),  # a tie may move up, too
        ([(0.9, 0.9 + 1e-12), (0.8, 0.8)], 0, "mauve", 0),  # the last bits of a sum are no tie
        ([(0.9, None), (0.95, None)], 1, "mauve", 0),  # as earlier versions stored them, no tie known
        ([(None, None), (0.75, 1.0), (0.9, 0.9)], 1, "mauve_curve", 1),  # a trial without a value cannot win
    ],
)
def test_where_ties_move_an_area_the_area_along_the_curve_chooses(
    areas: list[tuple[float | None, float | None]],
    best: int,
    measure: str,
    moved: int,
    tmp_path: Path,
    store: Store,
) -> None:
    one = text_trials(tmp_path, len(areas))
    store_areas(store, one, areas, mauve_star=0.5, mauve_star_curve=0.6)
    (choice,) = choose(store, "g-trials", [one])
    assert (choice.best, choice.measure, choice.moved) == (best, measure, moved)
    assert choice.values[best] == areas[best][measure == "mauve_curve"]
    said = f"; mauve_curve chose, since ties along the curve move {moved} trial(s)"
    assert (said in _choice_text(choice)) is bool(moved)


def test_beside_a_known_tie_no_trial_without_the_area_along_the_curve_is_passed_over(
    tmp_path: Path, store: Store
) -> None:
    """As ranks: a trial of an earlier version may be the best, and how to know is said."""
    one = text_trials(tmp_path, 3)
    store_areas(store, one, [(0.9, None), (0.75, 1.0), (0.8, 0.8)])
    with pytest.raises(
        HarnessError, match=r"no mauve_curve, which must choose.*harness rescore g-trials --metrics mauve@mauve-text"
    ):
        choose(store, "g-trials", [one])


def test_a_trial_is_chosen_by_its_own_featuriser(store: Store, tmp_path: Path) -> None:
    """Of several scores of one trial the one by the metric's directory: its content, or its path as once stored."""
    tiny_policy(backspace=False).save(tmp_path / "feat")
    metric, run = Mauve(featuriser=str(tmp_path / "feat"), length="free", num_buckets=2), stored_config()
    store.enqueue("g", [run])
    assert store.claim(run.run_id, ME)
    store.finish(run.run_id, ME, **RESULTS)
    common = {"length": "free", "num_buckets": 2, "scaling": 5.0, "seeds": 5}
    for name in (f"model:{content_of(tmp_path / 'feat')}", str(tmp_path / "feat")):
        rows = [
            {
                "run_id": run.run_id,
                "metric": "mauve",
                "definition": "mauve-text",
                "parameters": common | {"featuriser": one},
            }
            for one in ("model:0123456789ab/mean", f"{name}/mean", "reference-lm:0123/mean")
        ]
        assert tuning._own_score(store, metric, "mauve", rows) is rows[1]
        assert tuning._own_score(store, metric, "mauve", rows[::2]) is None
