"""Two or more choices side by side: settings that differ, and scores paired by seed."""

from __future__ import annotations

import pytest
from boards import MAUVE, SM, add, mauve, score

from harness.errors import ConfigError, UnknownName
from harness.report.compare import Comparison, compare
from harness.report.rendering import as_plain, comparison
from harness.storage.store import Store

UP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def pair_of_groups(store: Store) -> list[str]:
    """Six seeds of mle and of sequence_match with <backspace>, one better; the ids of their first runs."""
    ids = []
    for seed, value in enumerate(UP):
        ids.append(add(store, {}, [mauve(value), score("length", 3.0, direction="reference")], seed=seed))
        ids.append(add(store, {"trainer": SM, "actions": {"backspace": True}}, [mauve(value + 1)], seed=seed))
    return ids[:2]


def only(found: list[Comparison]) -> Comparison:
    (one,) = found
    return one


def test_filters_choose_the_sides(store: Store) -> None:
    """p = 2 / 2**6 for a difference of 1 at every seed; `length` is on one side only."""
    pair_of_groups(store)
    found = only(compare(store, ["trainer=mle", "trainer=sequence_match,backspace=true"]))
    assert [(side.name, len(side.runs)) for side in found.sides] == [("A", 6), ("B", 6)]
    assert found.settings["trainer.name"] == ("mle", "sequence_match")
    assert found.settings["actions.backspace"] == ("false", "true")
    assert found.settings["trainer.alpha"] == ("–", "0.01")
    assert "training.lr" not in found.settings
    (line,) = found.lines
    assert line.score.name == MAUVE
    (difference,) = line.differences
    assert difference is not None
    assert (difference.interval.mean, difference.found.p, difference.found.n) == (pytest.approx(1), 2 / 64, 6)
    (note,) = found.notes
    assert note.startswith(
        "p: two-sided sign flip, adjusted for one comparison, not for the 1 scores; [low, high]: sim"
    )
    text = " ".join(as_plain(comparison(found)).split())
    assert "mauve ↑ 0.35 ± 0.20 B 1.35 ± 0.20 1" in text
    assert "0.031 6 separated" in text
    (plain,) = found.to_dict()["scores"]
    assert plain["differences"][0]["p"] == 2 / 64
    assert [mean["n"] for mean in plain["means"]] == [6, 6]


def test_ids_choose_groups_and_runs(store: Store) -> None:
    first, second = pair_of_groups(store)
    runs = store.runs().set_index("run_id")
    group = runs.loc[first, "group_id"]
    found = only(compare(store, [group[:12], second]))
    assert [len(side.runs) for side in found.sides] == [6, 1]
    assert found.lines[0].differences[0] is not None
    assert found.lines[0].differences[0].found.n == 1
    assert "1 shared seeds cannot separate anything: a sign flip needs at least 6" in found.notes
    single = only(compare(store, [first, second]))
    assert "scores are stored per run, not per prompt, so texts cannot be paired" in single.notes[0]


def test_three_sides_share_a_family(store: Store) -> None:
    pair_of_groups(store)
    for seed, value in enumerate(UP):
        add(store, {"trainer": "bc"}, [mauve(value)], seed=seed)
    found = only(compare(store, ["trainer=mle", "trainer=bc", "trainer!=mle"]))
    assert "C merges runs that differ in " in found.notes[0]
    assert "B and C share runs, which pulls their difference to 0" in found.notes
    assert any("adjusted for the 2 comparisons with A" in note for note in found.notes)
    assert all(one is not None and one.family == 2 for one in found.lines[0].differences)


def test_sides_without_a_seed_in_common_stand_side_by_side(store: Store) -> None:
    add(store, {}, [mauve(0.1)], seed=0)
    add(store, {}, [mauve(0.2)], seed=1)
    add(store, {"trainer": "bc"}, [mauve(0.3)], seed=2)
    add(store, {"trainer": "bc"}, [mauve(0.4)], seed=3)
    found = only(compare(store, ["trainer=mle", "trainer=bc"]))
    assert found.notes[0] == "the sides share no train seed: nothing is paired, only their means stand side by side"
    assert "0.15 ± 0.64 B 0.35 ± 0.64 – – 0 " in " ".join(as_plain(comparison(found)).split())


def test_wrong_sides_get_a_hint(store: Store) -> None:
    first, _ = pair_of_groups(store)
    add(store, {"benchmark": "language", "trainer": "bc"}, [mauve(0.1)])
    with pytest.raises(ConfigError, match="compare two or more"):
        compare(store, ["trainer=mle"])
    with pytest.raises(UnknownName, match="did you mean"):
        compare(store, [first[:-1] + ("0" if first[-1] != "0" else "1"), "trainer=mle"])
    with pytest.raises(UnknownName, match="`harness ls runs` lists them; or filter: trainer=bc"):
        compare(store, ["zzz", "trainer=mle"])
    with pytest.raises(ConfigError, match="write more of it"):
        compare(store, ["", "trainer=mle"])
    with pytest.raises(ConfigError, match="in common: trainer=mle: text; trainer=bc: language"):
        compare(store, ["trainer=mle", "trainer=bc"])
    with pytest.raises(ConfigError, match="did you mean 'mauve'"):
        compare(store, ["trainer=mle", "trainer=sequence_match"], metrics=["mauv"])


def test_a_filter_means_no_control_rows_unless_it_names_them(store: Store) -> None:
    """`trainer=mle` is the trained model, not the expert texts that stand beside it; `control=expert` is those."""
    pair_of_groups(store)
    for seed in range(6):
        add(store, {"control": "expert"}, [mauve(9.0)], seed=seed)
    found = only(compare(store, ["trainer=mle", "trainer=sequence_match"]))
    assert [len(side.runs) for side in found.sides] == [6, 6]
    assert found.lines[0].means[0] is not None
    assert found.lines[0].means[0].mean == pytest.approx(0.35)
    named = only(compare(store, ["trainer=mle", "control=expert"]))
    assert named.lines[0].means[1] is not None
    assert named.lines[0].means[1].mean == 9.0
