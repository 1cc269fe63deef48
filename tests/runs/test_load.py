"""Trained policies outside of the harness: a folder for transformers alone, and the same texts from everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_policies import tiny_policy
from typer.testing import CliRunner

from harness import load_policy
from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.cli.app import app
from harness.config.model import ModelConfig
from harness.errors import ConfigError, EnvironmentProblem, StoreError, UnknownName
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.models import pretrained
from harness.models.export import export
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.records import Trajectory
from harness.runner.grid import run_grid
from harness.storage.store import Store
from harness.system.model_files import content_of

GRID = """
question: What comes out of a run?
base:
  benchmark: {name: language, length: 8, train: 100, validation: 8, test: 8}
  model: {name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 12, base_steps: 20}
  training: {steps: 6, rows: 8, lr: 3e-3}
  actions: {noise_rate: 0.2, noise_kind: ground_truth}
  sampling: {rollouts: 4}
  metrics: [actions]
zip:
  trainer: [mle, bc, sequence_match, mle, mle, bc]
  actions.backspace: [false, true, true, false, false, true]
  model.lora_r: [null, null, 2, null, null, 2]
  model.dtype: [float32, float32, float32, float32, float32, bfloat16]
  model.name: [gpt2, gpt2, gpt2, llama, gpt2, llama]
  training.scope: [full, full, full, head, full, full]
  training.steps: [6, 6, 6, 6, 0, 6]
controls: false
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "out.yaml").write_text(GRID)
    with Store(f"sqlite:///{folder}/runs.db") as opened:
        list(run_grid(check(load_grid(str(folder / "out.yaml"))), opened, grid_name="out"))
        assert opened.counts()["done"] == 6
        yield opened


@pytest.fixture(scope="module")
def runs(store: Store) -> dict[str, str]:
    """Run ids by the kind of run."""
    return dict(zip(("plain", "deletes", "lora", "untied", "found", "half"), store.runs("out")["run_id"], strict=True))


def shell(store: Store, *args: str, code: int = 0) -> Any:
    result = CliRunner(env={"HARNESS_STORE": store.url, "COLUMNS": "150"}).invoke(app, list(args))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def logits(policy: Policy, texts: list[list[int]]) -> list[list[float]]:
    """Logits of the next action after each text, by way of our own batches."""
    rows = [Trajectory((text[0],), (*text[1:], policy.end_id)) for text in texts]
    batch = pack(rows, policy.space, Weighting(kind="uniform"))
    with torch.no_grad():
        hidden = policy.state_hidden(batch)
        at = [hidden[i, len(text) - 1] for i, text in enumerate(texts)]
        return [policy.logits(h, torch.tensor(True)).tolist() for h in at]


ALONE = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

found = []
for folder, texts in json.loads(sys.argv[1]):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = [model(torch.tensor([text])).logits[0, -1].tolist() for text in texts]
    named = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<backspace>",)}
    deleted = [token for token in named.values() if token is not None and token < len(tokenizer)]
    text = tokenizer.decode([*texts[-1], *deleted], skip_special_tokens=True)
    found.append([logits, len(tokenizer), named, text])
assert not any(name.partition(".")[0] in ("harness", "trainers", "benchmarks", "peft") for name in sys.modules)
print(json.dumps(found))
"""


def test_transformers_alone_gives_the_same_logits(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    """In a fresh process that imports nothing of ours; `<backspace>` is the last row's name, and has no text."""
    asked, expected = [], []
    for name, run_id in runs.items():
        shell(store, "export-model", run_id[:8], str(tmp_path / name))
        policy = load_policy(run_id, store)
        one, other, *_ = sorted(set(range(policy.space.size)) - policy.space.unwritable)
        texts = [[policy.start_id], [policy.start_id, one], [policy.start_id, other, one, one]]
        asked.append((str(tmp_path / name), texts))
        backspace = policy.space.backspace_id
        expected.append((logits(policy, texts), policy.space.size, backspace, policy.decode(texts[-1])))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(asked)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    for (ours, size, backspace, text), (theirs, known, named, decoded) in zip(
        expected, json.loads(done.stdout), strict=True
    ):
        assert torch.allclose(torch.tensor(theirs), torch.tensor(ours), atol=1e-5)
        assert known == size
        assert decoded == text
        if backspace is not None:
            assert named == {"<backspace>": backspace}
            assert backspace == size - 1


