"""Tables of the sample store and of one with long names, on narrow and wide screens: whole numbers, no long line."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from boards import add, mauve, score
from rich.console import Console
from stored import step
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.commands.tuning import _choice_text, _next
from harness.cli.output import say
from harness.cli.watch import tables
from harness.config.run import RunConfig
from harness.grids.grid import load_grid
from harness.grids.tuning import Choice, Tried
from harness.plugins.speed import SpeedRow
from harness.storage.store import Store

SAMPLE = Path(__file__).parents[2] / "dashboard" / "sample"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?(?: ± \d+\.?\d*(?:e[-+]?\d+)?)?(?: \(n=\d+\))?")
LONG = "/data/experiments/2026/november/checkpoints/a-rather-long-name-of-a-base"
COMPARED = ("compare", "trainer=mle", "trainer=bc")
TABLES = [
    ("leaderboard",),
    ("leaderboard", "--all"),
    ("leaderboard", "--per", "token"),
    ("leaderboard", "--metric", "length,diversity,mauve,perplexity"),
    COMPARED,
    (*COMPARED, "--all"),
    (*COMPARED, "trainer=sequence_match"),
    ("overhead",),
    ("overhead", "--all"),
    ("ls", "runs"),
    ("status",),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URLs of the shipped sample, and of a store of five seeds with long names and wide numbers."""
    folder = tmp_path_factory.mktemp("stores")
    shutil.copytree(SAMPLE, folder / "sample")
    url = f"sqlite:///{folder}/long.db"
    with Store(url) as store:
        for seed in range(5):
            for i, trainer in enumerate(("mle", "bc", "sequence_match")):
                for base in ("one", "two"):
                    config = {"trainer": trainer, "model": {"name": f"{LONG}-{base}"}, "training": {"lr": 1.25e-4}}
                    found = [mauve(0.123456 + 0.01 * seed + 0.1 * i), score("perplexity", 123456.7 + seed**3 + i)]
                    found += [score("length", 21.5 - seed * i, parameters={"stride": n, "window": 18}) for n in (1, 2)]
                    add(store, config, [*found, score("diversity", None, reason="no text")], seed=seed)
    return {"sample": f"sqlite:///{folder}/sample/runs.db", "long": url}


def printed(url: str, width: int | None, *args: str, code: int = 0) -> str:
    environment = {"HARNESS_STORE": url, "COLUMNS": None if width is None else str(width)}
    result = CliRunner(env=environment).invoke(app, list(args))
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.parametrize("args", [*TABLES, ("validity",), ("validity", "--all")], ids=" ".join)
def test_no_line_is_longer_than_the_screen_and_no_number_is_cut(stores: dict[str, str], args: tuple[str, ...]) -> None:
    for name, url in stores.items():
        asked = (*args, "--target", "mauve") if name == "long" and args[0] == "validity" else args
        if name == "long" and args[0] == "overhead":
            continue  # nothing was trained
        whole = set(NUMBER.findall(printed(url, 400, *asked)))
        for width in (60, 80, 100, 200):
            text = printed(url, width, *asked)
            lines = text.splitlines()
            assert max(map(len, lines)) <= width, (name, width)
            rows = [line for line in lines if " ± " in line]
            assert {number for line in rows for number in NUMBER.findall(line) if "±" in number} <= whole, (name, width)


@pytest.mark.parametrize(
    "args",
    [
        ("ls", "grids"),
        ("ls", "metrics"),
        ("info", "perplexity"),
        ("info", "sequence_match"),
        ("info", "demo"),
        ("samples", "61ef54db", "594736eb"),
        ("replay", "594736eb"),
    ],
    ids=" ".join,
)
def test_lists_and_texts_fit(stores: dict[str, str], args: tuple[str, ...]) -> None:
    for width in (60, 80, 100, 200):
        assert max(map(len, printed(stores["sample"], width, *args).splitlines())) <= width
    assert printed(stores["sample"], None, *args)


WIDTHS = (60, 80, 100)
HEAD = {
    "benchmark": {"name": "language", "length": 6, "train": 64, "validation": 8, "test": 8},
    "trainer": "mle",
    "model": {"tokenizer": "characters"},
}


