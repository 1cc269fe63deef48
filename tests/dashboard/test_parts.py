"""The parts that pages are made of: sentences about a table, tables, charts, a rollout's steps, numbers in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from stores import Reader, config, finish, new, rollout, score, scored_on_the_way, two_groups

from dashboard import boards, charts, glossary, player, run_queries, score_queries, widgets
from harness.analysis.replay import frames
from harness.records import Example
from harness.report.board import Table
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All HTML that is rendered."""
    found: list[str] = []
    monkeypatch.setattr(widgets.st, "html", found.append)
    return found


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`at(make)`: the store that `make` puts into a folder is the dashboard's."""

    def start(make: Any) -> str:
        url: str = make(tmp_path)
        monkeypatch.setenv("HARNESS_STORE", url)
        return url

    return start


def table_of(url: str, **asked: Any) -> Table:
    with Store.open(url, read_only=True) as store:
        return leaderboard(store, **asked).tables[0]


# ------------------------------------------------------------------------------------------------- answers


def test_what_beats_the_baseline_is_told_score_by_score(tmp_path: Path, rendered: list[str]) -> None:
    """bc's out_of_support and perplexity are lower at each of seven seeds; p = 2/2^7 = .016."""
    boards.answer(table_of(two_groups(tmp_path)))
    (answer,) = Reader(rendered).text
    assert answer.startswith(
        "bc backspace beats mle on out_of_support by 0.1967 [0.1944, 0.1989] fraction, and on perple"
    )
    assert "what does not beat it beats nothing: `harness run" in answer
    assert "The seeds separate no other row from it." in answer


def test_what_is_worse_is_told_and_so_is_that_nothing_wins(tmp_path: Path, rendered: list[str]) -> None:
    with Store(new(tmp_path)) as store:
        for seed in range(7):
            finish(store, config(seed), 0.5)
            finish(store, config(seed, True, "bc"), 0.7 + seed / 90)
    boards.answer(table_of(new(tmp_path)))
    (answer,) = Reader(rendered).text
    assert answer.startswith("Nothing beats mle here. Worse than it: bc backspace on out_of_support and perplexity.")


def test_what_wins_and_loses_is_named_once(tmp_path: Path, rendered: list[str]) -> None:
    """bc is better on out_of_support and worse on perplexity, at each of seven seeds."""
    with Store(new(tmp_path)) as store:
        for seed in range(7):
            for trainer, wrong, surprise in (("mle", 0.5, 10), ("bc", 0.3, 12)):
                scores = [score("out_of_support", wrong + seed / 90), score("perplexity", surprise + seed / 90)]
                finish(store, config(seed, trainer=trainer), scores=scores)
    boards.answer(table_of(new(tmp_path)))
    (answer,) = Reader(rendered).text
    assert answer.startswith(
        "bc beats mle on out_of_support by 0.2 [0.2, 0.2] fraction. Worse than mle: bc on perplexity."
    )


def test_too_few_seeds_say_nothing(tmp_path: Path, rendered: list[str]) -> None:
    boards.answer(table_of(two_groups(tmp_path, seeds=3)))
    (answer,) = Reader(rendered).text
    assert answer == (
        "Nothing can be said to beat mle yet: 3 seeds cannot separate these rows: a sign flip needs at least 6."
    )


def test_without_a_baseline_there_is_no_answer(tmp_path: Path, rendered: list[str]) -> None:
    boards.answer(table_of(two_groups(tmp_path), filters=["trainer=bc"]))
    (answer,) = Reader(rendered).text
    assert answer.startswith("No row here is plain maximum likelihood")


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.steps", 60), ("training.lr", 0.5), ("training.rows", 4), ("model.width", 8)],
)
def test_two_rows_of_maximum_likelihood_are_both_named(
    tmp_path: Path, rendered: list[str], key: str, value: float
) -> None:
    """The sentence says which rows they are, and a filter that leaves one."""
    section, _, field = key.partition(".")
    with Store(new(tmp_path)) as store:
        finish(store, config(0))
        finish(store, config(0, **{section: {field: value}}))
    table = table_of(new(tmp_path))
    boards.answer(table)
    (answer,) = Reader(rendered).text
    assert answer.startswith("2 rows here are plain maximum likelihood")
    assert all(row.label in answer for row in table.rows)
    given = answer.partition("--baseline ")[2].removesuffix(".")
    assert given.startswith(f"{key}=")
    assert (
        table_of(new(tmp_path), filters=[given]).baseline == 0
        or len(table_of(new(tmp_path), filters=[given]).rows) == 1
    )


def test_a_table_shows_ranks_only_where_rows_differ(tmp_path: Path, rendered: list[str]) -> None:
    """out_of_support separates bc (rank 1, green) from mle (rank 2); diversity has no order and no rank."""
    boards.draw(table_of(two_groups(tmp_path), metrics=["out_of_support", "diversity"]), brief=True)
    words = Reader(rendered).text
    assert words.count("rank 1") == words.count("rank 2") == 1
    assert "0.530 ± 0.020" in words  # .50, .51, ..., .56: mean .53, sd .0216, t(6) = 2.447
    (html,) = rendered
    assert 'class="best gain"' in html
    assert html.count('class="base"') == 1


