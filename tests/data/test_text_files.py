"""Files of texts: what is read exactly, and which line is refused with which advice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.text_files import as_evaluation, read_prompts, read_texts
from harness.errors import ConfigError, EnvironmentProblem


def written(folder: Path, content: str | bytes, name: str = "texts.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_json_lines_come_back_exactly(tmp_path: Path) -> None:
    """All that JSON can hold stays: line separators that are none, NUL, quotes, spaces at the ends, an empty text."""
    texts = [" a\u2028b\x0bc\x85 ", "", 'say "no"\n\\', "\x00\x1b[2J", "日本語"]
    lines = [json.dumps({"text": text, "prompt": "p", "other": [1]}, ensure_ascii=False) for text in texts]
    path = written(tmp_path, "\ufeff" + "\r\n".join(lines) + "\n\n  \n")
    found = read_texts(path)
    assert found.texts == tuple(texts)
    assert found.prompts == ("p",) * 5
    assert found.references is None


def test_plain_lines_are_texts_and_an_empty_line_is_an_empty_text(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, "a b\r\n\n{}\u2028c\nlast", "t.txt")).texts == ("a b", "", "{}\u2028c", "last")
    assert read_texts(written(tmp_path, "\n", "t.txt")).texts == ("",)


def test_references_stand_on_every_line_or_on_none(tmp_path: Path) -> None:
    path = written(tmp_path, '{"text": "a", "reference": "r"}\n\n{"text": "b", "reference": null}\n')
    with pytest.raises(ConfigError, match=r"line 1 has a reference and line 3 has none; .*--reference FILE"):
        read_texts(path)
    path = written(tmp_path, '{"text": "a"}\n{"text": "b", "reference": ""}\n')
    with pytest.raises(ConfigError, match="line 2 has a reference and line 1 has none"):
        read_texts(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{'text': 'a'}", r"line 2: .* is not JSON \(Expecting property name"),
        (b'["a"]', r'line 2: .* has no "text"; wanted one JSON object a line'),
        (b'{"Text": "a"}', 'line 2: .* has no "text"'),
        (b'{"text": null}', 'line 2: .* has no "text"'),
        (b'{"text": 7}', 'line 2: "text" is 7, not a string'),
        (b'{"text": "a", "reference": ["b"]}', r"line 2: \"reference\" is \['b'\], not a string"),
        (b'{"text": "a", "prompt": "\\ud83d"}', 'line 2: "prompt" holds half of a surrogate pair'),
        (b"[" * 100_000, r"line 2: .* is not JSON \(RecursionError"),
        (b'{"text": ' + b"9" * 5_000 + b"}", r"line 2: .* is not JSON \(ValueError"),
        (b'{"text": "\xff"}', "line 2 is not UTF-8"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wanted(line: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        read_texts(written(tmp_path, b'{"text": "fine"}\n' + line + b"\n"))
    assert len(str(refused.value)) < 500


def test_nothing_is_not_a_set_of_texts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='holds no text; wanted one JSON object a line with "text"'):
        read_texts(written(tmp_path, "\n\n"))
    with pytest.raises(ConfigError, match="holds no text; wanted one text a line"):
        read_texts(written(tmp_path, "", "t.txt"))
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(EnvironmentProblem, match="cannot be read"):
            read_texts(path)


def test_references_are_pairs_when_there_are_as_many(tmp_path: Path) -> None:
    """Two texts: two references belong to them line by line, three are a set, and none are none."""
    file = read_texts(written(tmp_path, "a\nb\n", "t.txt"))
    two, three, none = (as_evaluation(file, given) for given in (["r", "s"], ["r", "s", "t"], None))
    assert two.in_pairs
    assert [(prompt.text, text) for prompt, text in zip(two.prompts, two.texts, strict=True)] == [
        ("r", "a"),
        ("s", "b"),
    ]
    assert not three.in_pairs
    assert three.references == ("r", "s", "t")
    assert none.references == ()
    assert two.rollouts == ()
    assert two.texts_hash == three.texts_hash


# -------------------------------------------------------------------------------------------------------- prompts


def test_prompts_come_from_lines_or_from_objects(tmp_path: Path) -> None:
    """An empty line is an empty prompt of a .txt and nothing of a .jsonl; other fields are not looked at."""
    (tmp_path / "p.txt").write_text("one\n\ntwo \n")
    assert read_prompts(tmp_path / "p.txt") == ("one", "", "two ")
    (tmp_path / "p.jsonl").write_text('{"prompt": "one", "text": 3}\n\n{"prompt": ""}\r\n')
    assert read_prompts(tmp_path / "p.jsonl") == ("one", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{"text": "b"}\n', 'line 2: .* has no "prompt"; wanted one JSON object a line with "prompt"'),
        ('{"prompt": 3}\n', 'line 1: "prompt" is 3, not a string'),
        ("once\n", "line 1: 'once' is not JSON"),
        ("\n", "holds no prompt"),
        ('{"prompt": "\\ud800"}\n', "half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_prompts(tmp_path / "p.jsonl")
