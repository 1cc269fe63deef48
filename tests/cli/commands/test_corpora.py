"""`harness plan` reads a corpus as a run would: what is wrong with it is an error, what is odd about it a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

GRID = """
question: Is the corpus fit to run?
base:
  benchmark: {{name: text, corpus: {corpus}, prompt_words: 2, continuation_words: 4, test: 0.2, validation: 0.2}}
  training: {{steps: 2}}
  metrics: [length]
grid:
  trainer: [mle, bc]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def planned(shell: Shell, corpus: Path, code: int, *overrides: str) -> str:
    """Standard error of `plan`, whose standard output stays JSON."""
    grid = shell.folder / "mine.yaml"
    grid.write_text(GRID.format(corpus=corpus))
    result = shell("plan", str(grid), *overrides, "--json", code=code)
    assert code or json.loads(result.stdout)["cells"]
    return str(result.stderr)


def test_a_line_that_is_no_text_is_refused_by_plan(shell: Shell) -> None:
    corpus = shell.folder / "c.jsonl"
    lines = [json.dumps({"text": f"document {n} of some seven words"}) for n in range(30)]
    corpus.write_text("\n".join([*lines, '{"text": "half \\ud83d"}']))
    said = planned(shell, corpus, 2)
    assert f'{corpus}, line 31: "text" holds half of a surrogate pair' in said


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_null_texts_are_a_note_once_or_an_error(shell: Shell, ending: str) -> None:
    corpus = shell.folder / f"c{ending}"
    texts = [*(f"document {n} of some seven words" for n in range(30)), None]
    rows = [json.dumps({"text": text}) for text in texts]
    corpus.write_text("\n".join(rows) if ending == ".jsonl" else f"[{','.join(rows)}]")
    assert planned(shell, corpus, 0).count("note: ") == 1
    assert "null texts left out: 1 of 31, the first at" in planned(shell, corpus, 0)
    assert "the text is null" in planned(shell, corpus, 2, "on_null=error")


def test_a_file_of_lines_says_so(shell: Shell) -> None:
    corpus = shell.folder / "c.txt"
    corpus.write_text("\n".join(f"document {n} of some seven words" for n in range(30)))
    assert "if each line is a document, set benchmark.separator=line" in planned(shell, corpus, 2)
    assert planned(shell, corpus, 0, "separator=line") == ""
