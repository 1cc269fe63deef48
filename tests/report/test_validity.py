"""A metric's validity is its rank correlation with an exact score over policies."""

from __future__ import annotations

import math

import pytest
from boards import add, score

from harness.errors import ConfigError
from harness.records.score import Score
from harness.report.rendering import as_plain
from harness.report.rendering import validity as drawn
from harness.report.validity import validity
from harness.stats.intervals import spearman
from harness.storage.store import Store


def scores(i: int) -> list[Score]:
    """Policy i of 12: good falls where the exact divergence rises, bad rises with it, and flat never moves."""
    exact, wiggle = float(i), (-1) ** i * 1.5
    found = [score("exact_kl", exact, direction="lower"), score("good", -exact + wiggle)]
    found += [score("bad", exact + wiggle), score("flat", 1.0), score("length", exact, direction="reference")]
    return [
        *found,
        score("diverged", math.nan if i == 3 else -exact),
        score("rare", exact if i < 2 else None, reason="r"),
    ]


def test_correlations_have_the_sign_that_directions_promise(store: Store) -> None:
    """`good` (higher is better) should fall with the exact KL (lower is better): expected -, found -, so it agrees."""
    for i in range(12):
        add(store, {"trainer": f"t{i}"}, scores(i), seed=0)
    (found,) = validity(store, "exact_kl")
    by_name = {one.score.metric: one for one in found.agreements}
    good = by_name["good"]
    assert good.correlation is not None
    exact = [float(i) for i in range(12)]
    pairs = [-e + (-1) ** i * 1.5 for i, e in enumerate(exact)], exact
    assert good.single == spearman(*pairs)
    oracle = spearman(*pairs, level=0.95 ** (1 / 5))  # good, bad, length, diverged and rare share the error
    assert (good.correlation, good.expected, good.verdict) == (oracle, -1, "agrees")
    assert by_name["bad"].verdict == "disagrees"
    assert "flat" not in by_name
    assert "the same for every policy, so left out: flat" in found.notes
    assert (by_name["length"].expected, by_name["length"].verdict) == (None, "")
    assert by_name["diverged"].correlation is not None
    assert by_name["diverged"].correlation.n == 11
    assert by_name["rare"].correlation is not None
    assert (by_name["rare"].correlation.n, by_name["rare"].verdict) == (2, "unclear")
    assert found.agreements[0].score.metric == "diverged"
    assert found.agreements[0].verdict == "agrees", "a perfect order of 11 has no interval, and chance 2 / 11!"
    assert found.notes[0] == "12 policies: runs of 12 groups"
    assert "fewer than 30 policies" in found.notes[-1]
    assert found.to_dict()["scores"][0]["expected"] == -1
    assert "− agrees" in " ".join(as_plain(drawn(found)).split())


def test_a_policy_is_a_run_or_a_group(store: Store) -> None:
    """Four groups of two seeds: eight runs, or four means; controls are no policies."""
    for i in range(4):
        for seed in range(2):
            add(store, {"trainer": f"t{i}"}, scores(2 * i + seed), seed=seed)
    add(store, {"trainer": "mle", "control": "unigram"}, scores(9))
    (runs,) = validity(store, "exact_kl", grid="g")
    (groups,) = validity(store, "exact_kl", over="groups")
    assert (runs.notes[0], groups.notes[0]) == ("8 policies: runs of 4 groups", "4 policies: means over seeds")
    assert "--over groups takes means" in runs.notes[2]
    (good,) = [one for one in groups.agreements if one.score.metric == "good"]
    assert good.correlation is not None
    assert good.correlation.n == 4


def test_the_target_is_one_score(store: Store) -> None:
    add(store, {}, [score("exact_kl", 0.1), score("exact_kl", 0.1, "reverse")])
    with pytest.raises(ConfigError, match="may be exact_kl@exact, exact_kl@reverse; write the full name"):
        validity(store, "exact_kl")
    with pytest.raises(ConfigError, match="did you mean 'exact_kl'"):
        validity(store, "exact_k")
    (found,) = validity(store, "exact_kl@reverse")
    assert found.target.definition == "reverse"


def test_what_is_the_same_for_every_policy_is_left_out_and_no_target(store: Store) -> None:
    for seed in range(4):
        add(store, {}, [score("exact_kl", 0.1 * seed), score("bound", 0.0)], seed=seed)
    (found,) = validity(store, "exact_kl")
    assert found.agreements == ()
    assert "the same for every policy, so left out: bound" in found.notes
    with pytest.raises(ConfigError, match="the same for all 4 policies"):
        validity(store, "bound")


def test_policies_may_be_those_of_one_benchmark(store: Store) -> None:
    """`good` rises with the exact KL on one benchmark and is the same for every policy of the other.

    The other has no correlation with it, which is said where it is asked for and is no matter elsewhere.
    """
    ids: dict[str, list[str]] = {}
    for name, slope in (("text", 1.0), ("arithmetic", 0.0)):
        for i in range(6):
            scores = [score("exact_kl", float(i), direction="lower"), score("good", slope * i)]
            ids.setdefault(name, []).append(add(store, {"benchmark": name, "trainer": f"t{i}"}, scores, seed=0))
    (found,) = validity(store, "good", among=ids["text"])
    assert [one.correlation.n for one in found.agreements if one.correlation is not None] == [6]
    for among in (ids["arithmetic"], None):
        with pytest.raises(ConfigError, match="the same for all 6 policies"):
            validity(store, "good", among=among)
