"""Scoring: the scores that a name stands for, reasons for missing ones, and intervals over texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.cli.describe import describe
from harness.config.section import Plugin
from harness.errors import ConfigError, UnknownName
from harness.evaluation.scoring import MetricRequest, parse_requests, score, score_requests, subset, text_intervals
from harness.grids.grid import load_grid
from harness.plugins.metric import Measure, Unscorable
from harness.plugins.metric_names import as_measures, parse_metric
from harness.records import Evaluation, Example
from harness.registry import METRICS


def outside(texts: Sequence[str], references: Sequence[str] = (), paired: bool = True) -> Evaluation:
    return Evaluation(
        prompts=tuple(Example(text) for text in references) if paired else (Example(""),) * len(texts),
        rollouts=(),
        backspace_id=None,
        metric_seed=0,
        written=tuple(texts),
        unpaired=None if paired else tuple(references),
    )


def test_a_metric_without_a_value_says_why() -> None:
    scores = list(score(Evaluation((), (), None, 0), [parse_metric("perplexity"), parse_metric("out_of_support")]))
    assert scores
    for found in scores:
        assert found.value is None
        assert found.reason


def test_texts_without_actions_are_counted_as_texts() -> None:
    """`a a b b` has 4 words and ln 2 nats; its actions are unknown, but it is not empty."""
    found = {one.metric: one for one in score(outside(["a a b b"], ["x"]), asked_for("ngram_entropy,length,actions"))}
    assert found["ngram_entropy"].value == pytest.approx(math.log(2))
    assert (found["length"].value, found["length_gap"].value, found["empty_fraction"].value) == (4, 3, 0)
    assert found["backspace_rate"].reason == "these texts came without the actions that wrote them"
    assert {one.n for one in found.values()} == {1}


def test_without_references_only_what_needs_them_is_missing() -> None:
    found = {one.metric: one for one in score(outside(["a b c d a"], [], False), asked_for("diversity,length"))}
    assert found["diversity"].value == 1
    assert "no diversity to compare with" in str(found["diversity_gap"].reason)
    assert found["length"].value == 5
    assert "give references" in str(found["length_gap"].reason)


def test_a_set_of_references_may_have_any_size() -> None:
    """Texts of 2 and 4 words against 1, 2, 3 and 8: means 3 and 3.5.

    Sorted and stretched to quarters, |2-1|, |2-2|, |4-3|, |4-8| have mean 1.5.
    """
    found = {one.metric: one for one in score(outside(["a b", "a b c d"], SET, False), asked_for("length,mauve"))}
    assert (found["length_gap"].value, found["length_distance"].value) == (0.5, 1.5)
    assert "no featuriser" in str(found["mauve"].reason)
    featured = Evaluation(**vars(outside(["a b", "a b c d"], SET, False)) | {"features": letters})
    (paired,) = score_requests(featured, parse_requests(["mauve"]))
    (free,) = score_requests(featured, parse_requests(["mauve@mauve-text[length=free]"]))
    assert "answer no text in particular" in str(paired.reason)
    assert free.value is not None
    assert free.n == 2


@pytest.mark.parametrize(
    ("name", "pairs", "sets"),
    [
        ("self_bleu_2", "[texts=2,tokenizer=nltk]", "[references={},texts=2,tokenizer=nltk]"),
        ("bleu_2", "[texts=2,tokenizer=nltk]", "[references={},tokenizer=nltk]"),
        ("zipf", "[ranks=5000,texts=2]", "[ranks=5000,references={},texts=2]"),
        ("ngram_js_1", "[texts=2]", "[references={},texts=2]"),
        ("copied_8", "[texts=2]", "[references={},texts=2]"),
        ("length_gap", "", "[references={}]"),
        ("diversity_gap", "", "[references={}]"),
        ("seq_rep_2", "", "[references={}]"),
        ("repetition_loop_rate", "[times=3]", "[references={},times=3]"),
    ],
)
def test_the_size_of_a_set_of_references_is_part_of_the_name(name: str, pairs: str, sets: str) -> None:
    """Numbers against 4 and against 3 references are never one column; references in pairs are as many as texts."""
    inside = [
        {
            one.name.partition("@")[2]
            for one in score_requests(outside(["a b", "c"], references, paired), parse_requests([name]))
        }
        for references, paired in ((["x", "y"], True), (SET, False), (SET[:3], False), ([], False))
    ]
    found = [text[text.index("[") :] if "[" in text else "" for (text,) in inside]
    without = "[texts=0,tokenizer=nltk]" if name == "bleu_2" else pairs
    assert found == [pairs, sets.format(4), sets.format(3), without]


def test_a_value_of_the_references_counts_them() -> None:
    """Means of 2 texts and of 4 references; in pairs both are counted as texts."""
    wanted = parse_requests(["length", "length_reference"])[:1]
    found = {one.metric: one.n for one in score_requests(outside(["a", "b"], SET, False), wanted)}
    assert found == {"length": 2, "length_reference": 4}


SET = ["a", "a b", "a b c", "a b c d e f g h"]


def letters(featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
    return np.array([[text.count(letter) for letter in "abcd"] for text in texts], np.float32)


def asked_for(names: str) -> list[Plugin]:
    return [parse_metric(name) for name in names.split(",")]


# -------------------------------------------------------------------------------------------------------- names


def test_a_name_asks_for_a_measure_or_for_a_whole_metric() -> None:
    """`repetition` measures rep_2, rep_3 and rep_4; `diversity` is a metric, and one of what it measures."""
    assert asked_measures("repetition") == [("rep_2", "rep_3", "rep_4")]
    assert asked_measures("diversity") == [("diversity",)]
    assert asked_measures("diversity_gap@simctg") == [("diversity_gap",)]
    assert asked_measures("self_bleu_4@exact", "self_bleu_2", "self_bleu_4") == [("self_bleu_2", "self_bleu_4")]
    assert asked_measures("diversity", "diversity@simctg") == [("diversity",)] * 2
    (found,) = parse_requests(["mauve_star@mauve-text[featuriser=DIR,seeds=7]"])
    assert found.plugin.name == "mauve"
    assert (found.plugin.options["featuriser"], found.plugin.options["seeds"]) == ("DIR", 7)


def asked_measures(*names: str) -> list[tuple[str, ...]]:
    return [one.measures for one in parse_requests(names)]


def test_a_leaderboard_shows_all_that_a_metric_measures() -> None:
    assert as_measures("repetition@simctg") == ["rep_2@simctg", "rep_3@simctg", "rep_4@simctg"]
    assert [as_measures(name) for name in ("rep_2", "mauve", "unheard_of@x")] == [
        ["rep_2"],
        ["mauve"],
        ["unheard_of@x"],
    ]


def test_unknown_names_and_options_are_told() -> None:
    with pytest.raises(UnknownName, match=r"unknown metric 'self_blue_4'; did you mean 'self_bleu_4'\?"):
        parse_requests(["self_blue_4@exact"])
    with pytest.raises(ConfigError, match=r"metric 'mauve' has no option 'feturiser'; did you mean 'featuriser'\?"):
        parse_requests(["mauve@mauve-text[feturiser=DIR]"])
    with pytest.raises(ConfigError, match=r"diversity\.definition='simktg'"):
        parse_requests(["diversity@simktg"])


@pytest.mark.parametrize(
    "text",
    ["self_bleu_4@exact[", "self_bleu_4@exact[tokenizer=nltk", "self_bleu_4@", "self_bleu_4[tokenizer=nltk]",
     "self_bleu_4@[tokenizer=nltk]", "self_bleu_4@exact[]", "self_bleu_4@exact[tokenizer]", "self_bleu_4@exact]", "@x",
     ""],
)  # fmt: skip
def test_a_name_that_is_cut_short_is_refused(text: str) -> None:
    name = "self_bleu_4" if text.startswith("self") else "NAME"
    with pytest.raises(ConfigError, match=rf"is not written as {name}, {name}@DEFINITION or {name}@DEFINITION\["):
        parse_metric(text)


def test_what_a_metric_measures_is_described_by_its_metric() -> None:
    (found,) = describe("self_bleu_4")
    assert (found["kind"], found["name"]) == ("metric", "self_bleu")
    assert "self_bleu_4" in found["measures"]
    with pytest.raises(UnknownName, match=r"nothing is called 'self_bleu_9'; did you mean 'self_bleu_\d'"):
        describe("self_bleu_9")


def test_a_grid_takes_what_is_measured_as_a_metric(tmp_path: Any) -> None:
    """`rep_2` and `rep_3` are one metric, named once; it stands beside the same metric by another definition."""
    path = tmp_path / "g.yaml"
    path.write_text("base: {benchmark: language, trainer: mle, metrics: [rep_2, rep_3, repetition@simctg]}\nseeds: 1\n")
    (cell,) = load_grid(str(path)).expand()
    assert [(one.name, one.options["definition"]) for one in cell.metrics or ()] == [
        ("repetition", "exact"),
        ("repetition", "simctg"),
    ]
    path.write_text("base: {benchmark: language, trainer: mle, metrics: [rep_5]}\nseeds: 1\n")
    with pytest.raises(ConfigError, match=r"unknown metric 'rep_5'; did you mean 'rep_\d'"):
        load_grid(str(path))


# ---------------------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Forgetful:
    """A metric that declares two numbers and gives one."""

    definition: str = "own"
    measures: ClassVar[Mapping[str, Measure]] = {
        "kept": Measure("words", "higher", "one"),
        "lost": Measure("words", "higher", "other"),
    }

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        return {}

    def count(self, evaluation: Evaluation) -> int:
        return len(evaluation.texts)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        return {"kept": float(np.mean([len(text) for text in evaluation.texts]))}


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.setitem(METRICS._added, "forgetful", Forgetful)
    return Plugin(name="forgetful")


def test_a_number_that_a_metric_forgot_is_no_number(forgetful: Plugin) -> None:
    kept, lost = score(outside(["ab"], ["a"]), [forgetful])
    assert kept.value == 2
    assert (lost.value, lost.reason) == (None, "metric 'forgetful' gave no lost")


def test_the_interval_of_a_mean_over_texts(forgetful: Plugin) -> None:
    """100 texts of 1 and 100 of 3 letters: mean 2, sd 1, so 2 +- 1.97 / sqrt(200) = 2 +- .139, up to the draws' own."""
    evaluation = outside(["a", "aaa"] * 100, ["r"] * 200)
    found = text_intervals(evaluation, [MetricRequest(forgetful, ("kept", "lost"))], 400)
    assert set(found) == {"kept@own"}
    interval = found["kept@own"]
    assert (interval.mean, interval.n) == (2, 200)
    assert interval.half_width == pytest.approx(0.139, rel=0.15)
    assert found == text_intervals(evaluation, [MetricRequest(forgetful, ("kept", "lost"))], 400), "the seed decides"


