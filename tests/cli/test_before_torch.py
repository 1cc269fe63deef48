"""Faults of a command are said before torch is loaded, here or in the server of worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import json, sys
from multiprocessing import forkserver

def refuse(*_):
    raise AssertionError("the server of worker processes loads torch")

class Guard:
    def find_spec(self, name, path, target=None):
        assert name.partition(".")[0] not in ("torch", "transformers"), f"{name} is loaded"

forkserver.ensure_running = refuse
sys.meta_path.insert(0, Guard())

from typer.testing import CliRunner
from harness.cli.app import app

for args in json.loads(sys.stdin.read()):
    found = CliRunner().invoke(app, args)
    said = found.stderr.strip() if isinstance(found.exception, SystemExit) else repr(found.exception)
    print(json.dumps([found.exit_code, said]))
"""

RUN = ["run", "demo"]
REFUSED = {
    "bert": ({}, "looks at tokens that follow: is_decoder is not set"),
    "roberta": ({"pad_token_id": 0}, "computes logits from hidden states in a way that is not supported"),
    "xlnet": ({}, "looks at tokens that follow"),
    "xlm": ({}, "cannot be run as a causal language model"),
    "xlm_causal": ({"causal": True}, "cannot be run as a causal language model"),
    "t5": ({}, "transformers has none of model_type 't5'"),
    "reformer": ({"is_decoder": True, "pad_token_id": None}, "has no pad_token_id"),
    "electra": ({}, "is_decoder is not set"),
    "distilbert": ({}, "transformers has none of model_type 'distilbert'"),
    "camembert": ({"is_decoder": True}, "in a way that is not supported"),
}
RECURRENT = {
    "mamba": {},
    "rwkv": {},
    "jamba": {"attn_layer_period": 8},
    "bamba": {"attn_layer_indices": [1], "num_hidden_layers": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
}
MANY: list[tuple[list[str], int, str]] = [
    *(
        found
        for verb in ("run", "plan", "tune")
        for found in (
            ([verb, "dem"], 2, "did you mean 'demo'?"),
            ([verb, "demo", "trainer=sequense_match"], 2, "did you mean 'sequence_match'?"),
            ([verb, "demo", "training.lrr=1"], 2, "did you mean"),
            ([verb, "demo", "lr=-1"], 2, "greater than 0"),
            ([verb, "mine.yaml", "corpus=nosuch.jsonl"], 2, "no such file"),
            ([verb, "mine.yaml", "corpus=bad.jsonl"], 2, "line 2"),
            ([verb, "mine.yaml", "metrics=diversty"], 2, "did you mean 'diversity'?"),
            ([verb, "mine.yaml", "model.name=./nosuch"], 2, "no such directory"),
            ([verb, "demo", "--include", "nosuch.py"], 2, "no such Python file"),
        )
    ),
    *(
        (["evaluate", model, "--benchmark", benchmark, *more], code, words)
        for model, benchmark, more, code, words in (
            ("m", "languag", [], 2, "did you mean 'language'?"),
            ("m", "language", ["traning.steps=0"], 2, "did you mean"),
            ("m", "language", ["top_p=7"], 2, "top_p"),
            ("m", "language", ["--metrics", "diversty"], 2, "did you mean 'diversity'?"),
            ("m", "text", ["corpus=nosuch.jsonl"], 2, "no such file"),
            ("m", "text", ["corpus=bad.jsonl"], 2, "line 2"),
            ("nosuchmodel", "language", [], 3, "no copy of a Hub model of this name is here"),
            ("gpt2", "language", [], 2, "built from scratch"),
        )
    ),
    *(
        (["generate", model, "--prompts", file, *more], code, words)
        for model, file, more, code, words in (
            ("nosuchmodel", "p.txt", [], 3, "no run id, which is hexadecimal"),
            ("me/nosuch", "p.txt", [], 3, "no copy of a Hub model of this name is here"),
            ("./nosuch", "p.txt", [], 3, "no such directory"),
            ("beef", "p.txt", [], 3, "nothing is stored there yet"),
            ("m", "nosuch.txt", [], 3, "cannot be read"),
            ("m", "p.txt", ["--top-p", "7"], 2, "top_p=7.0"),
            ("m", "p.txt", ["--decoder", "greedy", "--best-of", "2"], 2, "best_of=2"),
        )
    ),
    (["run", "law.yaml", "model.name=nosuchmodel"], 3, "model.name='nosuchmodel' cannot be loaded"),
    (["run", "law.yaml", "model.name=me/nosuch,m"], 3, "model.name='me/nosuch' cannot be loaded"),
    (["tune", "law.yaml", "model.name=nosuchmodel"], 3, "no copy of a Hub model of this name is here"),
    *((["plan", "law.yaml", f"model.name=./{name}"], 2, words) for name, (_, words) in REFUSED.items()),
    *(
        (["plan", "law.yaml", f"model.name=./{name}", *asked], 2, words)
        for name in RECURRENT
        for asked, words in (
            (["backspace=true"], "carries a recurrent state along the text"),
            (["decoder=contrastive"], "takes them back, which this model cannot"),
        )
    ),
    (["run", "law.yaml", "model.name=./bert"], 2, "looks at tokens that follow"),
    (["score", "p.txt", "--metrics", "diversty"], 2, "did you mean 'diversity'?"),
    (["score", "nosuch.txt"], 3, "cannot be read"),
    (["score", "bad.jsonl"], 2, "line 2"),
    (
        ["score", "p.txt", "--metrics", "mauve@mauve-text[featuriser=nosuchmodel]"],
        3,
        "featuriser='nosuchmodel' cannot be",
    ),
    (["score", "p.txt", "--metrics", "mauve@mauve-text[featuriser=./nosuch]"], 3, "no such directory"),
    (["score", "p.txt", "--reference", "nosuch.txt"], 3, "cannot be read"),
    (["sensitivity", "tex", "--metrics", "length"], 2, "did you mean 'text'?"),
    (["sensitivity", "text", "corpus=nosuch.jsonl", "--metrics", "length"], 2, "no such file"),
    (["rescore", "demo", "--metrics", "length"], 3, "nothing is stored there yet"),
    (["rescore", "demo", "--metrics", "lenght"], 2, "did you mean 'length'?"),
    (["export-model", "beef", "out"], 3, "nothing is stored there yet"),
    (["reproduce", "beef"], 3, "nothing is stored there yet"),
    (["worker"], 3, "nothing is stored there yet"),
    (["demo", "--store", "sqlite://x.db"], 3, "three slashes"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Exit code and message of every command, in one process in which torch cannot be imported."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    for name, config in {**{name: config for name, (config, _) in REFUSED.items()}, **RECURRENT}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": name.removesuffix("_causal"), **config}))
    (folder / "p.txt").write_text("one\ntwo\n")
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (folder / "mine.yaml").write_text("base: {benchmark: {name: text, corpus: p.txt}, trainer: mle}\n")
    sizes = "train: 8, validation: 8, test: 8"
    (folder / "law.yaml").write_text(f"base: {{benchmark: {{name: language, {sizes}}}, trainer: mle}}\n")
    environment = {"HF_HUB_OFFLINE": "1", "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([args for args, _, _ in MANY]),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(MANY)), ids=[" ".join(args) for args, _, _ in MANY])
def test_it_is_said_without_torch(answers: list[Any], number: int) -> None:
    _, code, words = MANY[number]
    assert answers[number][0] == code, answers[number]
    assert words in answers[number][1]