def test_a_long_table_keeps_its_baseline_and_says_what_is_missing(
    tmp_path: Path, rendered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "SHOWN_ROWS", 1)
    boards.draw(table_of(two_groups(tmp_path, seeds=1)))
    assert "1 more rows: filter or group them on the Leaderboard" in " ".join(Reader(rendered).text)


# ---------------------------------------------------------------------------------------------------- look


def test_intervals_in_cells_stay_inside(rendered: list[str]) -> None:
    """Ends 0 and 1 are the column's; what lies beyond is cut."""
    widgets.table(["a"], [[widgets.Cell("x", span=(-0.5, 0.25, 2.0), share=0.5)]], caption="c")
    assert "--low:0.0%;--mean:25.0%;--high:100.0%" in rendered[0]
    assert "--part:50.0%" in rendered[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (math.nan, "nan"), (1234, "1,234"), (0.123456, "0.1235"), (230400.0, "230,400"), (math.inf, "inf")],
)
def test_numbers_as_a_person_reads_them(value: Any, written: str) -> None:
    assert widgets.number(value) == written


@pytest.mark.parametrize(("seconds", "written"), [(0.4, "0 s"), (119, "119 s"), (300, "5 min"), (8040, "2 h 14 min")])
def test_durations(seconds: float, written: str) -> None:
    assert widgets.duration(seconds) == written


def test_shares_and_sentences() -> None:
    assert [widgets.percent(math.log(share)) for share in (1, 0.123, 1e-5)] == ["100.0%", "12.3%", "1.0e-05"]
    assert [widgets.sentence(text) for text in ("two seeds", "p: low", "Done.")] == ["two seeds.", "p: low.", "Done."]


def test_every_measure_of_an_installed_metric_has_a_sentence() -> None:
    assert "law" in glossary.measure("exact_kl")
    assert glossary.measure("nobody's") == ""
    assert glossary.exact()[0] == "exact_kl"


# -------------------------------------------------------------------------------------------------- player


def test_each_step_of_a_rollout_is_told() -> None:
    """a, x, <backspace>, b, end, each with log-probability -.5: e^-.5 = 60.7 %."""
    row = {"actions": [1, 2, 9, 3, 0], "stop": "ended", "injected": [True, *[False] * 4], "log_probs": [-0.5] * 5}
    shown = frames({**row, "pieces": [" a", " x", "?", "b\n", "?"]}, 9)
    assert [player.verdict(shown, step) for step in range(1, 6)] == [
        "“a” was put there by the benchmark; the model did not choose it.",
        "It writes “x”; the chance of that was 60.7%. It will take this back at step 3.",
        "It takes “x” back; the chance of that was 60.7%.",
        "It writes “b↵”; the chance of that was 60.7%.",
        "It ends the text; the chance of that was 60.7%.",
    ]
    spans = player.written("once", shown[:3])
    assert [(span.text, span.css) for span in spans] == [
        ("once", "prompt"), (" ", ""), ("a", "token given"), (" ", ""), ("x", "token deleted"), ("⌫", "mark now"),
        ("", "cursor"),
    ]  # fmt: skip
    assert [span.text for span in player.standing("once", shown, 3)] == ["once", " a"]
    assert [span.text for span in player.standing("", shown[:1], 1)] == [" a"]


def test_the_action_that_was_taken_always_stands_among_the_likeliest(rendered: list[str]) -> None:
    (row,) = [{"actions": [5, 0], "stop": "ended", "injected": [False, False], "log_probs": [-2.0, -1.0]}]
    shown = frames({**row, "pieces": ["e", "?"], "candidates": [[(1, "a", 0.6), (2, "b", 0.2)], []]}, None)
    player.odds(shown[0])
    assert [word for word in Reader(rendered).text if word in "abe"] == ["a", "b", "e"]
    assert rendered[0].count("✓") == 1


# -------------------------------------------------------------------------------------- numbers and queries


def test_groups_have_the_names_of_the_leaderboard(at: Any) -> None:
    at(lambda folder: two_groups(folder, seeds=2))
    found = run_queries.groups("g")
    assert [(group.label, list(group.runs)) for group in found] == [("mle", ["0", "1"]), ("bc backspace", ["0", "1"])]
    assert set(run_queries.run_names("g").values()) == {
        f"{name}, seed {s}" for name in ("mle", "bc backspace") for s in (0, 1)
    }
    assert run_queries.short_titles(found) == {"text": "text"}