def test_an_interval_ends_where_its_measure_does() -> None:
    """One text of 20 is another: seq-rep is 1/2 there and 0 elsewhere, .025 +- .05, cut at 0; so is a gap of 0 words.

    A set of references is never drawn, and 20 texts of one length never vary: neither has an interval.
    """
    evaluation = outside(["a b c d"] * 19 + ["a a a"], ["a b c d", "x y", "z z z"], paired=False)
    found = text_intervals(
        evaluation, parse_requests(["seq_rep_2", "length_gap", "seq_rep_2_reference", "empty_fraction"]), 50
    )
    by_metric = {name.partition("@")[0]: interval for name, interval in found.items()}
    assert by_metric["seq_rep_2"].low == 0
    assert (by_metric["seq_rep_2"].high or 0) > by_metric["seq_rep_2"].mean == pytest.approx(0.025)
    assert by_metric["length_gap"].low is not None
    assert by_metric["length_gap"].low >= 0
    assert (by_metric["seq_rep_2_reference"].low, by_metric["empty_fraction"].high) == (None, None)
    high = text_intervals(outside(["a b c d"] * 19 + ["a a a a a"], ["x"] * 20), parse_requests(["diversity"]), 50)
    assert [interval.high for interval in high.values()] == [1]


def test_a_subset_keeps_texts_beside_their_references() -> None:
    found = subset(outside(["a", "b", "c"], ["x", "y", "z"]), np.array([2, 0]))
    assert (found.texts, found.references) == (("c", "a"), ("z", "x"))
    assert subset(outside(["a", "b"], ["x", "y", "z"], False), np.array([1])).references == ("x", "y", "z")


# ------------------------------------------------------------------------------------- every metric, outside texts


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize(
    ("texts", "references", "paired"),
    [
        (["a b c d e f"] * 3, ["a b", "c d e f g", ""], True),
        (["a b c d e f", ""], SET, False),
        (["", ""], [], False),
        ([""], [""], True),
        (["a"], SET, False),
    ],
)
def test_every_metric_takes_texts_that_came_without_a_policy(
    name: str, texts: list[str], references: list[str], paired: bool
) -> None:
    """References in pairs, as a set of another size, or none: each number is one, or has a reason, and n is honest."""
    evaluation = Evaluation(**vars(outside(texts, references, paired)) | {"features": letters, "train": ("a b c",)})
    for found in score(evaluation, [Plugin(name=name)]):
        assert (found.value is None) == (found.reason is not None)
        assert found.value is None or not math.isnan(found.value)
        assert found.n <= max(len(texts), len(references))
        assert found.value is None or found.n > 0
