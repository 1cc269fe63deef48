"""Ceiling, floor and MLE at its best temperature: which cells a grid gets, and what each of them holds."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_policies import tiny_policy

from benchmarks.language import FreshTexts, Language
from harness.config.run import RunConfig
from harness.data.windows import rows
from harness.errors import ConfigError
from harness.evaluation.controls import CONTROLS, Unigram, control_policy, expert, expert_rollout
from harness.evaluation.features import Features
from harness.evaluation.likelihood import likelihood
from harness.generation.prompts import choose_prompts
from harness.generation.rollouts import Start, sample
from harness.grids.check import check
from harness.grids.controls import controls, missing_mle
from harness.grids.grid import Grid, load_grid
from harness.grids.yaml_file import Document
from harness.metrics.law import forbidden
from harness.models.export import export
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.records import Example, Splits
from harness.runner.grid import run_grid
from harness.storage.store import Store

FEATURES = Features(None, torch.device("cpu"))
BASE: dict[str, Any] = {"benchmark": "language", "trainer": "mle"}


def cells(**document: Any) -> list[RunConfig]:
    document.setdefault("base", BASE)
    return Grid.read(Document(document, "test"), "test").expand()


def kinds(found: list[RunConfig]) -> Counter[str]:
    return Counter(cell.control or f"{cell.trainer.name} {cell.sampling.temperature}" for cell in found)


# --------------------------------------------------------------------------------------------------- which cells


def test_one_of_each_kind_for_every_seed_whatever_is_trained() -> None:
    """Trainers, action spaces and learning rates share a ceiling and a floor; two plain MLE trainings are two twins."""
    axes = {"trainer": ["mle", "bc"], "actions.backspace": [False, True], "training.lr": [0.1, 0.2]}
    found = controls(cells(grid=axes, seeds=3))
    assert kinds(found) == {"expert": 3, "unigram": 3, "mle best": 6}
    assert {cell.seeds.sample for cell in found} == {0, 1, 2}
    assert all(cell.is_control for cell in found)
    assert len({cell.run_id for cell in found}) == 12


def test_a_grid_without_mle_gets_one_with_the_first_budget() -> None:
    grid = {"trainer": ["bc"], "training.steps": [7, 9], "actions.backspace": [True]}
    found = controls(cells(grid=grid))
    assert kinds(found) == {"expert": 1, "unigram": 1, "mle best": 1}
    assert (found[-1].training.steps, found[-1].actions.backspace) == (7, False)


def test_who_tunes_gets_the_mle_that_is_missing() -> None:
    """bc with two decoders and two budgets at two seeds: one MLE a seed, sampled from as it is, whose twins are then
    the controls; nothing is missing beside it."""
    grid = {"training.steps": [7, 9], "actions.backspace": [True], "sampling.backspace_bias": [0, -1, 1]}
    own = cells(base={**BASE, "trainer": "bc"}, grid=grid, seeds=2)[2:]
    found = missing_mle(own)
    assert [(cell.trainer.name, cell.training.steps, cell.seeds.train) for cell in found] == [
        ("mle", 7, 0),
        ("mle", 7, 1),
    ]
    assert not any(cell.sampling.decoding or cell.actions.backspace for cell in found)
    twins = [cell for cell in controls([*own, *found]) if cell.control is None]
    assert {cell.train_id for cell in twins} == {cell.train_id for cell in found}
    assert missing_mle([*own, *found]) == []


def test_decoders_share_their_controls() -> None:
    """Three decoders, one policy, one twin; and what the grid holds itself is not added again."""
    decoders = [{"top_p": 0.9}, {"decoder": "greedy"}, {}]
    assert kinds(controls(cells(grid={"sampling": decoders}))) == {"expert": 1, "unigram": 1, "mle best": 1}
    own = cells(grid={"sampling": [*decoders, {"temperature": "best"}]})
    assert kinds(controls(own)) == {"expert": 1, "unigram": 1}


def test_the_twin_is_written_by_the_grids_own_policy() -> None:
    (cell,) = cells()
    (twin,) = (one for one in controls([cell]) if one.control is None)
    assert twin.train_id == cell.train_id
    assert twin.run_id != cell.run_id


def test_rollouts_length_context_and_tokenizer_need_controls_of_their_own() -> None:
    axes = {"sampling.rollouts": [10, 20], "model.context": [64, 128], "model.width": [32, 64]}
    assert kinds(controls(cells(grid=axes)))["expert"] == 4
    texts = {"benchmark": "text", "trainer": "mle"}
    assert kinds(controls(cells(base=texts, grid={"model.vocab_size": [300, 400]})))["unigram"] == 2


def test_a_benchmark_that_cannot_choose_has_no_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Language, "selection")
    assert kinds(controls(cells())) == {"expert": 1, "unigram": 1}


def test_a_grid_file_switches_them_off(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("base: {benchmark: language, trainer: mle, model: {tokenizer: characters}}\n")
    assert len(check(load_grid(str(path)))) == 4
    path.write_text("base: {benchmark: language, trainer: mle, model: {tokenizer: characters}}\ncontrols: false\n")
    assert len(check(load_grid(str(path)))) == 1
    path.write_text("base: {benchmark: language, trainer: mle, model: {tokenizer: characters}}\ncontrols: 3\n")
    with pytest.raises(ConfigError, match=r"words.yaml:2: controls: 3 is no truth value"):
        load_grid(str(path))


# --------------------------------------------------------------------------------------------------- the ceiling


def config(seed: int = 0, **sampling: Any) -> RunConfig:
    run = {**BASE, "sampling": {"rollouts": 40, **sampling}, "seeds": {"sample": seed}}
    return RunConfig.model_validate(run).as_control("expert")


def on_language(run: RunConfig) -> Any:
    benchmark = Language(length=10, symbols=6, successors=2, train=50, validation=20, test=60)
    policy, splits = tiny_policy(backspace=False), benchmark.splits()
    return splits, expert(policy, splits, choose_prompts(policy, splits.prompts, run.sampling), run, FEATURES)


def test_on_a_language_it_is_a_fresh_sample_of_the_law() -> None:
    """Nothing of it is forbidden; each seed has its own; every text ends; probabilities are not made up."""
    splits, found = on_language(config())
    assert isinstance(splits.fresh, FreshTexts)
    assert len(found.rollouts) == len(found.prompts) == 40
    assert found.texts != on_language(config(seed=1))[1].texts
    assert found.texts == on_language(config())[1].texts
    for rollout in found.rollouts:
        assert not any(forbidden(splits.law, "", rollout))
        assert (rollout.stop, len(rollout.trajectory.actions)) == ("ended", 11)
        assert all(math.isnan(value) for value in rollout.log_probs)
    assert found.likelihood is None
    assert found.exact_steps == ()


def test_a_text_that_a_rollout_could_not_end_is_cut() -> None:
    """Ten characters where a rollout may have ten tokens: no room for the end; where it may have four, six are gone."""
    for length, stop in ((11, "ended"), (10, "depth"), (4, "depth")):
        _, found = on_language(config(length=length))
        assert {rollout.stop for rollout in found.rollouts} == {stop}
        assert {len(rollout.tokens) for rollout in found.rollouts} == {min(length, 10)}


def test_on_documents_it_is_other_passages() -> None:
    """20 test passages of which 8 are references, 5 validation passages: 8 of the 17 others, by seed, cut off."""
    letters = np.random.default_rng(0).choice(list("abcdef"), (25, 6))
    passages = [Example(text="".join(row[2:]), prompt="".join(row[:2])) for row in letters]
    splits = Splits(
        train=(), validation=(), test=(), prompts=tuple(passages[:20]), validation_prompts=tuple(passages[20:])
    )
    policy, seen = tiny_policy(backspace=False), set()
    for seed in range(4):
        run = config(seed, rollouts=8)
        prompts = choose_prompts(policy, splits.prompts, run.sampling)
        found = expert(policy, splits, prompts, run, FEATURES)
        assert found.references == tuple(example.text for example in passages[:8])
        assert len(set(found.texts)) == 8
        assert set(found.texts) <= {example.text for example in passages[8:]}
        assert {rollout.stop for rollout in found.rollouts} == {"depth"}
        seen |= set(found.texts)
    assert seen & {example.text for example in passages[20:]}
    run = config(rollouts=20)  # only the five validation passages are left
    found = expert(policy, splits, choose_prompts(policy, splits.prompts, run.sampling), run, FEATURES)
    assert set(found.texts) == {example.text for example in passages[20:]}
    assert len(found.prompts) == 5


def test_answers_stand_for_themselves() -> None:
    questions = tuple(Example(text="ab", prompt=letter) for letter in "abcdef")
    splits = Splits(train=(), validation=questions, test=questions, prompts=questions, whole=True)
    found = expert(tiny_policy(backspace=False), splits, questions, config(rollouts=6), FEATURES)
    assert found.texts == found.references
    assert {rollout.stop for rollout in found.rollouts} == {"ended"}


def test_a_text_that_no_policy_could_write_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'axb' holds a character that no training text has.*controls: false"):
        expert_rollout(tiny_policy(backspace=False), Example("axb"), ends=True, length=None)


# ----------------------------------------------------------------------------------------------------- the floor


def test_random_words_by_hand() -> None:
    """Texts aab and b: a 2, b 2, end 2, each token once more: 3/13 each, and 1/13 for c, d, e, f.

    The test text `ac` with its end has 3/13 x 1/13 x 3/13.
    """
    policy = tiny_policy(backspace=False)
    unigram = Unigram(policy, rows([Example("aab"), Example("b")], policy))
    law = unigram.log_probs.exp()
    assert float(law.sum()) == pytest.approx(1)
    for token, chance in (*zip(policy.encode("abcdef"), [3, 3, 1, 1, 1, 1], strict=True), (policy.end_id, 3)):
        assert float(law[token]) == pytest.approx(chance / 13)
    found = likelihood(unigram, [Example("ac")])
    assert found.nll == found.masked_nll == pytest.approx(-math.log(3 / 13 / 13 * 3 / 13))
    written = sample(unigram, [Start((policy.start_id,))] * 3_000, seed=0)
    drawn = Counter(action for rollout in written for action in rollout.trajectory.actions)
    count = sum(drawn.values())
    for token in (*policy.encode("abcdef"), policy.end_id):
        share = float(law[token])
        assert abs(drawn[token] / count - share) < 5 * math.sqrt(share * (1 - share) / count)


def test_random_words_of_a_bpe_hold_no_special_token() -> None:
    run = RunConfig.model_validate({**BASE, "model": {"name": "gpt2", "width": 16, "context": 24}})
    policy = Policy.build(run.model, byte_level_bpe(["the cat sat on the mat"] * 9, 280))
    unigram = Unigram(policy, rows([Example("the cat")], policy))
    silent = policy.space.unwritable - {policy.end_id}
    assert all(unigram.log_probs[token] == -math.inf for token in silent)
    assert int((unigram.log_probs > -math.inf).sum()) == policy.space.size - len(silent)


# --------------------------------------------------------------------------------------------------- end to end

GRID = """
base:
  benchmark: {name: language, length: 8, symbols: 6, successors: 2, train: 300, validation: 60, test: 60}
  model: {name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 12, base_steps: 60}
  training: {steps: 12, rows: 8, lr: 3e-3}
  trainer: mle
  sampling: {rollouts: 60}
