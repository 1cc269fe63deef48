"""Untrusted text made safe to print: nothing in it can control a terminal or reverse the line."""

from __future__ import annotations

import re
import unicodedata

NAMED = {"\n": "↵", "\r": "␍", "\t": "⇥", "\x1b": "␛", "\x00": "␀"}


def printable(text: str) -> str:
    r"""The text on one line, with every invisible character written out.

    Line breaks become `↵` and tabs `⇥`; controls, bidirectional and other invisible format characters, lone
    surrogates, private and unassigned code points, and the separators U+2028 and U+2029 become `\u{HEX}`.  After the
    third combining mark on a letter the rest is written out too, so that marks cannot cover other lines.

    >>> printable("a\x1b[2Jb\n\u202ec")
    'a␛[2Jb↵\\u{202e}c'
    """
    shown = "".join(_shown(character) for character in text)
    return _PILE.sub(lambda found: found[1] + "".join(map(_code, found[2])), shown)


def _shown(character: str) -> str:
    if character in NAMED:
        return NAMED[character]
    unseen = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return _code(character) if unseen else character


def _code(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILE = re.compile(f"({_MARK}{{3}})({_MARK}+)")
