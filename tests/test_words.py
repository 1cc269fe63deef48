"""Words that no docstring and no comment may use, read from the source; one breach names file, line and sentence."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from words import PERSONS

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "trainers", "benchmarks", "dashboard")
SOURCES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
FILES = sorted(SOURCES) + sorted((ROOT / "tests").rglob("*.py"))
OPENINGS = re.compile(r"(wh(at|ether|ich|o|om|ose|oever|ere|en|y|atever|ichever)|how|it|they|he|she)\b", re.IGNORECASE)
"""First words that ask or point instead of naming; a docstring opens with a noun phrase or an imperative."""
QUOTED = re.compile(r"``?[^`]*``?|(?<!\w)\"[^\"\n]*\"")
"""Names of code and quoted texts, in which any word may stand."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that stands alone: of modules, classes, functions, constants and fields."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment; a sentence may go on in the next one."""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


def breaches(source: str, persons: bool) -> Iterator[str]:
    """`LINE: the word in its sentence` for every breach of the rules; with `persons`, of the second rule too."""
    for line, text in docstrings(source):
        if found := OPENINGS.match(text.strip()):
            yield f"{line}: a docstring begins with {found[0]!r}: {text.strip().splitlines()[0]}"
    for line, text in (*docstrings(source), *comments(source)) if persons else ():
        for found in PERSONS.finditer(QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)):
            around = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0].strip()
            yield f"{line + text.count(chr(10), 0, found.start())}: {found[0]!r} in: {around}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_words_of_a_file(path: Path) -> None:
    found = [f"{path.relative_to(ROOT)}:{breach}" for breach in breaches(path.read_text(), path in SOURCES)]
    assert not found, "\n".join(found)


def test_the_reader_of_words_sees_every_form() -> None:
    """One breach a line, but for the last two lines, in which the words are quoted or parts of others."""
    source = (
        '"""What a module is."""\n'
        "a = 1  # nobody asks\n"
        "b = 2\n"
        '"""Text.\n\nThe one whom it may concern."""\n'
        "class C:\n"
        '    """ Whether it is."""\n'
        "    def f(self):\n"
        "        '''Unheard-of; it was heard.'''\n"
        '"""Whole texts of `who` and "she said", shown where they belong."""\n'
        "c = 'who'  # the other whole\n"
    )
    assert sorted(int(breach.partition(":")[0]) for breach in breaches(source, persons=True)) == [1, 2, 6, 8, 10]
    assert [int(breach.partition(":")[0]) for breach in breaches(source, persons=False)] == [1, 8]