@pytest.mark.parametrize(
    ("name", "trainer"),
    [
        ("g", {"name": "sequence_match", "divergence": "chi2_mixture"}),
        ("a-grid-with-a-rather-long-name-of-its-own", "mle"),
    ],
    ids=["objective", "long"],
)
def test_what_tuning_would_do_fits(name: str, trainer: Any, tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text(
        json.dumps({"base": {**HEAD, "trainer": trainer}, "grid": {"actions.backspace": [False, True]}, "seeds": 3})
    )
    url = f"sqlite:///{tmp_path}/runs.db"
    for width in WIDTHS:
        text = printed(url, width, "tune", str(file), "--plan", "--trials", "3", "--name", name)
        assert max(map(len, text.splitlines())) <= width
        assert re.search(r"\d groups x 3 trials = \d trials \(0 done\)", " ".join(text.split()))
    assert len(printed(url, None, "tune", str(file), "--plan").splitlines()) == 2  # for a program as it is


@pytest.mark.parametrize(
    "drawn", [{}, {"training.lr": 0.0041234567, "actions.noise_rate": 0.0512345, "trainer.alpha": 1e-4}], ids=len
)
@pytest.mark.parametrize("name", ["g", "a-grid-with-a-rather-long-name-of-its-own"])
def test_what_tuning_chose_fits(
    name: str, drawn: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The choice in words, its numbers whole, and the commands that come next, of which none is broken."""
    (group,) = load_grid("demo", ["benchmark=text", "trainer=bc", "seeds=1"]).expand()[:1]
    tried = Tried(group, (group,), ({}, drawn), (group, group))
    choice = Choice(tried, "mauve_curve", (0.123456, 0.98765, "the loss is nan")[: len(drawn) or 2], 1, 256, 1)
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        say(_choice_text(choice))
        say(_next(name), 6)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert "0.9877" in text
        assert all(key in text and f"={value}" in text for key, value in drawn.items())
        assert all(f" leaderboard {name}-{kind}" in " ".join(text.split()) for kind in ("tuned", "trials"))
        assert len(name) > 1 or all(f" leaderboard {name}-{kind}" in text for kind in ("tuned", "trials"))


def test_what_workers_do_fits_while_it_is_watched(tmp_path: Path) -> None:
    """Three running cells with long names and large numbers; of the columns the first ones stay, counts all."""
    url = f"sqlite:///{tmp_path}/runs.db"
    host = "a-rather-long-name-of-a-host.example.org/0123456789ab:4026532:987654321#1"
    runs = [
        RunConfig.model_validate(
            {**HEAD, "model": {"name": f"{LONG}-{base}"}, "training": {"steps": 1_000_000, "lr": lr}}
        )
        for base, lr in (("one", 1.25e-4), ("two", 1.25e-4), ("two", 0.012345678))
    ]
    with Store(url) as store:
        for name in ("g", f"{LONG}-of-a-grid"):
            store.enqueue(name, runs)
        for run in runs:
            assert store.claim(run.run_id, host)
            store.log(run.run_id, host, [step(987_654)])
        counts = {name: {"cells": 123_456, **dict.fromkeys(("done", "failed", "running", "pending"), 12_345)}
                  for name in ("g", f"{LONG}-of-a-grid")}  # fmt: skip
    for width in (*WIDTHS, 200):
        screen = Console(file=io.StringIO(), width=width)
        screen.print(*tables(counts, Store.open(url, read_only=True)), sep="\n")
        text = screen.file.getvalue()
        assert max(map(len, text.splitlines())) <= width
        assert (len(re.findall(r"\b12345\b", text)), len(re.findall(r"\b123456\b", text))) == (8, 2)
        for run in runs:
            (line,) = [line for line in text.splitlines() if run.run_id in line]
            assert " 987654 " in f"{line} "
        assert ("left out to fit" in text) is (width < 200)
        whole = re.search(r"left out to fit: .*held by", text) is not None or "a-rather-long-name-of-a-host" in text
        assert whole


@pytest.mark.parametrize("grid", [(), ("demo",)], ids=len)
def test_a_finished_store_that_is_watched_fits(stores: dict[str, str], grid: tuple[str, ...]) -> None:
    for width in WIDTHS:
        text = printed(stores["sample"], width, "status", *grid, "--watch")
        assert max(map(len, text.splitlines())) <= width
        assert re.search(r"demo +36 +36 +0 +0 +0", text)


def test_measured_speeds_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers from small to large, a bound alone, a row that could not be measured; none is cut at any width."""

    def row(name: str, ours: float | None, theirs: float | None = None, **more: Any) -> SpeedRow:
        known = {"what": "this harness does a thing with a library", "against": "the library's own way to do the thing"}
        return SpeedRow(name, **(known | {"unit": "tokens/s", "target": 0.95, "better": "higher"} | more), ours=ours,
                        theirs=theirs, ratio=None if theirs is None else (ours or 0) / theirs,
                        low=None if theirs is None else 0.987, high=None if theirs is None else 1.234)  # fmt: skip

    found = [
        row("train", 123456.7, 100000.0, met=True),
        row("a-row-with-a-rather-long-name", 0.0123, 0.0456, better="lower", unit="s/100 steps"),
        row("bound", 51.5, against="", met=False),
        row("elsewhere", None, reason="there is no CUDA device here; run it where there is one, or leave the row out"),
    ]
    monkeypatch.setattr("harness.plugins.speed.time_comparisons", lambda *_: iter(found))
    url = f"sqlite:///{tmp_path}/none.db"
    for width in (*WIDTHS, 200):
        text = printed(url, width, "bench", "--device", "cpu")
        assert max(map(len, text.splitlines())) <= width
        for number in ("123,457", "100,000", "0.0123", "0.0456", "51.5", "0.987 - 1.23", "tokens/s", ">= 0.95"):
            assert number in text, (number, width)
    assert max(map(len, printed(url, None, "bench", "--device", "cpu").splitlines())) > 100  # for a program as it is


@pytest.mark.parametrize("sides", [["mle", "bc"], ["mle", "sequence_match"], ["bc", "sequence_match"],
                                   ["mle", "bc", "sequence_match"]])  # fmt: skip
def test_a_comparison_is_one_screen_and_all_of_it_is_asked_for(stores: dict[str, str], sides: list[str]) -> None:
    asked = ("compare", *(f"trainer={side}" for side in sides), "--grid", "demo")
    short, whole = printed(stores["sample"], 80, *asked), printed(stores["sample"], 80, *asked, "--all")
    assert len(short.splitlines()) < 40
    assert "more scores: --all shows them" in short
    assert "\nexact_kl ↓" in short
    assert "own_regret" not in short
    assert "own_regret@kl[texts=500]" in whole
    assert "seeds needed" not in whole  # two seeds do not say


def test_columns_that_are_left_out_are_counted_and_named(stores: dict[str, str]) -> None:
    narrow, wide = (printed(stores["sample"], width, "leaderboard", "demo") for width in (80, 400))
    assert "left out to fit: 3 columns (bad_texts ↓, perplexity ↓, backspace_rate ≈); --all shows them" in " ".join(
        narrow.split()
    )
    assert "bad_texts@law" not in narrow
    assert "left out" not in wide
    for given in (("--all",), ("--metric", "exact_kl,bad_texts,mauve,perplexity,length")):
        assert "left out" not in printed(stores["sample"], 80, "leaderboard", "demo", *given)
    assert "left out to fit" in printed(stores["sample"], 60, "overhead", "demo")


@pytest.mark.parametrize("verb", [("leaderboard",), ("overhead",), ("validity",)], ids=" ".join)
def test_a_pipe_gets_every_column(stores: dict[str, str], verb: tuple[str, ...]) -> None:
    text, whole = printed(stores["sample"], None, *verb), printed(stores["sample"], 400, *verb, "--all")
    assert "left out to fit" not in text
    assert set(NUMBER.findall(whole)) <= set(NUMBER.findall(text))


def test_rows_and_scores_are_named_by_what_tells_them_apart(stores: dict[str, str]) -> None:
    """Paths lose the folder that they share, two scores of one metric the parameters that they share."""
    text = printed(stores["long"], 80, "leaderboard")
    assert "length[stride=1]" in printed(stores["long"], 200, "compare", "model.name=" + f"{LONG}-one", "trainer=bc")
    assert "/data/experiments" not in text.partition("mauve ↑  ")[0]
    assert "…/a-rather-long-name" in text


def test_no_table_stands_without_a_score(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    with Store(url) as store:
        for seed in range(2):
            add(store, {}, [mauve(None, reason="fewer than 32 texts")], seed=seed)
            add(store, {"trainer": "bc"}, [], seed=seed)
    for width in (60, 200, None):
        text = printed(url, width, "leaderboard")
        assert "───" not in text
        assert "no run here has a value of these scores" in " ".join(text.split())
        assert "mauve: no value for 2 run(s): fewer than 32 texts" in " ".join(text.split())
        compared = " ".join(printed(url, width, *COMPARED).split())
        assert "no score has a value on two of the sides" in compared
        assert "score A" not in compared
        said = " ".join(printed(url, width, "validity", "--target", "mauve").split())
        assert "no run here has a value of mauve, so there is no table" in said


@pytest.mark.parametrize(
    ("values", "needed"), [([0.0, 1.0], False), ([1.0, 1.0, 1.0], False), ([0.0], False), ([0.1, 0.9, 0.7, 0.8], True)]
)
def test_seeds_needed_stand_where_they_can_be_said(tmp_path: Path, values: list[float], needed: bool) -> None:
    """Neither one nor two seeds say how large an effect is, nor differences that are all equal."""
    url = f"sqlite:///{tmp_path}/seeds.db"
    with Store(url) as store:
        for seed, value in enumerate(values):
            add(store, {}, [mauve(0.5)], seed=seed)
            add(store, {"trainer": "bc"}, [mauve(0.5 + value)], seed=seed)
    for more in ((), ("--all",)):
        assert ("seeds needed" in printed(url, 100, *COMPARED, *more)) is needed
    (found,) = json.loads(printed(url, 100, *COMPARED, "--json"))
    assert (found["scores"][0]["differences"][0]["seeds_needed"] is not None) is needed
