"""MAUVE against known answers for known histograms, and what this harness adds around the package."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from harness.metrics.mauve import Mauve, curve_area, first_words, paired_words
from harness.plugins.metric import Unscorable
from harness.plugins.metric_names import parse_metric
from harness.records.data import Example
from harness.records.evaluation import Evaluation, Featurise
from harness.records.rollout import Rollout, Trajectory


def one_hot(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
    """Texts that are equal fall on one corner of a simplex, so k-means finds exactly the histogram of texts."""
    return np.eye(16, dtype=np.float32)[[ord(text[:1] or "`") - ord("`") for text in texts]]


def blurred(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
    """A feature per text with nothing discrete about it: clusters depend on the k-means seed."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]).astype(np.float32)


def evaluation(
    human: Sequence[str], written: Sequence[str], features: Featurise | None = one_hot, seed: int = 0
) -> Evaluation:
    return Evaluation(
        prompts=tuple(Example(text) for text in human),
        rollouts=tuple(Rollout(Trajectory((1,), (0,)), (0.0,), "ended", text, ()) for text in written),
        backspace_id=None,
        metric_seed=seed,
        features=features,
        featuriser_id=lambda featuriser: f"{featuriser}:0123",
    )


@pytest.mark.parametrize(
    ("p", "q", "mauve", "frontier"),
    [
        ((10, 0), (0, 10), 0.0040721, 1),
        ((5, 5), (9, 1), 0.6710958126, 0.1375602629),
        ((5, 5, 5, 5), (14, 2, 2, 2), 0.6604427526, 0.1414470829),
        ((2, 3, 5), (5, 3, 2), 0.8214099836, 0.0891395121),
        ((5, 5), (5, 5), 0.75, 0),  # equal histograms: ties in the package's area under the curve
    ],
)
@pytest.mark.parametrize("definition", ["mauve-text", "curve"])
def test_known_answers(
    p: tuple[int, ...], q: tuple[int, ...], mauve: float, frontier: float, definition: Literal["mauve-text", "curve"]
):
    """Histograms p and q as counts of texts `a`, `b`, ..., one cluster each: every k-means seed finds the same.

    Along the curve equal ones give 1, the others the package's number.
    """
    human, written = (["abcd"[i] for i, count in enumerate(counts) for _ in range(count)] for counts in (p, q))
    values = Mauve(definition, num_buckets=len(p)).measure(evaluation(human, written))
    along = 1 if p == q else mauve
    assert values["mauve"] == pytest.approx(mauve if definition == "mauve-text" else along, abs=5e-8)
    assert values["mauve_curve"] == pytest.approx(along, abs=5e-8)
    assert values["frontier_integral"] == pytest.approx(frontier, abs=5e-10)
    assert values["mauve_sd"] == pytest.approx(0, abs=1e-12)


def test_smoothing_by_hand():
    """Disjoint counts (10, 0), (0, 10) with 1/2 added become (21/22, 1/22): no longer at the floor of 0.0041."""
    assert 0.0041 < Mauve(num_buckets=2).measure(evaluation(["a"] * 10, ["b"] * 10))["mauve_star"] < 0.1


def curve(p: Sequence[float], q: Sequence[float], scaling: float = 5) -> np.ndarray:
    """The package's divergence curve of two histograms, given as counts, at its 25 points and two ends."""
    from mauve.compute_mauve import get_divergence_curve_for_multinomials

    a, b = (np.array(counts) / np.sum(counts) for counts in (p, q))
    return get_divergence_curve_for_multinomials(a, b, np.linspace(1e-6, 1 - 1e-6, 25), scaling)


def sorted_area(points: np.ndarray) -> float:
    """The package's area: the points sorted by each coordinate in turn."""
    by_x, by_y = (points[np.argsort(axis)] for axis in points.T)
    return float(np.trapezoid(by_x[:, 1], by_x[:, 0]) + np.trapezoid(by_y[:, 0], by_y[:, 1])) / 2


EQUAL = [(1,), (10, 0), (5, 5), (1, 1, 1), (10, 10, 10, 10), (11, 9, 10, 10), (1, 0, 0, 99), (3,) * 50, range(1, 60)]


@pytest.mark.parametrize("counts", EQUAL)
@pytest.mark.parametrize("scaling", [0.1, 5, 1000])
def test_equal_histograms_give_1_along_the_curve(counts: Sequence[int], scaling: float):
    """One cluster, all texts in one of two, even, uneven and many clusters; also with thrice the texts on one side."""
    thrice = [3 * count for count in counts]
    for q in (counts, thrice):
        area = curve_area(curve(counts, q, scaling))
        assert area <= 1
        assert area == pytest.approx(1, abs=1e-12)


def test_the_package_loses_a_quarter_or_nothing_where_we_lose_nothing():
    """The cost of ties by the sort is nothing, or for each axis the triangle between its end and the curve."""
    lost = [1 - sorted_area(curve(counts, counts)) for counts in EQUAL]
    assert all(min(abs(one - known) for known in (0, 1 / 4, 1 / 2)) < 1e-12 for one in lost), lost