def test_a_run_its_folder_and_python_write_the_same(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    """The same seed gives the same actions, from the command line as from Python, 3 continuations of each prompt."""
    prompts = ["", "a", "ab", "ba"]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps({'prompt': p, 'id': 1})}\n" for p in prompts))
    (tmp_path / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
    options = ("--n", "3", "--seed", "5", "--top-p", "0.9", "--max-length", "6")
    deleted = 0
    for name, run_id in runs.items():
        folder = tmp_path / name
        shell(store, "export-model", run_id, str(folder))
        ours = load_policy(run_id, store).sample(prompts, seed=5, n=3, top_p=0.9, length=6)
        by_run = shell(store, "generate", run_id[:10], "--prompts", str(tmp_path / "prompts.jsonl"), *options).stdout
        shell(store, "generate", str(folder), "--prompts", str(tmp_path / "prompts.txt"), *options, "--out",
              str(tmp_path / "out.jsonl"))  # fmt: skip
        rows = [json.loads(line) for line in by_run.splitlines()]
        assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
        assert [row["prompt"] for row in rows] == [prompt for prompt in prompts for _ in range(3)]
        wanted = [(r.text, list(r.tokens), list(r.pieces), r.stop) for r in ours]
        assert [(row["text"], row["tokens"], row["actions"], row["stop"]) for row in rows] == wanted
        deleted += sum(row["actions"].count("<backspace>") for row in rows)
    assert deleted > 0


def test_no_backspace_is_the_renormalised_policy(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a\n" * 20)
    args = ("generate", runs["deletes"], "--prompts", str(tmp_path / "prompts.txt"), "--temperature", "3")
    with_it, without = (shell(store, *args, *more).stdout for more in ([], ["--no-backspace"]))
    assert "<backspace>" in with_it
    assert "<backspace>" not in without
    policy = load_policy(runs["deletes"], store)
    texts = [[policy.start_id, *policy.encode("ab")]]
    before = torch.tensor(logits(policy, texts)[0])[:-1].log_softmax(-1)
    policy.drop_backspace()
    assert torch.allclose(torch.tensor(logits(policy, texts)[0]).log_softmax(-1), before, atol=1e-6)


def test_the_card_says_what_it_is_and_its_code_runs(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    about = {
        "plain": "| mle, ",
        "deletes": "| bc, ",
        "lora": "rank 2",
        "found": "none: the model",
        "half": "is float32",
    }
    for name, sentence in about.items():
        shell(store, "export-model", runs[name], str(tmp_path / name))
        text = (tmp_path / name / "README.md").read_text()
        assert runs[name] in text
        assert sentence in text
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if name in ("plain", "deletes"):  # two interpreters that load torch are enough
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path / name)
            assert done.returncode == 0, done.stderr
            assert re.fullmatch("[a-h]*\n", done.stdout)


def test_an_exported_policy_keeps_its_action_and_its_tokenizers_name(
    store: Store, runs: dict[str, str], tmp_path: Path
) -> None:
    """The name of the tokenizer stands in every likelihood's name: exporting must not make another column."""
    shell(store, "export-model", runs["deletes"], str(tmp_path / "m"))
    ours, theirs = load_policy(runs["deletes"], store), load_policy(tmp_path / "m")
    assert theirs.space == ours.space
    assert theirs.tokenizer_id == ours.tokenizer_id
    assert theirs.context == ours.context == 12
    assert theirs.encode("ab<backspace>") == ours.encode("ab<backspace>")


def test_a_directory_that_holds_something_is_left_alone(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.tex").write_text("years of work")
    (tmp_path / "m" / "model-00001-of-00002.safetensors").write_text("another model's")
    refused = shell(store, "export-model", runs["plain"], str(tmp_path / "m"), code=3)
    assert "not empty; give another directory, or --overwrite" in refused.stderr
    shell(store, "export-model", runs["plain"], str(tmp_path / "m"), "--overwrite")
    assert (tmp_path / "m" / "thesis.tex").read_text() == "years of work"
    assert [path.name for path in (tmp_path / "m").glob("*.safetensors")] == ["model.safetensors"]
    assert "is a file" in shell(store, "export-model", runs["plain"], str(tmp_path / "m" / "thesis.tex"), code=3).stderr


def test_what_cannot_be_used_is_told_why(store: Store, runs: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(store.folder, folder)
    with Store(f"sqlite:///{folder}/runs.db") as broken:
        shutil.rmtree(folder / "policies")
        with pytest.raises(StoreError, match=r"its policy is not in .*policies.*train it again"):
            load_policy(runs["plain"], broken)
        assert load_policy(runs["found"], broken).context == 12  # nothing was trained, so nothing is missing
        cells = check(load_grid(str(store.folder / "out.yaml")).override(["lr=0.5"]))
        broken.enqueue("out", cells)
        with pytest.raises(StoreError, match="is not finished"):
            load_policy(cells[0].run_id, broken)
        control = cells[0].as_control("unigram")
        broken.enqueue("out", [control])
        with pytest.raises(StoreError, match="control 'unigram', which trains no policy"):
            load_policy(control.run_id, broken)
    with pytest.raises(UnknownName, match="no run id begins with 'ffff'"):
        load_policy("ffff", store)
    with pytest.raises(EnvironmentProblem, match="no run id, which is hexadecimal, and no model"):
        load_policy("./nowhere", store)


def test_a_row_that_pads_the_vocabulary_keeps_its_place(tmp_path: Path) -> None:
    """269 tokens in a table of 280 rows, as models have for speed: `<backspace>` is row 280, so 11 rows get names."""
    config = ModelConfig(name="gpt2", layers=1, width=16, heads=2, vocab_size=270, context=16)
    policy = Policy.build(config, byte_level_bpe(["the cat sat on the mat"] * 20, 270))
    policy.model.resize_token_embeddings(280)
    padded = Policy(policy.model, policy.tokenizer, 16)
    name = padded.tokenizer_id
    padded.add_backspace()
    assert padded.space.backspace_id == 280
    export(padded, tmp_path / "m", "")
    again = load_policy(tmp_path / "m")
    assert again.space == padded.space
    assert again.tokenizer_id == name
    assert len(again.tokenizer) == 281
    assert logits(again, [[0, 5, 7]]) == logits(padded, [[0, 5, 7]])
    assert len(padded.tokenizer) == 269  # the exported policy itself has not changed


def test_a_tokenizer_with_a_backspace_of_its_own_is_refused(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.tokenizer.add_tokens(["<other>", "<backspace>"])
    with pytest.raises(ConfigError, match="a tokenizer that has this token from elsewhere"):
        export(policy, tmp_path / "m", "")


def test_a_directory_is_known_by_its_content(tmp_path: Path) -> None:
    tiny_policy(backspace=False).save(tmp_path / "m")
    before = content_of(tmp_path / "m")
    assert re.fullmatch("[0-9a-f]{12}", before)
    config = ModelConfig(name=str(tmp_path / "m"), context=24, revision=before)
    assert Policy.start(config, None).context == 24
    tiny_policy(backspace=False, seed=1).save(tmp_path / "m")
    with pytest.raises(EnvironmentProblem, match=rf"wanted {before}: the directory has changed"):
        Policy.start(config, None)
    found = pretrained.known(tmp_path / "m")
    assert (found.context, found.backspace, found.dtype) == (24, False, "float64")
