"""Texts damaged on purpose by hand, and a whole table from a small corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.config.model import ModelConfig
from harness.evaluation.sensitivity import DAMAGES, copied

TEXT = " one two\n three four five"


def damaged(name: str, text: str) -> str:
    return DAMAGES[name](text, np.random.default_rng(0))


def test_damages_by_hand() -> None:
    """Five words: half of them are 3, a third are 2; shuffling moves words only, whitespace stays where it was."""
    assert damaged("intact", TEXT) == TEXT
    assert damaged("truncated", TEXT) == " one two\n three"
    assert damaged("repeated", TEXT) == " one two one two one"
    moved = damaged("shuffled", TEXT)
    assert sorted(moved.split()) == sorted(TEXT.split())
    assert [part for part in moved if part.isspace()] == [" ", " ", "\n", " ", " ", " "]
    assert moved != TEXT


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_text_without_words_has_nothing_to_damage(name: str) -> None:
    assert damaged(name, "") == ""
    assert damaged(name, " \n") == " \n"
    assert damaged(name, "a") == "a"


def test_a_copy_is_a_passage_of_a_training_text() -> None:
    """Three words are wanted, which only the second text has; of five words there is only all of it."""
    train = ["a b", "c d  e f"]
    for seed in range(20):
        assert copied("x y z", train, np.random.default_rng(seed)) in ("c d  e", "d  e f")
    assert copied("1 2 3 4 5", train, np.random.default_rng(0)) == "c d  e f"
    assert copied("", train, np.random.default_rng(0)) == ""


def test_a_table_from_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating raises rep_4, copying copies all of it, shuffling leaves the entropy of single words alone."""
    tiny = ModelConfig(name="gpt2", layers=1, width=16, heads=2, vocab_size=300, base_steps=2, base_rows=2, context=96)
    monkeypatch.setattr("harness.training.base_model.REFERENCE_MODEL", tiny)
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "bdfg" for b in "aeiou"]
    lines = [" ".join(rng.choice(words, 30)) for _ in range(60)]
    (tmp_path / "corpus.txt").write_text("\n\n".join(lines))
    command = ["sensitivity", "text", f"corpus={tmp_path}/corpus.txt", "test=0.3", "prompt_words=4"]
    command += ["continuation_words=20", "--metrics", "rep_4,copied_8,ngram_entropy,length,mauve"]
    environment = {"HARNESS_STORE": f"sqlite:///{tmp_path}/r/runs.db"}

    result = CliRunner(env=environment).invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["texts"] >= 8
    value = {name: {one["metric"]: one["value"] for one in row} for name, row in found["scores"].items()}
    assert list(value) == [*DAMAGES, "copied", "temperature 1", "temperature 1.5"]
    assert value["repeated"]["rep_4"] > 0.4 > value["intact"]["rep_4"]
    assert value["copied"]["copied_8"] == 1
    assert value["intact"]["copied_8"] == 0
    assert value["shuffled"]["ngram_entropy"] == pytest.approx(value["intact"]["ngram_entropy"])
    assert value["truncated"]["length"] == pytest.approx(value["intact"]["length"] / 2, abs=0.5)
    assert value["intact"]["mauve"] is not None

    table = CliRunner(env=environment).invoke(app, command).stdout
    assert table.startswith("| score | intact | shuffled | truncated | repeated | copied | temperature 1 |")
    assert f"| `copied_8` | {value['intact']['copied_8']:.4g} |" in table

    wrong = CliRunner(env=environment).invoke(app, ["sensitivity", "text", "corpus", "--metrics", "rep_4"])
    assert wrong.exit_code == 2
    assert "write the benchmark's options as corpus=FILE" in wrong.stderr
