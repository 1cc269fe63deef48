"""A real pretrained model on real stories: known likelihoods, and fine-tuning by every trainer through a grid file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from harness import load_policy
from harness.data.splits import load_splits
from harness.evaluation.features import Features
from harness.evaluation.likelihood import likelihood, token_nll
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.metrics.mauve import Mauve
from harness.models.policy import Policy
from harness.records import Evaluation, Example, Rollout, Trajectory
from harness.registry import TRAINERS
from harness.runner.grid import run_grid
from harness.storage.store import Store

Data = Callable[[str], Path]


def stories(data: Data) -> list[str]:
    """The complete stories of the sample; the last one is cut."""
    text = (data("tinystories") / "tinystories_sample.txt").read_text()
    return [story.strip() for story in text.split("<|endoftext|>")[:-1]]


def test_known_likelihood_of_one_sentence(data: Data) -> None:
    """SOURCE.md of stories260K: 31 predictions after the start token sum to 5.591021 nats."""
    policy = Policy.load(data("stories260K") / "hf", 512, "float64")
    sentence = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    nll, masked, count = token_nll(policy, [(1, [policy.start_id, *policy.encode(sentence)])], 512, 256)
    assert count == 31
    assert nll == masked == pytest.approx(5.591021, abs=2e-5)


def test_known_likelihood_of_sixty_stories(data: Data) -> None:
    """Start token + story, cut to 512 ids, the end not scored: 1.2958 nats over 20,424 predictions."""
    policy = Policy.load(data("stories260K") / "hf", 512)
    texts = [[policy.start_id, *policy.encode(story)][:512] for story in stories(data)[:60]]
    nll, _, count = token_nll(policy, [(1, tokens) for tokens in texts], 512, 256)
    assert count == 20_424
    assert nll / count == pytest.approx(1.2958, abs=5e-4)


def test_adding_backspace_leaves_the_masked_likelihood_alone(data: Data) -> None:
    """The new action takes mass from every token alike, so renormalised without it nothing has moved."""
    policy = Policy.load(data("stories260K") / "hf", 512, "float64")
    texts = [(1, [policy.start_id, *policy.encode(story)][:128]) for story in stories(data)[:5]]
    before, _, _ = token_nll(policy, texts, 512, 256)
    policy.add_backspace()
    raw, masked, _ = token_nll(policy, texts, 512, 256)
    assert masked == pytest.approx(before, abs=1e-9)
    assert raw > before


def test_mauve_orders_published_decoders(data: Data) -> None:
    """500 texts each under mean-pooled states of stories260K, in the order published with GPT-2-large.

    Quick values known before this code was written: human halves .97, nucleus .94 to .96, top-k .89 to .91, typical
    .82 to .85, human words shuffled .74; every step down is more than the spread over k-means seeds.
    """
    folder, model = data("webtext-generations"), data("stories260K") / "hf"
    features = Features(None, torch.device("cpu"))
    torch.set_num_threads(1)
    rng = random.Random(0)

    def cases(decoder: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads((folder / f"{decoder}_result.json").read_text(encoding="utf-8"))
        return found

    human = [case["reference_text"] for case in cases("nucleus")]
    written = {name: [case["generated_result"]["0"] for case in cases(name)] for name in ("nucleus", "topk", "typical")}
    written |= {"halves": human[500:], "shuffled": [" ".join(rng.sample(t.split(), len(t.split()))) for t in human]}
    found = {}
    for name, texts in written.items():
        prompts = tuple(Example(text) for text in human[:500])
        rollouts = tuple(Rollout(Trajectory((0,), (1,)), (0.0,), "ended", text, (1,)) for text in texts[:500])
        evaluation = Evaluation(prompts, rollouts, None, 0, features=features)
        found[name] = Mauve(featuriser=str(model), length="free").measure(evaluation)
    value = {name: scores["mauve"] for name, scores in found.items()}
    spread = max(scores["mauve_sd"] for scores in found.values())
    order = ("halves", "nucleus", "topk", "typical", "shuffled")
    for better, worse in pairwise(order[1:]):
        assert value[better] - value[worse] > spread, (better, worse, found)
    known = {"halves": 0.97, "nucleus": 0.95, "topk": 0.90, "typical": 0.835, "shuffled": 0.74}
    assert value == pytest.approx(known, abs=0.035)


GRID = """
question: Does every trainer fine-tune a real pretrained model?
base:
  benchmark:
    name: text
    corpus: {corpus}
    separator: '<\\|endoftext\\|>(?:[^<]*\\Z)?'
    test: 0.02
    validation: 0.02
    prompt_words: 8
    continuation_words: 24
    prompts: 16
  model: {{name: {model}, context: 96}}
  training: {{steps: 50, rows: 4, lr: 1e-3}}
  actions: {{noise_rate: 0.05, noise_kind: unigram}}
  sampling: {{rollouts: 16}}
  metrics: [perplexity, diversity, actions]
grid:
  trainer:
    - mle
    - bc
    - {{name: sequence_match, divergence: chi2_mixture, buffer_fresh: 8, buffer_size: 32}}
    - {{name: sequence_match, divergence: js}}
    - {{name: sequence_match, divergence: chi2, value: reference}}
    - {{name: sequence_match, divergence: kl_data_model, value: logsumexp, bc_end: 0.2}}
  actions.backspace: [false, true]
