"""The exact languages as a benchmark: seeds, defaults, and options that belong to one law."""

from __future__ import annotations

import pytest

from benchmarks.language import Language
from benchmarks.laws import state_after
from harness.config.section import Plugin
from harness.errors import ConfigError
from harness.plugins.options import build
from harness.registry import BENCHMARKS


def test_seeds_separate_the_law_from_its_texts() -> None:
    """`data_seed` draws other texts of the same law; `seed` draws another law."""
    one, other_texts, other_law = Language(train=50), Language(train=50, data_seed=1), Language(train=50, seed=1)
    assert one.automaton == other_texts.automaton
    assert one.splits().train != other_texts.splits().train
    first_row, other_row = (law.next(law.start) for law in (one.automaton, other_law.automaton))
    assert first_row != other_row


def test_default_language_is_the_one_whose_regime_is_known() -> None:
    """8 symbols with 3 successors each, 24 long; every context, the two beginnings included, has its own 3."""
    law = Language().automaton
    assert law.alphabet == "abcdefgh"
    for context in ("", "a", "hc"):
        assert len(law.next(state_after(law, context))) == 3
    splits = Language(train=10, validation=5, test=7).splits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test, splits.prompts)] == [10, 5, 7, 7]
    assert {len(example.text) for example in splits.train} == {24}
    assert splits.prompts == splits.test


def test_the_same_options_give_the_texts_they_always_gave() -> None:
    """Stored runs name their data by this hash: a change of the laws' file must not change the texts."""
    markov = Language(length=16, symbols=6, successors=2)
    assert markov.splits().data_hash == "f8facc042b15706c"  # as results/README.md shows it
    assert Language(law="template", train=50, validation=20, test=20).splits().train[0].text.split()[0] in (
        "a",
        "all",
        "two",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": 2}, "kinds=2 belongs to law=brackets"),
        ({"law": "brackets", "symbols": 8}, "symbols=8 belongs to law=markov"),
        ({"symbols": 3, "successors": 4}, "use at most 3 successors"),
        ({"law": "template", "kinds": 2}, "kinds=2 belongs to law=brackets"),
        ({"nouns": 2}, "nouns=2 belongs to law=template"),
        ({"symbols": 27}, "benchmark.symbols=27"),
        ({"law": "dyck"}, "benchmark.law='dyck'"),
        ({"lenght": 3}, "did you mean 'length'"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(BENCHMARKS, Plugin(name="language", options=options), "benchmark")