grid:
  sampling: [{}, {decoder: greedy}, {top_p: 0.5}]
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("controls")
    (folder / "small.yaml").write_text(GRID)
    found = check(load_grid(str(folder / "small.yaml")))
    with Store(f"sqlite:///{folder}/runs.db") as store:
        events = list(run_grid(found, store, grid_name="small"))
        assert [event.message for event in events if event.stage == "failed"] == []
        yield found, store, events


def values(store: Store, run_id: str) -> dict[str, float]:
    scores = store.scores(run_id=run_id)
    return dict(zip(scores["metric"], scores["value"], strict=True))


def test_every_decoder_writes_from_one_training(stored: Any) -> None:
    """Trained once; the others have its curve and its cost, and say whose they are; the likelihood is the same."""
    found, store, events = stored
    trained = [cell for cell in found if cell.control is None]
    assert len(trained) == 4
    assert len({event.run_id for event in events if event.stage == "train"}) == 1
    facts = [store.provenance(cell.run_id) for cell in trained]
    assert {fact["trained_by"] for fact in facts} == {trained[0].run_id}
    assert len({fact["policy"]["sha256"] for fact in facts}) == 1
    assert len({(fact["training_seconds"], fact["evaluated_tokens"], fact["parameters"]) for fact in facts}) == 1
    curves = [store.curves(cell.run_id) for cell in trained]
    assert all(curve.equals(curves[0]) for curve in curves)
    assert len({values(store, cell.run_id)["exact_kl"] for cell in trained}) == 1
    texts = [tuple(store.rollouts(cell.run_id)["text"]) for cell in trained]
    assert len(set(texts[1])) == 1  # greedy from one prompt
    assert texts[0] != texts[2]


