"""The commands about texts: scoring outside ones, and looking again at what runs wrote, hostile texts included."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored import ME, RESULTS, config
from typer.testing import CliRunner

from harness.analysis.samples import ORDERS, side_by_side
from harness.cli.app import app
from harness.cli.commands.stored import Sort
from harness.errors import StoreError, UnknownName
from harness.records import Example, Rollout, Trajectory
from harness.storage.queries import find_run
from harness.storage.store import Store

END, BACK = 0, 9
HOSTILE = "\x1b[2J\x9b31m\u202egnp.exe\x00\ud800 [red]\r\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/runs.db")


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Any]:
    def call(*args: str, code: int = 0) -> Any:
        environment = {"HARNESS_STORE": f"sqlite:///{tmp_path}/runs.db", "COLUMNS": "120"}
        result = CliRunner(env=environment).invoke(app, list(args))
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


def rollout(text: str, actions: list[int], pieces: list[str] | None = None, stop: Any = "ended") -> Rollout:
    tokens: list[int] = []
    for action in actions[:-1] if stop == "ended" else actions:
        tokens = tokens[:-1] if action == BACK else [*tokens, action]
    log_probs = tuple(-float(i) for i in range(len(actions)))
    trajectory = Trajectory((5,), tuple(actions))
    return Rollout(trajectory, log_probs, stop, text, tuple(tokens), tuple(pieces or ()))


def finished(store: Store, rollouts: list[Rollout], prompts: list[Example], seed: int = 0) -> str:
    run = config(seed)
    store.enqueue("g", [run])
    assert store.claim(run.run_id, ME)
    written = {"prompts": prompts, "rollouts": rollouts, "backspace_id": BACK}
    store.finish(run.run_id, ME, **{**RESULTS, **written, "scores": []})
    return run.run_id


# -------------------------------------------------------------------------------------------------------- score


def test_outside_texts_are_scored(shell: Callable[..., Any], tmp_path: Path) -> None:
    """Two texts of 4 and 2 words against 2 and 2: one of their 4 bigrams, `a b`, is met again in its text.

    length 3, gap 1; rep_2 = 1/4, and the likelihood is nobody's.
    """
    texts = [{"text": "a b a b", "prompt": "p", "reference": "x y"}, {"text": "c d", "reference": "u v"}]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, texts)))
    command = ["score", str(path), "--metrics", "length,length_gap,rep_2,perplexity"]
    found = json.loads(shell(*command, "--json").stdout)
    assert found["texts"] == {"file": str(path), "n": 2, "texts_hash": found["scores"][0]["texts_hash"]}
    assert found["references"] == {"n": 2, "pairing": "pairs"}
    value = {one["metric"]: one["value"] for one in found["scores"]}
    assert (value["length"], value["length_gap"], value["rep_2"], value["perplexity"]) == (3, 1, 0.25, None)
    assert found["scores"][2]["name"] == "rep_2@exact"
    printed = shell(*command).stdout
    assert "rep_2@exact ≈" in printed
    assert "2 texts, 2 references (pairs)" in printed
    assert "perplexity: no value: the evaluation holds no likelihood" in printed
    interval = json.loads(shell(*command, "--bootstrap", "20", "--json").stdout)["scores"][0]
    assert interval["low"] <= 3 <= interval["high"]


def test_without_metrics_those_are_chosen_that_have_a_value(shell: Callable[..., Any], tmp_path: Path) -> None:
    """Texts alone; with references; with training texts; texts without a word; a file with references of its own."""
    (tmp_path / "texts.txt").write_text("a b c a b c a b c d e f g h\nd e f g h i j k l m n\n")
    (tmp_path / "human.txt").write_text("a b c d e f g h i j k l\nx y z u v w x y z\nq r s\n")
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "pairs.jsonl").write_text('{"text": "a b c d e", "reference": "a b d e f"}\n' * 3)

    def chosen(*args: str, code: int = 0) -> tuple[str, set[str]]:
        result = shell("score", *args, "--json", code=code)
        scores = json.loads(result.stdout)["scores"]
        assert code or all(one["value"] is not None for one in scores)
        return result.stderr, {one["metric"] for one in scores}

    texts, human = str(tmp_path / "texts.txt"), str(tmp_path / "human.txt")
    said, alone = chosen(texts)
    assert {"length", "diversity", "rep_2", "distinct_2"} <= alone
    assert not {"length_gap", "length_reference", "ngram_js_3", "copied_8"} & alone
    assert "metrics by default: length, diversity, repetition, distinct" in said
    assert "ngram_js needs --reference FILE; memorisation needs --train FILE; --metrics" in said
    said, beside = chosen(texts, "--reference", human)
    assert beside > alone | {"length_reference", "ngram_js_3"}
    assert "ngram_js needs" not in said
    said, copied = chosen(texts, "--train", human)
    assert "copied_8" in copied
    assert "memorisation needs" not in said
    assert "length_gap" in chosen(str(tmp_path / "pairs.jsonl"))[1]
    assert chosen(str(tmp_path / "empty.txt"))[1] == {"length"}
    bounded = json.loads(shell("score", texts, "--bootstrap", "20", "--json").stdout)["scores"]
    assert all("low" in one for one in bounded if one["metric"] == "length")


def test_features_of_a_second_call_are_kept_beside_the_store(
    shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides are one file each; the second call has the same scores and makes no forward pass."""
    from tiny_policies import tiny_policy

    from harness.evaluation import features

    tiny_policy(backspace=False, dtype="float32").save(tmp_path / "feat")
    texts = [{"text": "abcdef"[: 1 + i % 6], "reference": "fedcba"[: 1 + i % 5]} for i in range(30)]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, texts)))
    options = f"featuriser={tmp_path / 'feat'},num_buckets=2"
    command = ["score", str(path), "--metrics", f"mauve@mauve-text[{options}]", "--json"]
    first = json.loads(shell(*command).stdout)
    kept = sorted((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 2
    monkeypatch.setattr(features, "pooled", None)
    assert json.loads(shell(*command).stdout) == first
    assert sorted((tmp_path / "cache" / "features").iterdir()) == kept
    assert all("bfloat16" not in one["name"] for one in first["scores"])
    monkeypatch.undo()
    rounded = ["score", str(path), "--metrics", f"mauve@mauve-text[{options},dtype=bfloat16]", "--json"]
    found = json.loads(shell(*rounded).stdout)
    assert all("dtype=bfloat16" in one["name"] for one in found["scores"])
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 4


def test_references_may_be_a_set_and_mauve_says_what_to_type(shell: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a b\n\nc\n")
    (tmp_path / "human.txt").write_text("x\ny\n")
    given = ["score", f"{tmp_path}/texts.txt", "--reference", f"{tmp_path}/human.txt"]
    found = json.loads(shell(*given, "--metrics", "empty_fraction,mauve,length_reference", "--json").stdout)
    assert found["references"] == {"n": 2, "pairing": "set"}
    assert [one["value"] for one in found["scores"]] == [pytest.approx(1 / 3), None, 1]
    assert "length=free" in found["scores"][1]["reason"]
    free = shell(*given, "--metrics", "mauve@mauve-text[length=free],frontier_integral@mauve-text[length=free]", code=1)
    assert "write [featuriser=DIRECTORY] after the" in " ".join(free.stdout.split())


def test_a_score_that_cannot_be_asked_for_is_told(shell: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "b"}\n')
    assert 'line 2: \'{"txt": "b"}\' has no "text"' in shell("score", str(path), "--metrics", "rep_2", code=2).stderr
    assert "did you mean 'diversity'?" in shell("score", str(path), "--metrics", "diversty", code=2).stderr
    assert "cannot be read" in shell("score", f"{path}x", "--metrics", "rep_2", code=3).stderr
    path.write_text('{"text": "a", "reference": "b"}\n' * 4)
    asked = "mauve@mauve-text[featuriser=/no/such/model]"
    assert "featuriser='/no/such/model'" in shell("score", str(path), "--metrics", asked, code=3).stderr


def test_the_published_diversity_through_the_door(
    shell: Callable[..., Any], data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Su & Collier, arXiv 2210.14140: top-k, run 0: 91.33 % and 142.832 words."""
    cases = json.loads((data("webtext-generations") / "topk_result.json").read_text(encoding="utf-8"))
    rows = [{"text": case["generated_result"]["0"], "reference": case["reference_text"]} for case in cases]
    path = tmp_path / "topk.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = json.loads(shell("score", str(path), "--metrics", "diversity@simctg,length", "--json").stdout)["scores"]
    assert round(100 * found[0]["value"], 2) == 91.33
    assert found[1]["value"] == 142.832


# ------------------------------------------------------------------------------------------- samples and replay


def test_samples_stand_side_by_side_by_prompt(shell: Callable[..., Any], store: Store) -> None:
    """Run 2 answered the prompts in another order and r never; p came twice and is matched by its turn."""
    answers = [rollout("A", [1, END]), rollout("", [END]), rollout("C", [1, 2, END]), rollout("D", [1, END])]
    one = finished(store, answers, [*map(example, "pqrp")])
    answers = [rollout("x", [3, BACK, 1, END]), rollout("y", [4, END]), rollout("z", [4, END])]
    two = finished(store, answers, [*map(example, "qpp")], seed=1)
    found = side_by_side(store, [one, two])
    assert [(sample.prompt, sample.reference) for sample in found] == [(p, f"human {p}") for p in "pqrp"]
    texts = [[written and written.text for written in sample.written.values()] for sample in found]
    assert texts == [["A", "y"], ["", "x"], ["C", None], ["D", "z"]]
    assert [getattr(sample.written[two], "sample", None) for sample in found] == [1, 0, None, 2]
    first = {order: side_by_side(store, [one, two], order)[0].prompt for order in ORDERS}
    assert first == {
        "prompts": "p", "longest": "r", "most-backspaces": "q", "most-repetitive": "p", "empty": "q",
    }  # fmt: skip
    assert set(ORDERS) == set(Sort.__args__)  # type: ignore[attr-defined]
    printed = shell("samples", one[:5], two[:6], "--limit", "3").stdout
    for part in ("human p", "(empty)", "(not asked)", "sample 0, ended, 1 tokens, 1 deleted"):
        assert part in printed
    plain = json.loads(shell("samples", one, "--sort", "longest", "--limit", "1", "--json").stdout)
    assert plain[0]["written"][one]["text"] == "C"


def example(name: str) -> Example:
    return Example(f"human {name}", prompt=name)


def test_repetition_is_a_share_of_runs_of_four_tokens(store: Store) -> None:
    """Eight tokens 1 hold five runs of four, one of them new: 4/5; four different ones hold one: 0."""
    run = finished(store, [rollout("a", [1] * 8 + [END]), rollout("b", [1, 2, 3, 4, END])], [*map(example, "pq")])
    found = [sample.written[run] for sample in side_by_side(store, [run])]
    assert [one.repetition for one in found if one] == [pytest.approx(4 / 5), 0]


def test_a_run_is_found_by_the_beginning_of_its_id(shell: Callable[..., Any], store: Store) -> None:
    ids = [finished(store, [rollout("a", [1, END])], [example("p")], seed) for seed in range(17)]
    assert find_run(store, ids[3][:12]) == ids[3] == find_run(store, ids[3])
    for beginning, problem in (("", "'' begins 17 run ids"), ("xyz", "no run id begins with 'xyz'")):
        with pytest.raises(UnknownName, match=problem):
            find_run(store, beginning)
    assert "harness ls runs" in shell("replay", "xyz", code=2).stderr
    assert "give --sample 0 to 0" in shell("replay", ids[0], "--sample", "1", code=2).stderr
    unfinished = config(99)
    store.enqueue("g", [unfinished])
    assert "has no rollouts here" in shell("samples", unfinished.run_id, code=3).stderr


def test_a_replay_strikes_out_what_was_deleted(shell: Callable[..., Any], store: Store) -> None:
    pieces = ["the", " cat", "<backspace>", " dog", "<end>"]
    run = finished(store, [rollout("the dog", [1, 2, BACK, 3, END], pieces)], [example("p")])
    printed = shell("replay", run[:8]).stdout
    assert "actions: the~~ cat~~<backspace> dog<end>" in printed
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "2 -1.000 ~~ cat~~ deleted by 3 the cat" in lines
    assert "3 -2.000 <backspace> deletes 2 the" in lines
    assert "5 -4.000 <end> the dog" in lines
    found = json.loads(shell("replay", run, "--json").stdout)
    assert [action["deleted"] for action in found["actions"]] == [False, True, False, False, False]
    assert found["actions"][3]["state"] == [1, 4]


def test_deleted_tokens_are_struck_through_where_there_are_colours() -> None:
    from rich.console import Console

    from harness.analysis.replay import frames
    from harness.cli.commands.stored import _print_replay

    row = {"actions": [1, BACK, END], "stop": "ended", "pieces": ["\x1bcat", "b", "e"], "injected": [False] * 3}
    console = Console(color_system="truecolor", force_terminal=True, width=80)
    with console.capture() as capture:
        _print_replay(console, "p", frames(row | {"log_probs": [0.0] * 3}, BACK), "ended")
    assert "\x1b[9;31m␛cat\x1b[0m" in capture.get()  # 9 is strike
    assert "~~" not in capture.get()


def test_hostile_texts_never_drive_the_terminal(shell: Callable[..., Any], store: Store) -> None:
    """Escapes, C1 controls, bidirectional overrides, NUL, lone surrogates and markup, in prompt, text and pieces."""
    rows = [rollout(HOSTILE, [1, END], [HOSTILE, "<end>"])]
    run = finished(store, rows, [Example(HOSTILE, prompt=HOSTILE)])
    assert store.rollouts(run)["pieces"][0] == [HOSTILE, "<end>"]
    for command in ("samples", "replay"):
        printed = shell(command, run).stdout
        assert "␛[2J\\u{9b}31m\\u{202e}gnp.exe␀\\u{d800}" in "".join(printed.split("\n"))
        assert "[red]" in printed
        plain = shell(command, run, "--json").stdout
        for output in (printed, plain):
            assert not set("\x1b\x9b\u202e\x00\r") & set(output)
        assert json.dumps(HOSTILE) in plain
        assert plain.isascii()


# ------------------------------------------------------------------------------------------------------ rescore


def test_scores_are_replaced_by_name_in_one_transaction(store: Store) -> None:
    from stored import score

    run = finished(store, [rollout("a", [1, END])], [example("p")])
    store.rescore({run: ([score("a", 1.0), score("b", 2.0)], [])})
    store.rescore({run: ([score("b", math.nan), score("c", None, "why")], [])})
    found = store.scores(run_id=run).set_index("metric")["value"]
    assert (found["a"], list(found.index)) == (1, ["a", "b", "c"])
    assert math.isnan(found["b"])
    other = finished(store, [rollout("a", [1, END])], [example("p")], seed=1)
    pending = config(2)
    store.enqueue("g", [pending])
    with pytest.raises(StoreError, match=f"run {pending.run_id} is not finished"):
        store.rescore({other: ([score("a")], []), pending.run_id: ([score("a")], [])})
    assert store.scores(run_id=other).empty, "nothing is changed"