def test_learning_curves_are_means_over_runs(at: Any) -> None:
    """Losses 2, 1, 2/3 at steps 1 to 3 in both runs: the mean is the same and its interval has no width."""
    at(lambda folder: two_groups(folder, seeds=2))
    (first, _) = run_queries.groups("g")
    frame = score_queries.learning({"mle": first.run_ids}, "tokens")
    assert frame["tokens"].tolist() == [10, 20, 30]
    assert frame["loss"].tolist() == pytest.approx([2, 1, 2 / 3])
    assert frame["low"].tolist() == frame["loss"].tolist()
    assert frame["n"].tolist() == [2, 2, 2]


def test_profiles_are_means_over_runs(at: Any) -> None:
    """At x = 1 the runs have .50 and .51: mean .505."""
    at(lambda folder: two_groups(folder, seeds=2))
    (first, _) = run_queries.groups("g")
    (name,) = score_queries.profile_names("g", list(first.runs.values()))
    frame = score_queries.profile(name.name, {"mle": first.run_ids})
    assert frame["x"].tolist() == [0, 1]
    assert frame["mean"].tolist() == pytest.approx([0.1, 0.505])


def test_nothing_on_the_front_is_beaten_for_less(at: Any) -> None:
    """Both cost 1.5 seconds and bc is better: it alone is on the front."""
    at(lambda folder: two_groups(folder, seeds=2))
    ids = {run_id for group in run_queries.groups("g") for run_id in group.run_ids}
    frame = score_queries.costs("g", ids, "out_of_support@law", "seconds")
    assert frame.set_index("group")["front"].to_dict() == {"mle": False, "bc backspace": True}
    assert frame["seconds"].tolist() == [1.5, 1.5]
    assert frame["memory"].tolist() == [1, 1]


def test_ways_through_training_and_their_front(at: Any) -> None:
    """mle has .5 and .4 at 100 and 200 tokens, bc .45 and .44 at 120 and 240: bc's last is beaten for less."""

    at(scored_on_the_way)
    here = run_queries.groups("g")
    (name,) = score_queries.interim_scores("g", [run for group in here for run in group.runs.values()])
    frame = score_queries.ways("g", {group.label: group.run_ids for group in here}, name, "tokens")
    assert frame["tokens"].tolist() == [100, 200, 120, 240]
    assert frame["mean"].tolist() == pytest.approx([0.5, 0.4, 0.45, 0.44])
    assert frame["front"].tolist() == [True, True, True, False]


def test_rollouts_know_what_deletes(at: Any) -> None:
    """Two rollouts delete at their third action of five."""
    at(lambda folder: two_groups(folder, seeds=1))
    (run_id,) = run_queries.groups("g")[0].run_ids
    found = run_queries.rollouts(run_id)
    assert found.backspace == 9
    assert [found.deletions(i) for i in (0, 1)] == [1, 1]
    assert found.by_position()["deletes"].tolist() == [0, 0, 2, 0, 0]


def test_what_a_page_shows_changes_with_the_store(at: Any) -> None:
    """Nothing is remembered beyond a write."""
    url = at(lambda folder: two_groups(folder, seeds=1))
    assert len(run_queries.finished("g")) == 2
    before = run_queries.stamp()
    with Store.open(url) as store:
        finish(store, config(5))
    assert run_queries.stamp() != before
    assert len(run_queries.finished("g")) == 3


def test_a_run_with_one_text_and_other_scores(at: Any) -> None:
    """A store of a third party's metric alone: its score stands alone and has no sentence."""

    def make(folder: Path) -> str:
        with Store(new(folder)) as store:
            texts = {"prompts": [Example("x")], "rollouts": [rollout()]}
            finish(store, config(), scores=[score("mine", 1.0)], **texts)
        return new(folder)

    at(make)
    members = list(run_queries.groups("g")[0].runs.values())
    assert [one.metric for one in score_queries.scores("g", members)] == ["mine"]


def test_palettes_are_readable() -> None:
    """Text has a contrast of 4.5 against its background, marks have 3 (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for pen in (charts.LIGHT, charts.DARK):
        assert contrast(pen.text, pen.ground) >= 4.5
        assert all(contrast(colour, pen.ground) >= 3 for colour in (*pen.palette, pen.accent, pen.muted))
    colours = dict(
        line.strip().removeprefix("--").split(": light-dark(", 1)
        for line in widgets.STYLE.splitlines()
        if ": light-dark(" in line
    )
    pairs = {name: tuple(value.rstrip(");").split(", ")) for name, value in colours.items()}
    grounds = [pairs[name] for name in ("ground", "raised", "wash", "bad-wash")]
    for i in (0, 1):
        assert all(
            contrast(pairs[name][i], pairs["ground"][i]) >= 4.5 for name in ("ink", "soft", "accent", "good", "bad")
        )
        assert all(contrast(pairs["ink"][i], ground[i]) >= 4.5 for ground in grounds)
        assert contrast(pairs["bad"][i], pairs["bad-wash"][i]) >= 4.5
