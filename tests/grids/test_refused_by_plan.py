"""Faults of a configuration are refused with the grid, in the words in which every cell would fail in a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from shell import TINY, Shell

from harness.cli.arguments import asked_cells
from harness.errors import HarnessError
from harness.grids.check import check
from harness.grids.grid import Grid
from harness.grids.yaml_file import Document
from harness.models import pretrained
from harness.models.tokenizers import byte_level_bpe, characters
from harness.runner.run import run as compute
from harness.training.resume import Attempt

LANGUAGE = {"name": "language", "train": 16, "validation": 4, "test": 4, "length": 12}
SMALL = {"layers": 1, "width": 8, "heads": 1, "base_steps": 1}
LETTERS = {**SMALL, "tokenizer": "characters"}


def saved(folder: Path, tokenizer: Any, **changes: Any) -> str:
    """A small random model with this tokenizer, in a directory."""
    end = tokenizer.eos_token_id
    options = {"bos_token_id": end, "eos_token_id": end, "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}
    config = transformers.GPT2Config(vocab_size=len(tokenizer), **(options | changes))
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose tokens join letters, one that knows letters alone, and one of letters that names no end."""
    folder = tmp_path_factory.mktemp("models")
    letters = pretrained.wrapped(characters(["abcdefghijklmnopqrstuvwxyz "]))
    saved(folder / "joins", pretrained.wrapped(byte_level_bpe(["abcabcabc", "12 + 30 = 42"] * 9, 270)))
    saved(folder / "letters", letters)
    endless = transformers.PreTrainedTokenizerFast(tokenizer_object=characters(["abcdefgh"]))
    saved(folder / "endless", endless, eos_token_id=None)
    (folder / "corpus.txt").write_text("\n\n".join(f"{'word ' * 30}{'abcdefgh'[n % 8] * n}" for n in range(40)))
    return folder


def grid(models: Path, **base: Any) -> Grid:
    fast = {"trainer": "mle", "training": {"steps": 1, "rows": 2}, "sampling": {"rollouts": 4}, "metrics": ["length"]}
    if "name" in base.get("model", {}):
        base["model"]["name"] = str(models / base["model"]["name"])
    if "corpus" in base["benchmark"]:
        base["benchmark"]["corpus"] = str(models / base["benchmark"]["corpus"])
    return Grid.read(Document({"base": {**fast, **base}, "controls": False}, "test"), "test")


CORPUS = {"name": "text", "corpus": "corpus.txt", "prompt_words": 4, "continuation_words": 8, "validation": 0.2}
ARITHMETIC = {"name": "arithmetic", "train": 16, "validation": 4, "test": 4}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "joined letters, an exact law": (
        {"benchmark": LANGUAGE, "model": {"name": "joins", "context": 32}},
        "this benchmark's law is over characters; use tokenizer: characters",
    ),
    "unknown digits, questions": (
        {"benchmark": ARITHMETIC, "model": {"name": "letters", "context": 64}},
        "use a model of characters or bytes",
    ),
    "a loaded model's prompts": (
        {"benchmark": CORPUS, "model": {"name": "letters", "context": 16}},
        "prompts leave half of it free, wanted at least 2",
    ),
    "a loaded model's context and a law": (
        {"benchmark": LANGUAGE, "model": {"name": "letters", "context": 12}},
        "model.context=12: texts need 14 with start and end",
    ),
    "no end": ({"benchmark": LANGUAGE, "model": {"name": "endless", "context": 32}}, "this tokenizer has no end token"),
    "tokens to be joined, an exact law": (
        {"benchmark": LANGUAGE, "model": {**SMALL, "context": 32}},
        "this benchmark's law is over characters; use tokenizer: characters",
    ),
    "context and a law": (
        {"benchmark": LANGUAGE, "model": {**LETTERS, "context": 12}},
        "model.context=12: texts need 14 with start and end",
    ),
    "prompts": (
        {"benchmark": CORPUS, "model": {**LETTERS, "context": 16}},
        "prompts leave half of it free, wanted at least 2",
    ),
    "validation prompts": (
        {
            "benchmark": CORPUS,
            "model": {**LETTERS, "context": 16},
            "evaluation": {"split": "validation"},
        },
        "prompts leave half of it free, wanted at least 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cell_that_would_fail_is_refused_in_the_same_words(fault: str, models: Path, tmp_path: Path) -> None:
    base, words = FAULTS[fault]
    asked = grid(models, **{key: dict(value) for key, value in base.items()})
    with pytest.raises(HarnessError) as refused:
        check(asked, tmp_path)
    assert words in str(refused.value)
    cell = asked.expand()[0]
    with pytest.raises(HarnessError) as failed:
        list(compute(cell, torch.device("cpu"), Attempt(cell.run_id, 1, tmp_path)))
    assert str(refused.value) == str(failed.value)


def test_what_fits_is_asked_once(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second check of equal questions reads no tokenizer; another context is another question."""
    model = {"name": "letters", "context": 32}
    check(grid(models, benchmark=LANGUAGE, model=dict(model)), tmp_path)
    assert len(list((tmp_path / "cache" / "probes").glob("fits-*"))) == 1
    monkeypatch.setattr(pretrained, "outline", None)
    check(grid(models, benchmark=LANGUAGE, model=dict(model)), tmp_path)
    with pytest.raises(TypeError):
        check(grid(models, benchmark=LANGUAGE, model={**model, "context": 31}), tmp_path)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("*.safetensors", "the directory has no weights: there is no *.safetensors or "),
        ("tokenizer*", "the directory has no tokenizer: there is no tokenizer* or "),
        ("config.json", "the directory has no config.json"),
    ],
)
@pytest.mark.parametrize("as_what", ["model.name", "featuriser"])
def test_a_directory_that_lacks_a_file_is_refused(
    as_what: str, missing: str, words: str, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "letters", tmp_path / "letters")
    for path in (tmp_path / "letters").glob(missing):
        path.unlink()
    shell = Shell(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    changes = [f"metrics=mauve@mauve-text[featuriser={tmp_path / 'letters'}]"]
    if as_what == "model.name":
        scratch = ("width", "layers", "heads", "tokenizer", "base_steps")
        changes = [f"model.name={tmp_path / 'letters'}", *(f"model.{key}=null" for key in scratch)]
    for verb in ("plan", "run"):
        said = shell(verb, f"{tmp_path}/tiny.yaml", *changes, code=3).output
        assert f"{as_what}='{tmp_path / 'letters'}' cannot be loaded: {words}" in said


def test_a_model_out_of_reach_is_noted_by_plan_and_refused_by_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    shell = Shell(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    asked = (f"{tmp_path}/tiny.yaml", "metrics=mauve@mauve-text[featuriser=me/nosuch]")
    words = "featuriser='me/nosuch' cannot be loaded: no such directory, no copy of a Hub model of this name is here"
    assert f"note: {words}" in shell("plan", *asked).stderr
    assert words in shell("run", *asked, code=3).stderr


@pytest.mark.parametrize("changes", [[], ["lr=0.1,0.2"], ["seeds=3"]])
def test_a_grid_is_expanded_once(changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By run, too, which looks for the models of the Hub before the cells are checked."""
    counted, looked, expand = [], [], Grid.expand
    monkeypatch.setattr(Grid, "expand", lambda self: counted.append(self) or expand(self))
    (tmp_path / "tiny.yaml").write_text(TINY)
    url = f"sqlite:///{tmp_path}/none.db"
    _, cells = asked_cells(f"{tmp_path}/tiny.yaml", changes, None, None, url, before=looked.extend)
    assert (len(counted), looked) == (1, cells)