def test_where_the_curve_underflows_ties_give_nothing_away_either():
    """A scaling of 100,000 puts every point of two disjoint histograms on an axis: .23 by the sort, 0 along the curve.

    At 1,000 many points of nearly equal ones tie at 1, and each tie costs a little.
    """
    assert curve_area(curve((10, 0), (0, 10), 1e5)) == 0
    points = curve((1000, 1000), (1001, 999), 1000)
    assert 1 - 1e-6 < curve_area(points) < 1
    assert sorted_area(points) <= curve_area(points) + 1e-12


def test_nearly_equal_histograms_come_close_to_1_and_do_not_reach_it():
    """One text of 40 in another cluster; one of 4,000; a cluster that one side alone has, with one text."""
    for p, q in (
        ((10, 10, 10, 10), (11, 9, 10, 10)),
        ((2000, 2000), (2001, 1999)),
        ((1000, 1000, 1), (1000, 1001, 0)),
    ):
        assert 0.99 < curve_area(curve(p, q)) < 1


@pytest.mark.parametrize(
    ("p", "q"), [((5, 5, 0, 0), (0, 0, 5, 5)), ((1, 0), (0, 1)), ((7, 3, 0), (0, 0, 1)), ((9, 1, 0, 0), (0, 0, 1, 9))]
)
def test_the_area_falls_all_the_way_from_equal_to_disjoint(p: Sequence[int], q: Sequence[int]):
    """1 at p, .0040721 at q, for every step of 1/50 less than before; a zero count on one side on the way."""
    a, b = (np.array(counts) / np.sum(counts) for counts in (p, q))
    areas = np.array([curve_area(curve(a, (1 - t) * a + t * b)) for t in np.linspace(0, 1, 51)])
    assert (np.diff(areas) < 0).all()
    assert (areas[0], areas[-1]) == pytest.approx((1, 0.0040721), abs=5e-8)


