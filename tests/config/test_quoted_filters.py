"""Quotes hold a value together in filters, filter boxes and names of scores, as they do in overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.analysis.filters import parse_filter, split_list
from harness.report.leaderboard_table import matches
from harness.storage.queries import Run, ScoreName, Seeds
from harness.system.model_files import model_id


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('corpus="d/a,b.jsonl", trainer=mle', ['corpus="d/a,b.jsonl"', "trainer=mle"]),
        ("corpus!='d/a,b.jsonl',lr=1e-3", ["corpus!='d/a,b.jsonl'", "lr=1e-3"]),
        ('corpus in "a,b"|"c,d", trainer=bc', ['corpus in "a,b"|"c,d"', "trainer=bc"]),
        ("corpus in 'it''s, a'|b , lr=1", ["corpus in 'it''s, a'|b", "lr=1"]),
        ("trainer=bc, alpha in 0.01|0.1", ["trainer=bc", "alpha in 0.01|0.1"]),
    ],
)
def test_a_filter_box_is_split_at_commas_outside_quotes(text: str, parts: list[str]) -> None:
    assert split_list(text) == parts


@pytest.mark.parametrize(
    ("corpus", "text"),
    [
        ("d/a,b.jsonl", 'corpus="d/a,b.jsonl"'),
        ("a|b", 'corpus in "a|b"|c'),
        ("it's", "corpus='it''s'"),
        ('say "x"', r'corpus="say \"x\""'),
        ("plain", "corpus = plain"),
    ],
)
def test_a_quoted_value_is_the_value(corpus: str, text: str) -> None:
    runs = [
        Run(name, name, "done", "d", {"benchmark.corpus": name}, Seeds(0, 0, 0), None, None, None)
        for name in (corpus, "c", "other")
    ]
    found = parse_filter(text, runs, ["benchmark.corpus"])
    assert found(runs[0])
    assert not found(runs[2])


def test_a_score_is_found_by_the_featuriser_as_it_was_typed(tmp_path: Path) -> None:
    """Its directory, quoted or not, by any path; other parameters alike; not another featuriser or a part of a name."""
    folder = tmp_path / "a,b"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    name = f"mauve@mauve-text[buckets=9,featuriser={model_id(str(folder))}/last,scaling=5]"
    stored = ScoreName(name, "mauve", "mauve-text", "", "higher")
    for inside in (
        f'featuriser="{folder}"',
        f"scaling=5,featuriser='{folder}/'",
        f"featuriser={model_id(str(folder))}",
    ):
        assert matches(f"mauve@mauve-text[{inside}]", stored), inside
    for inside in ("scaling=50", "aling=5", 'featuriser="m"', "scaling", "featuriser=model:"):
        assert not matches(f"mauve@mauve-text[{inside}]", stored), inside
    old = ScoreName("mauve@mauve-text[featuriser=m/a,b/mean,scaling=5]", "mauve", "mauve-text", "", "higher")
    assert matches('mauve@mauve-text[featuriser="m/a,b"]', old)
    assert not matches('mauve@other[featuriser="m/a,b"]', old)
