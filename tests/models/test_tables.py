"""Vocabulary tables that are not as long as their tokenizers: too short, padded, and with gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from llamas import tiny_llama

from harness.models.export import export
from harness.models.policy import Policy

TEXTS = ["the cat sat on the mat", "a dog ran"] * 5


@pytest.mark.parametrize("added", [["<|user|>"], ["<|user|>", "<|model|>", "zzz"]])
def test_tokens_beyond_the_table_get_rows_and_an_export_has_them(added: list[str], tmp_path: Path) -> None:
    """n rows and n + k tokens: k rows at the mean of the n, `<backspace>` after them, and the same logits exported."""
    folder = tiny_llama(tmp_path / "base", TEXTS, vocab_size=300)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(folder)
    with pytest.warns(UserWarning, match=f"{len(added)} rows were appended"):
        policy = Policy.load(folder, None)
    assert policy.space.size == rows + len(added)
    table = policy.model.get_input_embeddings().weight
    torch.testing.assert_close(table[rows], table[:rows].mean(0))
    policy.add_backspace()
    assert policy.space.backspace_id == rows + len(added)
    export(policy, tmp_path / "out", "card")
    ids = torch.tensor([[policy.start_id, rows, rows + len(added) - 1]])
    alone = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, policy.model(ids).logits)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.convert_tokens_to_ids("<backspace>") == policy.space.backspace_id
    assert Policy.load(tmp_path / "out", None).space == policy.space