controls: false
"""


def test_every_trainer_fine_tunes_a_real_model(data: Data, tmp_path: Path) -> None:
    """50 steps each, with and without `<backspace>`: every score is there, and no trainer unlearns the stories.

    The model was trained on such stories for 100,000 steps, so 50 more with warm learning rate cannot help; a loss
    with a wrong sign or weight would raise the perplexity of the test stories without bound.  `<backspace>` starts at
    the average logit, next to nothing in a trained model: injected mistakes must raise it, and stories, which hold
    none, must hardly pay for it.
    """
    path = tmp_path / "stories.yaml"
    path.write_text(
        GRID.format(corpus=data("tinystories") / "tinystories_sample.txt", model=data("stories260K") / "hf")
    )
    torch.set_num_threads(1)
    cells = check(load_grid(str(path)))
    policy = Policy.load(data("stories260K") / "hf", 96)
    splits = load_splits(cells[0].benchmark)
    found = likelihood(policy, splits.test)
    base = math.exp(found.nll / found.tokens)
    policy.add_backspace()
    found = likelihood(policy, splits.test)
    start = (found.nll - found.masked_nll) / found.tokens  # nats per token that the untrained action costs
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        events = list(run_grid(cells, store, grid_name="stories"))
        assert [event.message for event in events if event.stage == "failed"] == []
        assert store.counts()["done"] == 12
        scores = store.scores().pivot(index="run_id", columns="metric", values="value")
    assert scores.notna().all(axis=None)
    assert scores["perplexity"].between(0.9 * base, 1.25 * base).all(), (base, scores["perplexity"])
    paid = (scores["nll_raw"] - scores["nll"])[scores["nll_raw"] != scores["nll"]]  # nats per token
    assert len(paid) == 6
    assert paid.between(10 * start, 0.01).all(), (start, paid)


LORA = """
question: Does every trainer train a LoRA beside a real pretrained model?
base:
  benchmark:
    name: text
    corpus: {corpus}
    test: 0.1
    validation: 0.1
    prompt_words: 8
    continuation_words: 24
    prompts: 8
  model: {{name: {model}, context: 96, lora_r: 4}}
  training: {{steps: 6, rows: 4, lr: 1e-3}}
  actions: {{backspace: true, noise_rate: 0.05, noise_kind: unigram}}
  sampling: {{rollouts: 8}}
  metrics: [perplexity, actions]
grid:
  trainer: [{trainers}]
controls: false
"""


def test_a_lora_of_every_trainer_comes_back_with_the_same_scores(data: Data, tmp_path: Path) -> None:
    """Trained and scored, then scored again with one more metric from what was kept of it: to the last bit the same.

    Folded into the model, as it is exported, it gives the test texts the same likelihood up to rounding.  All that is
    trained has moved, its `<backspace>` row too.
    """
    # not those that another test registered in this process: the cells run in processes of their own
    trainers = ", ".join(name for name in sorted(TRAINERS) if TRAINERS[name].__module__.startswith("trainers."))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f"{json.dumps({'text': story})}\n" for story in stories(data)[:80]))
    text = LORA.format(corpus=corpus, model=data("stories260K") / "hf", trainers=trainers)
    (tmp_path / "lora.yaml").write_text(text)
    torch.set_num_threads(1)
    start = Policy.load(data("stories260K") / "hf", 96).model.get_input_embeddings().weight.mean(0)
    first = check(load_grid(str(tmp_path / "lora.yaml")))
    again = check(load_grid(str(tmp_path / "lora.yaml"), ["metrics=perplexity,actions,length"]))
    assert not {cell.run_id for cell in first} & {cell.run_id for cell in again}
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        for cells in (first, again):
            events = list(run_grid(cells, store, grid_name="lora"))
            assert [event.message for event in events if event.stage == "failed"] == []
        scores = store.scores()
        for one, other in zip(first, again, strict=True):
            facts = store.provenance(other.run_id)
            assert facts is not None
            assert facts["trained_by"] == one.run_id
            kept = {path.name for path in (tmp_path / "policies" / one.train_id).iterdir()}
            assert not kept - {"adapter.safetensors", "value_head.safetensors", "policy.json"}
            before, after = (
                scores[scores["run_id"] == cell.run_id].set_index("name")["value"] for cell in (one, other)
            )
            assert len(before) > 8
            pd.testing.assert_series_equal(after[before.index], before)
            policy = load_policy(one.run_id, store)
            assert not policy.adapted
            found = likelihood(policy, load_splits(one.benchmark).test)
            (nll,) = (before[name] for name in before.index if name.startswith("nll@"))
            assert found.masked_nll / found.tokens == pytest.approx(nll, rel=1e-4)
            moved = load_file(tmp_path / "policies" / one.train_id / "adapter.safetensors")
            assert all(bool(tensor.any()) for tensor in moved.values())  # the matrices B were 0
            (row,) = (tensor for name, tensor in moved.items() if "lora" not in name)
            assert float((row[0] - start.detach()).abs().max()) > 1e-4
