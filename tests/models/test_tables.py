"""Vocabulary tables that are not as long as their tokenizers: too short, padded, and with gaps."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from llamas import tiny_llama
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.config.run import RunConfig
from harness.generation.decoders import Contrastive, Decoder
from harness.generation.rollouts import Start, sample
from harness.models import lora
from harness.models.card import card
from harness.models.export import export
from harness.models.policy import Policy
from harness.records.rollout import Trajectory

TEXTS = ["the cat sat on the mat", "a dog ran"] * 5


@pytest.mark.parametrize("added", [["<|user|>"], ["<|user|>", "<|model|>", "zzz"]])
def test_tokens_beyond_the_table_get_rows_and_an_export_has_them(added: list[str], tmp_path: Path) -> None:
    """n rows and n + k tokens: k rows at the mean of the n, `<backspace>` after them, and the same logits exported."""
    folder = tiny_llama(tmp_path / "base", TEXTS, vocab_size=300)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(folder)
    with pytest.warns(UserWarning, match=f"{len(added)} rows were appended"):
        policy = Policy.load(folder, None)
    assert policy.space.size == rows + len(added)
    table = policy.model.get_input_embeddings().weight
    torch.testing.assert_close(table[rows], table[:rows].mean(0))
    policy.add_backspace()
    assert policy.space.backspace_id == rows + len(added)
    export(policy, tmp_path / "out", "card")
    ids = torch.tensor([[policy.start_id, rows, rows + len(added) - 1]])
    alone = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, policy.model(ids).logits)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.convert_tokens_to_ids("<backspace>") == policy.space.backspace_id
    assert Policy.load(tmp_path / "out", None).space == policy.space


# -------------------------------------------------------------------------------------------- rows without a token


def words(ids: dict[str, int]) -> transformers.PreTrainedTokenizerFast:
    """One token per word, with the given ids; `.` is the end."""
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".")


def merges(ids: dict[str, int]) -> transformers.PreTrainedTokenizerFast:
    """BPE without merges, with the given ids; `.` is the end."""
    tokenizer = Tokenizer(models.BPE(ids, []))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".")


def added_inside(ids: dict[str, int]) -> transformers.PreTrainedTokenizerFast:
    """As `words`, and a token that the library put into the first gap."""
    tokenizer = words(ids)
    tokenizer.add_tokens(["<u>"])
    return tokenizer


def plain_python(ids: dict[str, int]) -> transformers.PreTrainedTokenizer:
    """As `merges`, by a class without the library."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "vocab.json", Path(folder) / "merges.txt"]
        files[0].write_text(json.dumps(ids))
        files[1].write_text("#version\n")
        named = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), ".")
        return transformers.ClvpTokenizer(*map(str, files), **named)


GAPS = {".": 0, "a": 1, "b": 3, "c": 9}
WITHOUT_GAPS = {".": 0, "a": 1, "b": 2, "c": 3}


