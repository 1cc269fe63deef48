"""Exports read back: CSV to the last digit, LaTeX and Markdown with every character as it was."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from boards import SM, add, add_groups, mauve, score
from hypothesis import given
from hypothesis import strategies as st

from harness.records.training import Step
from harness.report.exports import (
    board_text,
    csv_table,
    frame,
    frame_text,
    latex,
    latex_table,
    markdown_table,
)
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store

UP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
NASTY = r"50%_of & $x$ {a}^2 ~ #1 \ <b> | ±"


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_line_per_row_and_score_in_full(store: Store) -> None:
    add_groups(store, {"mle": [1 / 3, *UP[1:]], "b": [value + 1 for value in UP]})
    add(store, {"trainer": SM}, [score("perplexity", math.inf, direction="lower"), mauve(None, reason="no text")])
    board = leaderboard(store)
    lines = parsed(board_text(board, "csv"))
    first = lines[0]
    assert (first["trainer.name"], first["metric"], first["n"], first["values"]) == ("mle", "mauve", "6", "6")
    assert float(first["mean"]) == board.tables[0].rows[0].scores[first["name"]].interval.mean  # type: ignore[union-attr]
    assert (first["rank_best"], first["rank_worst"], first["difference"]) == ("2", "2", "")
    assert (lines[1]["baseline"], lines[1]["p"], lines[1]["pairs"]) == ("mle", "0.03125", "6")
    missing, diverged = lines[2], lines[3]
    assert (missing["mean"], missing["values"], missing["unscored"]) == ("", "0", "1")
    assert (diverged["mean"], diverged["low"]) == ("inf", "")
    assert json.loads(board_text(board, "json")) == board.to_dict()


def test_csv_says_of_which_score_a_difference_is(store: Store) -> None:
    """Diversity is ranked by its gap: b is .2 above mle in diversity and .1 closer to the experts."""
    for seed in range(6):
        for trainer, value, gap in (("mle", 0.5, 0.4), ("b", 0.7, 0.3)):
            both = [score("diversity", value, direction="reference"), score("diversity_gap", gap, direction="lower")]
            add(store, {"trainer": trainer}, [*both, score("zipf", value, direction="reference")], seed=seed)
    board = leaderboard(store, metrics=["diversity", "zipf"])
    diversity, zipf = [line for line in parsed(board_text(board, "csv")) if line["trainer.name"] == "b"]
    assert (diversity["ranked_by"], zipf["ranked_by"]) == ("diversity_gap@exact", "")
    assert float(diversity["difference"]) == pytest.approx(-0.1)
    assert float(zipf["difference"]) == pytest.approx(0.2)


def test_costs_are_exported_where_they_were_asked_for(store: Store) -> None:
    last = Step(step=9, tokens=100, seconds=3.0, loss=1.0, lr=0.1, terms={"tokens_without_gradient": 7.0})
    add(store, {}, [mauve(0.5)], steps=[last])
    board = leaderboard(store, per="token")
    (line,) = parsed(board_text(board, "csv"))
    assert (line["cost_steps"], line["cost_tokens"], line["cost_ratio"]) == ("9.0", "100.0", "1.0")
    (row,) = board.to_dict()["tables"][0]["rows"]
    assert list(row["cost"]) == ["steps", "tokens", "seconds", "ratio", "looked", "sampled", "equal"]
    assert float(line["cost_looked"]) == row["cost"]["looked"]


def test_the_best_is_bold_shared_places_are_underlined_and_ties_are_plain(store: Store) -> None:
    """b and c beat mle and tie: both start at 1 and share that; perplexity ties everywhere."""
    for seed, value in enumerate(UP):
        for trainer, gain in (("mle", 0), ("b", 1), ("c", 1)):
            one = [mauve(value + gain), score("perplexity", 5.0, direction="lower")]
            add(store, {"trainer": trainer}, one, seed=seed)
    board = leaderboard(store)
    tex = board_text(board, "latex")
    assert r"b & 6 & \textbf{\underline{1.35 $\pm$ 0.20 (1-2)}} & 5 $\pm$ 0 (1-3) \\" in tex
    assert r"mle & 6 & 0.35 $\pm$ 0.20 (3) & 5 $\pm$ 0 (1-3) \\" in tex
    assert r"\caption{text. Means over n = 6 seeds, given one base model, with single 95 \% Student-t intervals" in tex
    assert "| **1.35 ± 0.20 (1-2)** |" in board_text(board, "md")
    add_groups(store, {"d": [value + 2 for value in UP]})
    assert r"d & 6 & \textbf{2.35 $\pm$ 0.20 (1)} &" in board_text(leaderboard(store), "latex")


def test_latex_is_balanced_and_escaped(store: Store) -> None:
    add(store, {"trainer": {"name": "mle", "note": NASTY}}, [mauve(0.5)])
    add(
        store,
        {"trainer": {"name": "mle", "note": "b"}, "benchmark": {"name": "text", "corpus": "a_b%.txt"}},
        [mauve(1)],
    )
    tex = board_text(leaderboard(store), "latex")
    code = re.sub(r"(?m)^%.*$", "", tex)
    assert code.count(r"\begin{") == code.count(r"\end{") == 4
    bare = re.sub(r"\\[\\&%$#_{}]", "", code)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"(?<!\\)[%#_^]", bare)
    assert bare.count("$") % 2 == 0
    for line in code.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 2
    assert latex(r"a_b & 5 %") == r"a\_b \& 5 \%"
    assert latex("\x1b[0m\nx") == " [0m x"


def test_latex_compiles_where_there_is_a_compiler(store: Store, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    add(store, {"trainer": {"name": "mle", "note": NASTY}}, [mauve(0.5)])
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(head + board_text(leaderboard(store), "latex") + "\\end{document}\n")
    command = ["pdflatex", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)


def test_markdown_shows_markup_as_it_was_written() -> None:
    text = markdown_table(["a|b", "c"], [["<script>", "[x](y)\n*z*"]])
    assert text == "| a\\|b | c |\n| --- | --- |\n| \\<script\\> | \\[x\\](y) \\*z\\* |\n"


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=2, max_size=2)))
def test_csv_reads_back(rows: list[list[str]]) -> None:
    text = csv_table(["a", "b"], rows)
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == rows


def test_frames_of_everything(store: Store) -> None:
    """Scores carry the keys in which the runs differ; curves and profiles their run."""
    steps = [Step(step=i, tokens=10 * i, seconds=0.1, loss=1 / 3, lr=0.1, terms={"kl": 0.5}) for i in (1, 2)]
    ids = [add(store, {"trainer": name}, [mauve(1 / 3)], steps=steps) for name in ("mle", "bc")]
    (line, _) = parsed(frame_text(frame(store, "scores", "g"), "csv"))
    assert line["run_id"] in ids
    assert (line["trainer.name"], float(line["value"])) == ("mle" if line["run_id"] == ids[0] else "bc", 1 / 3)
    assert "training.lr" not in line
    curves = frame(store, "curves")
    assert list(curves.columns[:3]) == ["run_id", "step", "tokens"]
    assert len(curves) == 4
    assert float(parsed(frame_text(curves, "csv"))[0]["loss"]) == 1 / 3
    (run, _) = json.loads(frame_text(frame(store, "runs"), "json"))
    assert (run["run_id"], run["step"], run["error"]) == (ids[0], 2, None)
    assert frame_text(frame(store, "profiles"), "csv").startswith("run_id,group_id,")
    assert "\\midrule" in frame_text(frame(store, "scores"), "latex")
    assert latex_table(["a"], [["b"]]).count("caption") == 0


def test_an_empty_store_exports_what_it_says(store: Store) -> None:
    board = leaderboard(store)
    assert "no runs yet" in board_text(board, "md")
    assert board_text(board, "latex") == "% no runs yet; `harness run GRID` starts some\n"
    assert parsed(board_text(board, "csv")) == []
    for what in ("scores", "runs", "curves", "profiles"):
        assert frame_text(frame(store, what), "json") == "[]\n"  # type: ignore[arg-type]
        frame_text(frame(store, what), "csv")  # type: ignore[arg-type]
