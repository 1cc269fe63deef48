"""Hostile text is shown and never obeyed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.system.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve 日本 😀 [red]x[/red]", "plain text, naïve 日本 😀 [red]x[/red]"),
        ("\x1b]0;title\x07\x1b[31m", "␛]0;title\\u{7}␛[31m"),
        ("\x9b2J\x7f\x00", "\\u{9b}2J\\u{7f}␀"),  # U+009B starts a control sequence in one character
        ("a\r\nb\tc\u2028d", "a␍↵b⇥c\\u{2028}d"),
        ("user\u202etxt.exe\u2069", "user\\u{202e}txt.exe\\u{2069}"),
        ("a\ud800b", "a\\u{d800}b"),
        ("a\u200b\ufeff\U000e0041", "a\\u{200b}\\u{feff}\\u{e0041}"),
        ("e" + "\u0301" * 5, "e" + "\u0301" * 3 + "\\u{301}" * 2),
    ],
)
def test_what_is_not_meant_to_be_seen_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_nothing_unprintable_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.encode("utf-8").decode() == shown
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
