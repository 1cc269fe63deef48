"""Pages of the project: their links lead somewhere, and no merge was left half done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from words import PERSONS

ROOT = Path(__file__).parent.parent
PARTS = ("harness", "trainers", "benchmarks", "dashboard", "tests", "results")
PAGES = sorted([*ROOT.glob("*.md"), *(page for part in PARTS for page in (ROOT / part).rglob("*.md"))])
WRITTEN = sorted([*PAGES, *(path for part in PARTS for path in (ROOT / part).rglob("*.yaml"))])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
MARK = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_pages() -> None:
    assert {"README.md", "results/README.md", "trainers/README.md", "benchmarks/grids/demo.yaml"} <= set(
        map(name, WRITTEN)
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert "://" in target or (page.parent / target).exists(), f"{name(page)} links to {target}, which is not there"


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_no_merge_is_half_done(path: Path) -> None:
    found = MARK.search(path.read_text())
    assert found is None, f"{name(path)} holds the mark {found and found[0]!r} of two versions"


def test_a_mark_and_a_link_would_be_noticed() -> None:
    assert MARK.search("a\n<<<<<<< HEAD\nb")
    assert MARK.search("=======\n")
    assert not MARK.search("a ======= b\n========\n")
    assert LINK.findall("[a](b/c.md#d) ![e](f.png)") == ["b/c.md", "f.png"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_the_thing(page: Path) -> None:
    """The worker, the supervisor, the caller, the reader: a program is no person."""
    found = [line for line in page.read_text().splitlines() if PERSONS.search(line)]
    assert found == [], f"{name(page)} speaks of a person: {found[0]}"
