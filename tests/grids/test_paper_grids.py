"""The paper's recipes, as written but for their size, on a tiny Llama of the same shape: a few steps to scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from llamas import tiny_llama

from benchmarks.arithmetic import Arithmetic
from benchmarks.corpora import python_docs
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.runner.grid import run_grid
from harness.storage.store import Store

WRITTEN = ["model.quantised=null", "lora_r=4", "rows=4", "accumulation=2", "steps=3", "seeds=1"]
BUFFER = ["trainer.buffer_size=8", "trainer.buffer_fresh=4"]


@pytest.mark.parametrize("name", ["paper-text", "paper-arithmetic"])
def test_the_recipe_is_the_papers(name: str) -> None:
    """The paper's settings stand in every cell that they concern."""
    cells = load_grid(name).expand()
    for cell in cells:
        model = cell.model
        assert (model.name, model.lora_r, model.quantised) == ("meta-llama/Llama-2-7b-hf", 64, "nf4")
        assert (model.dtype, model.gradient_checkpointing) == ("bfloat16", True)
        trainer = cell.trainer.options
        if cell.trainer.name == "sequence_match":
            assert (trainer["divergence"], trainer["alpha"], trainer["gamma"]) == ("chi2_mixture", 0.01, 0.998)
            assert (trainer["value"], trainer["bc_start"], trainer["bc_end"]) == ("logsumexp", 1.0, 0.2)
            assert (trainer["bc_over"], trainer["rollout_start"]) == (0.2, "prompt")
    deletes = {(cell.trainer.name, cell.actions.backspace) for cell in cells}
    assert {("mle", False), ("mle", True), ("sequence_match", True)} <= deletes
    rates = {cell.actions.noise_rate for cell in cells if cell.actions.backspace}
    assert rates == ({0.001} if name == "paper-text" else {0.01, 0.05, 0.1, 0.2})


def computed(name: str, folder: Path, *overrides: str) -> dict[str, set[str]]:
    """The metrics that each trainer's cells have values for."""
    grid = load_grid(name, [f"model.name={folder / 'llama'}", *WRITTEN, *BUFFER, *overrides])
    cells = check(replace(grid, controls=False))  # the benchmark's reference model would take a minute
    with Store(f"sqlite:///{folder}/runs.db") as store:
        events = list(run_grid(cells, store, grid_name=name))
        assert [event.message for event in events if event.stage == "failed"] == []
        runs = store.runs(name).set_index("run_id")["trainer.name"]
        scores = store.scores(name)
        assert scores.groupby("run_id").ngroups == len(cells)
        for run_id in runs.index:
            facts = store.provenance(run_id)
            assert facts is not None
            # 7 layers of 2 blocks, r (in + out) each: the attention's 4 of 32 to 32, the MLP's 3 of 32 and 86
            lora = 2 * (4 * 4 * 64 + 3 * 4 * 118)
            rows = 64 if store.config(run_id).actions.backspace else 0  # in and out: the head is untied
            assert facts["parameters"] == lora + rows
    valued = scores[scores["value"].notna()]
    return {name: set(valued.loc[valued["run_id"].map(runs) == name, "metric"]) for name in set(runs)}


def test_the_recipe_for_text_runs(tmp_path: Path) -> None:
    documents = [text[:600] for text in python_docs()[::8]]
    (tmp_path / "corpus.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in documents))
    tiny_llama(tmp_path / "llama", documents, context=96)
    small = ["context=96", "test=0.3", "validation=0.1", "prompt_words=4", "continuation_words=8"]
    found = computed(
        "paper-text", tmp_path, f"corpus={tmp_path / 'corpus.jsonl'}", *small, "rollouts=8", "sampling.length=12",
        "metrics=perplexity,diversity,actions",
    )  # fmt: skip
    for name in ("mle", "sequence_match"):
        assert {"perplexity", "diversity", "backspace_rate"} <= found[name]


def test_the_recipe_for_arithmetic_runs(tmp_path: Path) -> None:
    """Its tokenizer puts a space before a text, and joins letters: answers and wrong digits are told in their place."""
    small = ["benchmark.train=40", "validation=8", "test=8"]
    splits = Arithmetic(train=40, validation=8, test=8).splits()
    tiny_llama(tmp_path / "llama", [example.prompt + example.text for example in splits.train], context=192)
    found = computed(
        "paper-arithmetic", tmp_path, *small, "rollouts=8", "noise_rate=0.2", "noise_kind=ground_truth",
        "metrics=exact_match,corrupted_match,perplexity",
    )  # fmt: skip
    for name in ("mle", "sequence_match"):
        assert {"exact_match", "exact_match_corrupted_1", "perplexity"} <= found[name]
