"""Text for a terminal: columns that stand apart, and JSON that shows every script and drives nothing."""

from __future__ import annotations

import json

import pytest

from harness.cli.output import aligned, as_json_line
from harness.errors import did_you_mean


def test_columns_stand_apart_however_long_a_name_is() -> None:
    assert aligned([("paper-arithmetic", "Does it pay?"), ("demo", "A")]) == [
        "paper-arithmetic  Does it pay?",
        "demo              A",
    ]
    assert aligned([("a" * 70, "b", ""), ("", "c", "d")]) == ["a" * 70 + "  b", " " * 72 + "c  d"]
    assert aligned([]) == []


@pytest.mark.parametrize("text", ["naïve", "Привет", "日本語", "😀", 'a"b\\c\n'])
def test_letters_are_shown(text: str) -> None:
    line = as_json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert line == json.dumps({"text": text}, ensure_ascii=False)


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m\x7f", "\u202egnp.exe", "\ud800", "a\u2028b", "\U000e0041"])
def test_what_drives_a_terminal_is_escaped(text: str) -> None:
    line = as_json_line(text)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == text


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    assert as_json_line("é日😀", "latin-1") == '"é\\u65e5\\ud83d\\ude00"'
    assert as_json_line("é", "ascii") == '"\\u00e9"'


MANY = ["perplexity", "mauve", "self_bleu", "diversity", *(f"copied_{n}" for n in range(40))]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("MAUVE", "did you mean 'mauve'?"),
        ("Self-BLEU", "did you mean 'self_bleu'?"),
        ("divversity", "did you mean 'diversity'?"),
        ("ppl", "nearest of 44 known names: perplexity, "),
        ("dvs", "nearest of 44 known names: diversity, "),
        ("mv", "nearest of 44 known names: mauve, "),
    ],
)
def test_an_unknown_name_has_a_nearest_one(given: str, advice: str) -> None:
    assert did_you_mean(given, MANY).startswith(advice)


def test_known_names_are_listed_once() -> None:
    assert did_you_mean("nosuch", ["demo", "demo", "budgets", "demo"]) == "known: budgets, demo"
    assert did_you_mean("x", []) == "known: none"
