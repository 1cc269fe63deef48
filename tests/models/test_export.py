"""An exported folder samples from the policy: `generate()` of transformers, with the defaults that stand there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from scipy.stats import chi2_contingency
from tiny_policies import tiny_policy

from harness.config.run import RunConfig
from harness.generation.rollouts import Start, sample
from harness.models.card import card
from harness.models.export import export
from harness.models.policy import Policy

CONFIG = RunConfig.model_validate({"benchmark": "language", "trainer": "mle"})
CONTEXT = 6

INHERITED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "temperature": {"do_sample": True, "temperature": 0.3},
    "truncations": {
        "do_sample": True,
        "top_p": 0.5,
        "top_k": 2,
        "min_p": 0.4,
        "typical_p": 0.3,
        "epsilon_cutoff": 0.2,
        "eta_cutoff": 0.3,
        "top_h": 0.3,
    },
    "repetitions": {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 2.0},
    "biases": {"sequence_bias": [[[3], 5.0]], "watermarking_config": {"bias": 3.0, "greenlist_ratio": 0.5}},
    "bans": {"suppress_tokens": [2, 3], "begin_suppress_tokens": [0, 4], "bad_words_ids": [[3], [2, 5]]},
    "lengths": {"min_length": 5, "min_new_tokens": 3, "exponential_decay_length_penalty": [1, 2.0]},
    "stops": {"max_new_tokens": 2, "stop_strings": ["a"], "max_time": 1e-9},
    "forced ends": {"forced_eos_token_id": 0},
    "forced beginnings": {"forced_bos_token_id": 4},
    "search": {"num_beams": 3, "length_penalty": 2.0},
    "greedy": {"do_sample": False},
    "entries of its own": {"backspace_bias": 2.0, "custom": [1]},
    "in config.json": {"temperature": 0.3, "min_length": 5, "repetition_penalty": 3.0},  # where older models have them
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as from elsewhere."""
    folder = tmp_path_factory.mktemp("base")
    policy = tiny_policy(backspace=False, context=CONTEXT, dtype="float32")
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    return folder


def snippet(folder: Path) -> str:
    """The card's Python code."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return str(code)


def drawn(folder: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The card's snippet for many texts at once: [N, T] ids, and for each of their tokens the [N, V] log-probabilities.

    Only its number of rows is changed, and what transformers reports beside the texts.
    """
    monkeypatch.chdir(folder)
    found: list[Any] = []
    generate = transformers.GenerationMixin.generate

    def reporting(self: Any, asked: torch.Tensor, **given: Any) -> torch.Tensor:
        given = {name: value.expand(times, -1) if torch.is_tensor(value) else value for name, value in given.items()}
        told = generate(self, asked.expand(times, -1), return_dict_in_generate=True, output_scores=True, **given)
        found.append(told)
        sequences: torch.Tensor = told.sequences
        return sequences

    monkeypatch.setattr(transformers.GenerationMixin, "generate", reporting)
    torch.manual_seed(0)
    exec(compile(snippet(folder), str(folder), "exec"), {})
    (told,) = found
    return told.sequences, [scores.log_softmax(-1) for scores in told.scores]


@pytest.mark.parametrize("inherited", INHERITED)
def test_the_cards_snippet_draws_from_the_policy(
    base: Path, tmp_path: Path, inherited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every state of 200 texts the distribution drawn from is the policy's own, to an end or the whole context."""
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    ends = [0, 5] if inherited == "entries of its own" else 0
    place = folder / ("config.json" if inherited == "in config.json" else "generation_config.json")
    (folder / "generation_config.json").unlink()
    written = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps({**written, "eos_token_id": ends, **INHERITED[inherited]}))
    policy = Policy.load(folder, None)
    export(policy, tmp_path / "m", card(policy, CONFIG, "0" * 8))
    texts, steps = drawn(tmp_path / "m", 200, monkeypatch)
    alive = torch.ones(200, dtype=torch.bool)
    for at, log_probs in enumerate(steps, start=1):
        with torch.no_grad():
            wanted = policy.logits(policy.last_hidden(texts[:, :at]), torch.tensor(True)).log_softmax(-1)
        assert torch.allclose(log_probs[alive], wanted[alive], atol=1e-4), inherited
        alive &= ~torch.isin(texts[:, at], torch.tensor(ends))
    assert texts.shape[1] == CONTEXT


def test_the_cards_loop_deletes_and_stops_as_the_policy_does(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 texts of its loop have the policy's law (chi-square against 20,000 of its own, p > 0.001).

    At 4 tokens a text is cut, also where the next action would have been a deletion.
    """
    policy = tiny_policy(context=4, dtype="float32")
    export(policy, tmp_path / "m", card(policy, CONFIG, "0" * 8))
    code = snippet(tmp_path / "m")
    assert "if action in [0]:" in code
    monkeypatch.chdir(tmp_path / "m")
    code = code.replace("print(tokenizer.decode(text, skip_special_tokens=True))", "")
    setup, loop = code.split("text = [", 1)
    space: dict[str, Any] = {}
    exec(setup, space)
    compiled = compile("text = [" + loop, "card", "exec")
    logits: dict[tuple[int, ...], Any] = {}
    model = space["model"]

    def cached(ids: torch.Tensor) -> Any:
        key = tuple(ids[0].tolist())
        if key not in logits:
            logits[key] = model(ids).logits
        return type("Output", (), {"logits": logits[key].clone()})

    space["model"] = cached
    torch.manual_seed(0)
    theirs: dict[tuple[int, ...], int] = {}
    for _ in range(4000):
        exec(compiled, space)
        text = tuple(space["text"][1:])
        theirs[text] = theirs.get(text, 0) + 1
    ours: dict[tuple[int, ...], int] = {}
    for rollout in sample(policy, [Start((0,))] * 20_000, seed=0, max_actions=8):
        ours[rollout.tokens] = ours.get(rollout.tokens, 0) + 1
    common = [text for text, count in ours.items() if count >= 100]
    table = [[each.get(text, 0) for text in common] for each in (theirs, ours)]
    table = [[*row, sum(each.values()) - sum(row)] for row, each in zip(table, (theirs, ours), strict=True)]
    assert chi2_contingency(table).pvalue > 1e-3