def test_neither_the_order_of_clusters_nor_of_sides_counts_and_without_ties_it_is_the_package_s_area():
    """Two hundred pairs of random histograms of 2 to 40 clusters, some of them empty on a side."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = rng.integers(2, 41)
        p, q = (rng.multinomial(100, rng.dirichlet(np.full(k, 0.5))) for _ in range(2))
        points, order = curve(p, q), rng.permutation(k)
        areas = [curve_area(found) for found in (points, curve(p[order], q[order]), curve(q, p))]
        assert areas == pytest.approx([areas[0]] * 3, abs=1e-12)
        if len(set(points[:, 0])) == len(set(points[:, 1])) == len(points):
            assert areas[0] == pytest.approx(sorted_area(points), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_on_random_features_both_definitions_are_one_number(seed: int):
    """Area, its spread and the smoothed area, to 1e-12; sides of 40 and 50 texts, so that no histograms are equal."""
    human, written = HUMAN, [f"{seed}{i}" for i in range(49)]
    case = dataclasses.replace(evaluation(human, [], blurred, seed), written=tuple(written), unpaired=tuple(human))
    theirs, ours = (Mauve(definition, length="free").measure(case) for definition in ("mauve-text", "curve"))
    names = ("mauve", "mauve_sd", "mauve_star", "frontier_integral")
    assert [ours[name] for name in names] == pytest.approx([theirs[name] for name in names], abs=1e-12)
    assert (ours["mauve"], ours["mauve_star"]) == (theirs["mauve_curve"], theirs["mauve_star_curve"])
    assert ours["mauve"] == ours["mauve_curve"] < 1


@pytest.mark.parametrize("counts", [(10, 10, 10, 10), (11, 9, 10, 10), (1, 1)])
def test_equal_texts_give_1_smoothed_or_not(counts: Sequence[int]):
    texts = ["abcd"[i] for i, count in enumerate(counts) for _ in range(count)]
    values = Mauve("curve", num_buckets=len(counts)).measure(evaluation(texts, texts[::-1]))
    names = ("mauve", "mauve_star", "mauve_curve", "mauve_star_curve")
    assert [values[name] for name in names] == pytest.approx([1] * 4, abs=1e-12)
    assert values["mauve_sd"] == pytest.approx(0, abs=1e-12)


def test_the_default_is_the_definition_that_stored_runs_are_known_by():
    assert Mauve().definition == "mauve-text"
    assert parse_metric("mauve@curve").options == {"definition": "curve"}


def test_first_words_keep_the_text_as_it_stands():
    assert first_words(" a\n b  c ", 2) == " a\n b"
    assert first_words("a b ", 2) == "a b "
    assert first_words("a b", 0) == ""


def test_pairs_are_cut_to_the_shorter_side_and_empty_rollouts_stay_visible():
    assert paired_words("a b c", "d e") == ("a b", "d e")
    assert paired_words("a", "d  e") == ("a", "d")
    assert paired_words("a b c", "") == ("a b c", "")


def test_empty_rollouts_are_kept():
    """Half of the rollouts empty: histograms (1, 0) and (1/2, 1/2); were they dropped, both would be (1, 0)."""
    values = Mauve(num_buckets=2).measure(evaluation(["a"] * 10, ["a"] * 5 + [""] * 5))
    assert values["frontier_integral"] > 0.1
    assert values["mauve"] < 0.9


def test_free_length_sees_what_pairing_removes():
    """Rollouts are the human texts' first words: equal when paired, different when free."""

    def by_length(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
        return np.eye(9, dtype=np.float32)[[len(text.split()) for text in texts]]

    human, written = ["a b c", "a b c d"] * 10, ["a", "a b"] * 10
    free = Mauve(length="free", num_buckets=4).measure(evaluation(human, written, by_length))
    cut = Mauve(length="paired", num_buckets=2).measure(evaluation(human, written, by_length))
    assert (free["frontier_integral"], cut["frontier_integral"]) == pytest.approx((1, 0))


def test_pairs_are_cut_by_the_featuriser_s_tokens_where_it_has_some():
    """A featuriser of one character a token: cut to one, all texts are `a`; the words alone would not be cut."""
    human, written = ["a", "ab"] * 10, ["ab", "ac"] * 10
    case = dataclasses.replace(
        evaluation(human, written, lambda featuriser, pooling, texts: one_hot("", "", [t[-1] for t in texts])),
        paired=lambda featuriser, pairs: [(one[:1], other[:1]) for one, other in pairs],
    )
    with pytest.raises(Unscorable, match="nothing to cluster"):
        Mauve().measure(case)
    assert Mauve(num_buckets=3).measure(dataclasses.replace(case, paired=None))["frontier_integral"] > 0.1
    assert Mauve().parameters(case)["length"] == "paired-tokens"


def test_unfinished_rollouts_are_counted_beside_the_score():
    """Five of twenty rollouts were cut off."""
    case = evaluation(["a", "b"] * 10, ["b", "b"] * 10)
    cut_off = tuple(
        dataclasses.replace(rollout, stop="budget" if i < 5 else "ended") for i, rollout in enumerate(case.rollouts)
    )
    assert Mauve().measure(dataclasses.replace(case, rollouts=cut_off))["mauve_unfinished"] == 1 / 4
    assert Mauve().measure(case)["mauve_unfinished"] == 0


HUMAN, WRITTEN = [f"h{i}" for i in range(40)], [f"w{i}" for i in range(40)]


def test_the_metric_seed_moves_the_clusters():
    first, again, other = (Mauve().measure(evaluation(HUMAN, WRITTEN, blurred, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first["mauve_sd"] > 0
    assert first["mauve"] != other["mauve"]


def test_it_is_the_package_s_number():
    """The mean over the five seeds of the package's own call on the same features, sorted by text."""
    from mauve import compute_mauve

    p, q = (blurred("", "", sorted(texts)) for texts in (HUMAN, WRITTEN))
    seeds = np.random.default_rng(3).choice(2**31 - 8, size=5, replace=False, shuffle=False)
    areas = [compute_mauve(p_features=p, q_features=q, seed=int(seed)).mauve for seed in seeds]
    values = Mauve().measure(evaluation(HUMAN, WRITTEN, blurred, 3))
    assert (values["mauve"], values["mauve_sd"]) == pytest.approx((np.mean(areas), np.std(areas, ddof=1)))


def test_the_name_says_what_the_number_depends_on():
    assert Mauve().parameters(evaluation(HUMAN, WRITTEN))["length"] == "paired-words"
    assert Mauve(pooling="last", length="free").parameters(evaluation(HUMAN, WRITTEN)) == {
        "featuriser": "reference-lm:0123/last",
        "length": "free",
        "num_buckets": 4,
        "scaling": 5.0,
        "seeds": 5,
    }


def test_k_means_does_not_warn_over_the_progress_display(capfd: pytest.CaptureFixture[str]):
    Mauve().measure(evaluation(HUMAN, WRITTEN, blurred))
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_refuses_with_the_reason():
    def holes(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
        return np.where(one_hot("", "", texts) > 0, np.nan, 0).astype(np.float32)

    with pytest.raises(Unscorable, match="1 texts cannot fill 2 clusters"):
        Mauve().measure(evaluation(["a"], ["b"]))
    with pytest.raises(Unscorable, match="1 texts cannot fill 2 clusters"):
        Mauve("curve").measure(evaluation(["a"], ["a"]))
    with pytest.raises(Unscorable, match="20 texts cannot fill 21 clusters"):
        Mauve(num_buckets=21).measure(evaluation(["a"] * 20, ["b"] * 20))
    with pytest.raises(Unscorable, match="no featuriser"):
        Mauve().measure(evaluation(["a"] * 20, ["b"] * 20, None))
    with pytest.raises(Unscorable, match="40 of 40 feature vectors hold NaN"):
        Mauve().measure(evaluation(["a"] * 20, ["b"] * 20, holes))
    with pytest.raises(Unscorable, match="nothing to cluster"):
        Mauve().measure(evaluation(["a"] * 20, ["a"] * 20))


def test_the_package_is_imported_only_when_a_score_is_asked_for():
    program = "import sys, harness.metrics.mauve; sys.exit('mauve' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