def test_the_floor_is_below_and_the_ceiling_above(stored: Any) -> None:
    found, store, _ = stored
    by_kind = {cell.control or cell.sampling.temperature: cell.run_id for cell in found if not cell.sampling.top_p < 1}
    ceiling, floor, best = (values(store, by_kind[kind]) for kind in ("expert", "unigram", "best"))
    plain = values(store, found[0].run_id)
    assert ceiling["out_of_support"] == 0 < plain["out_of_support"] < floor["out_of_support"]
    assert math.isnan(ceiling["exact_kl"])
    assert plain["exact_kl"] < floor["exact_kl"]
    assert plain["perplexity"] < floor["perplexity"]
    assert best["temperature"] == store.provenance(by_kind["best"])["temperature"]["chosen"]
    assert store.provenance(by_kind["expert"])["policy"] is None
    assert store.curves(by_kind["unigram"]).empty
    assert store.controls("small") == 3


def test_a_damaged_policy_is_trained_again_to_the_same_scores(stored: Any, tmp_path: Path) -> None:
    """The first cell trains, the second finds a file with one flipped bit; it ends as where the file was right."""
    found, store, _ = stored
    pair = [found[0], found[2]]
    with Store(f"sqlite:///{tmp_path}/runs.db") as again:
        list(run_grid(pair[:1], again, grid_name="small"))
        (weights,) = tmp_path.glob("policies/*/model.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        events = list(run_grid(pair[1:], again, grid_name="small"))
        assert "train" in {event.stage for event in events}
        assert again.provenance(pair[1].run_id)["trained_by"] == pair[1].run_id
        for cell in pair:
            assert values(again, cell.run_id) == values(store, cell.run_id)
            assert again.rollouts(cell.run_id).equals(store.rollouts(cell.run_id))


# ------------------------------------------------------------------------------------------ beside a loaded model


@pytest.mark.parametrize("backspace", [False, True])
def test_a_control_of_a_loaded_model_reads_no_weights(backspace: bool, tmp_path: Path) -> None:
    """Without them it has the same tokens, and ceiling and floor write and score what they do beside the whole model.

    The floor holds one number a token, and its law is the frequencies whatever the weights are.
    """
    export(tiny_policy(backspace=backspace, dtype="float32"), tmp_path / "m", "")
    whole = Policy.load(tmp_path / "m", 20)
    whole.drop_backspace()
    (tmp_path / "m" / "model.safetensors").unlink()
    splits = Language(length=10, symbols=6, successors=2, train=50, validation=20, test=60).splits()
    model = {"name": str(tmp_path / "m"), "context": 20}
    for kind in CONTROLS:
        sampling = {"rollouts": 10, "length": 8}
        run = RunConfig.model_validate({**BASE, "model": model, "sampling": sampling}).as_control(kind)
        policy = control_policy(run, splits, torch.device("cpu"))
        assert {parameter.device.type for parameter in policy.model.parameters()} == {"meta"}
        assert policy.device == torch.device("cpu")
        assert (policy.space, policy.context, policy.tokenizer_id) == (whole.space, 20, whole.tokenizer_id)
        prompts = choose_prompts(policy, splits.prompts, run.sampling)
        found, expected = (CONTROLS[kind](p, splits, prompts, run, FEATURES) for p in (policy, whole))
        assert len(found.rollouts) == 10
        assert repr(found.rollouts) == repr(expected.rollouts)  # an expert's probabilities are NaN