def policy_of(tokenizer: Any, rows: int) -> Policy:
    """A random policy of a table with `rows` rows, nearly uniform."""
    config = transformers.GPT2Config(vocab_size=rows, n_positions=12, n_embd=16, n_layer=1, n_head=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Policy(transformers.GPT2LMHeadModel(config), tokenizer, 12)


MADE = [
    pytest.param(words, WITHOUT_GAPS, 64, id="padded"),
    pytest.param(words, GAPS, 10, id="gaps"),
    pytest.param(words, GAPS, 16, id="gaps and padded"),
    pytest.param(merges, GAPS, 16, id="bpe"),
    pytest.param(added_inside, GAPS, 16, id="added inside"),
    pytest.param(plain_python, GAPS, 16, id="plain python"),
]


@pytest.mark.parametrize("backspace", [False, True], ids=["plain", "backspace"])
@pytest.mark.parametrize(("made", "ids", "rows"), MADE)
def test_rows_without_a_token_are_never_drawn_and_keep_their_mass(
    made: Callable[[dict[str, int]], Any], ids: dict[str, int], rows: int, backspace: bool, tmp_path: Path
) -> None:
    """Most rows have no token: no rollout, also none of the exported folder, has one; log-probabilities are raw."""
    tokenizer = made(ids)
    policy = policy_of(tokenizer, rows)
    if backspace:
        policy.add_backspace()
    named = set(tokenizer.get_vocab().values())
    assert policy.space.nameless == set(range(rows)) - named
    for decoder in (Decoder(), Contrastive(k=3, alpha=0.5)):
        rollouts = sample(policy, [Start((policy.start_id,))] * 20, seed=0, decoder=decoder)
        drawn = {action for rollout in rollouts for action in rollout.trajectory.actions}
        assert drawn <= named | {policy.space.backspace_id}
        with torch.no_grad():
            raw = policy.model(torch.tensor([[policy.start_id]])).logits[0, -1]
        if backspace:
            raw[policy.space.backspace_id] = -torch.inf
        first = raw.log_softmax(-1)[rollouts[0].trajectory.actions[0]]
        assert rollouts[0].log_probs[0] == pytest.approx(float(first), abs=1e-5)
    export(policy, tmp_path / "out", "card")
    again = Policy.load(tmp_path / "out", None)
    assert again.space == policy.space
    assert {word: again.tokenizer.convert_tokens_to_ids(word) for word in ids} == ids
    assert again.tokenizer_id == policy.tokenizer_id
    starts = torch.full((20, 1), policy.start_id)
    written = again.model.generate(starts, attention_mask=torch.ones_like(starts))
    assert set(written.flatten().tolist()) <= named | {policy.space.backspace_id}


# ------------------------------------------------------------------------------------------------- a grown table in use


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("backspace", [False, True], ids=["plain", "backspace"])
def test_a_grown_table_learns_samples_and_is_exported(
    backspace: bool, adapter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three steps on a text with an added token make it likelier; the exported folder and its card's code agree."""
    folder = tiny_llama(tmp_path / "base", TEXTS, vocab_size=300, context=16)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|user|>", "zzz"])
    tokenizer.save_pretrained(folder)
    with pytest.warns(UserWarning, match="2 rows were appended"):
        policy = Policy.load(folder, None)
    if backspace:
        policy.add_backspace()
    if adapter:
        lora.attach(policy, ModelConfig(name=str(folder), lora_r=2, lora_alpha=4, context=16), 0)
    row = Trajectory((policy.start_id,), tuple(policy.whole("", "zzz <|user|>")))
    assert set(tokenizer.convert_tokens_to_ids(["<|user|>", "zzz"])) <= set(row.actions)
    batch = pack([row], policy.space, Weighting(kind="uniform"))
    optimiser = torch.optim.AdamW(policy.parameters().values(), lr=1e-2)
    likelihoods = []
    for _ in range(3):
        likelihood = policy.evaluate(batch).log_prob.sum()
        optimiser.zero_grad()
        (-likelihood).backward()
        optimiser.step()
        likelihoods.append(float(likelihood.detach()))
    assert likelihoods == sorted(likelihoods)
    rollouts = sample(policy, [Start((policy.start_id,))] * 4, seed=0)
    if adapter:
        lora.fold(policy)
    export(
        policy,
        tmp_path / "out",
        card(policy, RunConfig.model_validate({"benchmark": "language", "trainer": "mle"}), "0" * 8),
    )
    alone = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[*row.prompt, *row.actions]])
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, policy.model(ids).logits, atol=1e-5, rtol=1e-5)
    again = sample(Policy.load(tmp_path / "out", None), [Start((policy.start_id,))] * 4, seed=0)
    assert [one.text for one in again] == [one.text for one in rollouts]
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path / "out")
    exec(compile(code, "card", "exec"), {})
    assert capsys.readouterr().out
