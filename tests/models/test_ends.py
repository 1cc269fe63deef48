"""The ends of a text: every one that a model declares ends a rollout, and one of them is *the* end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from llamas import tiny_llama
from tiny_policies import ALPHABET, fresh_logits, tiny_policy

from harness.actions.batch import pack
from harness.actions.noise import Slot, uniform
from harness.actions.weights import Weighting
from harness.data.windows import rows
from harness.errors import ConfigError, EnvironmentProblem
from harness.evaluation.exact import chances, own_steps
from harness.evaluation.likelihood import likelihood
from harness.evaluation.token_scorer import LawScorer
from harness.generation.decoders import Decoder, Greedy
from harness.generation.rollouts import Start, sample
from harness.models import pretrained
from harness.models.export import export
from harness.models.policy import Policy
from harness.records import Example, Trajectory
from harness.records.law import Law

TURN, NONE = 8, "none"
"""The row of `<turn>`, the second end; 0 is the tokenizer's, 1 its unknown, 2 to 7 are a to f."""


def changed(path: Path, **values: Any) -> None:
    """Replace entries of a JSON file; `NONE` removes one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**found, **values}.items() if value != NONE}))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model directory as from elsewhere: a to f, `<turn>`, one declared end."""
    policy = tiny_policy(backspace=False, context=12, dtype="float32")
    policy.tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    policy.model.resize_token_embeddings(TURN + 1)
    with torch.no_grad():
        weight = policy.model.get_input_embeddings().weight
        weight[TURN] = weight[0] + 0.2 * torch.randn(16, generator=torch.Generator().manual_seed(1))
    policy.model.save_pretrained(tmp_path / "m")
    policy.tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def declaring(base: Path, config: Any, generation: Any, tokenizer: Any = "<|endoftext|>") -> Policy:
    """The policy of `base` with other declarations."""
    changed(base / "config.json", eos_token_id=config)
    changed(base / "generation_config.json", eos_token_id=generation)
    changed(base / "tokenizer_config.json", eos_token=tokenizer)
    if (base / "special_tokens_map.json").exists():
        changed(base / "special_tokens_map.json", eos_token=tokenizer)
    return Policy.load(base, None)


@pytest.mark.parametrize(
    ("tokenizer", "config", "generation", "ends"),
    [
        ("<|endoftext|>", 0, 0, [0]),
        ("<|endoftext|>", [0, TURN], [0, TURN], [0, TURN]),
        ("<|endoftext|>", [TURN, 0], NONE, [0, TURN]),  # the tokenizer's own is the end
        ("<|endoftext|>", NONE, [TURN], [0, TURN]),
        ("<|endoftext|>", TURN, 4, [0, TURN, 4]),  # three places, three ends; c is an ordinary token
        ("<turn>", 0, None, [TURN, 0]),
        ("<|endoftext|>", [0, 9, -1], 50256, [0]),  # no rows: never drawn, by nothing
        (None, TURN, [0], [TURN, 0]),
        (None, NONE, [4, TURN], [4, TURN]),
        (None, [50256, TURN], NONE, [TURN]),
    ],
)
def test_every_declared_end_ends_and_one_is_the_end(
    base: Path, tmp_path: Path, tokenizer: Any, config: Any, generation: Any, ends: list[int]
) -> None:
    """`ends` are the end and the others; a saved and an exported policy keep them, with `<backspace>` or without."""
    policy = declaring(base, config, generation, tokenizer)
    assert [policy.end_id, *sorted(policy.space.other_ends)] == [ends[0], *sorted(ends[1:])]
    assert pretrained.outline(base)[0].generation_config.eos_token_id == (None if generation == NONE else generation)
    policy.add_backspace()
    export(policy, tmp_path / "out", "")
    policy.save(tmp_path / "saved")
    for again in (Policy.load(tmp_path / "out", 12), Policy.load(tmp_path / "saved", 12)):
        assert (again.end_id, again.space.ends) == (policy.end_id, policy.space.ends)
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert exported.eos_token_id == ends[0]
    assert Policy.load(tmp_path / "out", 12).encode(ALPHABET) == policy.encode(ALPHABET)


@pytest.mark.parametrize("generation", [[0, TURN], [0, 4], [TURN, 0, 4]], ids=["special", "letter", "three"])
@pytest.mark.parametrize("backspace", [False, True], ids=["tokens", "backspace"])
def test_a_rollout_ends_with_any_of_them(base: Path, generation: list[int], backspace: bool) -> None:
    """1,000 rollouts: the last action is an end, its probability its own, and nothing follows or deletes it."""
    policy = declaring(base, 0, generation)
    if backspace:
        policy.add_backspace()
    rollouts = sample(policy, [Start((policy.start_id,))] * 1000, seed=0, candidates=3)
    first = fresh_logits(policy, (policy.start_id,))
    if backspace:
        first[policy.space.backspace_id] = -torch.inf
    expected = float(first.softmax(-1)[generation].sum())
    at_once = sum(len(rollout.trajectory.actions) == 1 and rollout.stop == "ended" for rollout in rollouts) / 1000
    assert at_once == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 1000) ** 0.5)
    by = {end: [r for r in rollouts if r.stop == "ended" and r.trajectory.actions[-1] == end] for end in generation}
    assert all(by.values())
    assert sum(map(len, by.values())) == sum(rollout.stop == "ended" for rollout in rollouts)
    for rollout in rollouts:
        actions = rollout.trajectory.actions
        assert not policy.space.ends.intersection(actions[:-1])
        assert not policy.space.ends.intersection(rollout.tokens)
        assert rollout.text == policy.decode(rollout.tokens)
        assert (rollout.pieces[-1] == "<end>") == (rollout.stop == "ended")
    rollout = by[generation[1]][0]
    text = (policy.start_id, *rollout.tokens)
    logits = fresh_logits(policy, text)
    if backspace and len(text) == 1:
        logits[policy.space.backspace_id] = -torch.inf
    assert rollout.log_probs[-1] == pytest.approx(float(logits.log_softmax(-1)[generation[1]]), abs=1e-4)
    assert all((piece == "<end>") == (a in generation) for step in rollouts[0].candidates for a, piece, _ in step)


@pytest.mark.parametrize("decoder", [Greedy(), Decoder(top_k=1), Decoder(temperature=1e-3)], ids=repr)
def test_every_decoder_stops_where_the_likeliest_action_is_another_end(base: Path, decoder: Any) -> None:
    """`<turn>` is raised above all other actions in every state; one end declared, it is written on and on."""
    policy = declaring(base, 0, 0)
    hidden = policy.last_hidden(torch.tensor([[0]]))[0]
    head = torch.nn.Linear(16, 9)
    with torch.no_grad():
        head.weight.copy_(policy.model.get_output_embeddings().weight)
        head.bias.zero_()
        head.bias[TURN] = 2 * float(policy.logits(hidden, torch.tensor(True)).abs().max()) + 50
    for generation, stop in ((0, "depth"), ([0, TURN], "ended")):
        policy = declaring(base, 0, generation)
        policy.model.set_output_embeddings(head)
        (rollout,) = sample(policy, [Start((0,))], seed=0, decoder=decoder)
        assert (rollout.stop, set(rollout.trajectory.actions)) == (stop, {TURN})
        assert len(rollout.tokens) == (0 if stop == "ended" else 11)


def test_training_and_scoring_agree_on_the_end(base: Path) -> None:
    """The expert ends with 0, also where the policy may end with c, an ordinary token that texts hold."""
    policy = declaring(base, [0, TURN], [0, 4])
    one = declaring(base, 0, 0)
    examples = [Example("abc"), Example("fc")]
    found = rows(examples, policy)
    assert found == rows(examples, one) == [Trajectory((0,), (2, 3, 4, 0)), Trajectory((0,), (7, 4, 0))]
    assert likelihood(policy, examples) == likelihood(one, examples)
    assert policy.decode(policy.encode("abc")) == "abc"
    cut = [Trajectory((0,), (2, 4)), Trajectory((0,), (2, TURN)), Trajectory((0,), (2, 0)), Trajectory((0,), (2, 3))]
    assert pack(cut, policy.space, Weighting(gamma=0.9)).ended.tolist() == [False, False, True, False]
    own = pack(cut, policy.space, Weighting(gamma=0.9), is_expert=False)
    assert own.ended.tolist() == [True, True, True, False]
    assert (own.end_weight > 0).tolist() == [True, True, True, False]
    given = [Trajectory((0,), (2, 4), (True, True))]
    assert pack(given, policy.space, Weighting(gamma=0.9), is_expert=False).ended.tolist() == [False]
    (rollout, *_) = sample(policy, [Start((0,), (2, 4))], seed=0)  # a given c is a token
    assert rollout.tokens[:2] == (2, 4)
    assert rollout.pieces[:2] == ("a", "c")
    drawn = uniform(policy.space)([Slot((0,), 2, np.random.default_rng(n)) for n in range(300)])
    assert set(drawn) == {3, 5, 6, 7}


class Letters(Law):
    """a, or the end, with probability 1/2 each, in every state."""

    alphabet = "ab"
    start = 0

    def next(self, state: Any) -> dict[str, float]:
        return {"a": 0.5, "": 0.5}

    def advance(self, state: Any, symbol: str) -> Any:
        return 0 if symbol == "a" else None


def test_beside_a_law_any_end_is_its_end(base: Path) -> None:
    """A law knows texts: the probability of the end is that of all ends, 1/2 against their sum."""
    policy, one = declaring(base, 0, [0, TURN]), declaring(base, 0, 0)
    shared, own = chances(policy, Decoder(), [(), (2,)]), chances(one, Decoder(), [(), (2,)])
    assert shared[:, 0] == pytest.approx(own[:, 0] + own[:, TURN], abs=1e-12)
    assert (shared[:, TURN] == 0).all()
    assert shared.sum(1) == pytest.approx([1, 1])
    law = Letters()
    assert list(LawScorer(law, policy)([(0,), (0, 2), (0,)], [0, TURN, 3])) == [np.log(0.5), np.log(0.5), -np.inf]
    ended = [r for r in sample(policy, [Start((0,))] * 50, seed=0) if r.trajectory.actions == (TURN,)]
    (step,) = own_steps(policy, law, ended[:1])
    assert step.policy[-1] == pytest.approx(np.log(shared[0, 0]), abs=1e-5)


def test_a_default_of_the_architecture_is_no_declaration(tmp_path: Path) -> None:
    """LlamaConfig's eos_token_id is 2 unless something else is said; as in a folder that says nothing."""
    folder = tiny_llama(tmp_path / "m", ["the cat sat on the mat"] * 5, context=16)
    changed(folder / "config.json", eos_token_id=NONE)
    (folder / "generation_config.json").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer["eos_token"] == "</s>"
    changed(folder / "tokenizer_config.json", eos_token="<0x41>")
    policy = Policy.load(folder, None)
    assert (policy.tokenizer.convert_ids_to_tokens(policy.end_id), policy.space.other_ends) == ("<0x41>", frozenset())


@pytest.mark.parametrize(
    ("tokenizer", "config", "generation", "said"),
    [
        (None, NONE, NONE, "this tokenizer has no end token; choose a model that has one, or declare one"),
        (None, 300, [9, -1], r"declare one .* its eos_token_id=\[300, 9, -1\] is outside of rows 0 to 8"),
        ("<|endoftext|>", 0, ["<turn>"], "eos_token_id='<turn>' in its config.json or generation_config.json is no"),
        ("<|endoftext|>", 0, [0, 2.5], "eos_token_id=2.5 .* write an integer, or a list of integers"),
        ("<|endoftext|>", 0, True, "eos_token_id=True"),
        ("<far>", 0, 0, "the tokenizer's end is token 9, and the model has rows 0 to 8"),
    ],
)
def test_what_cannot_be_an_end_is_said(base: Path, tokenizer: Any, config: Any, generation: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        declaring(base, config, generation, tokenizer)


@pytest.mark.parametrize("config", ["<turn>", True, [0, 2.5]], ids=str)
def test_what_config_json_cannot_say_is_told_with_its_place(base: Path, config: Any) -> None:
    said = r"m' cannot be loaded: Validation error for field 'eos_token_id': TypeError: .* doesn't match any type"
    with pytest.raises(EnvironmentProblem, match=said):
        declaring(base, config, 0)


def test_a_text_that_holds_the_end_itself_is_refused(base: Path) -> None:
    """c is the only end that this model declares, and a letter of the text."""
    policy = declaring(base, 4, 4, None)
    assert rows([Example("ab")], policy)[0].actions == (2, 3, 4)
    for use in (rows, lambda examples, codec: likelihood(codec, examples)):
        with pytest.raises(ConfigError, match="the text 'abcd' holds 'c', token 4, which ends every text"):
            use([Example("abcd")], policy)


def test_as_many_texts_end_as_with_transformers(base: Path) -> None:
    """2,000 of ours and 2,000 of `generate()`, which stops at either end: the shares agree within 4 deviations."""
    policy = declaring(base, [0, TURN], [0, TURN])
    ours = sum(rollout.stop == "ended" for rollout in sample(policy, [Start((0,))] * 2000, seed=0)) / 2000
    torch.manual_seed(0)
    asked = torch.zeros(2000, 1, dtype=torch.long)
    options = {"do_sample": True, "top_k": 0, "max_length": 12, "pad_token_id": 1}
    texts = policy.model.generate(asked, attention_mask=torch.ones_like(asked), **options)
    theirs = float(torch.isin(texts[:, 1:], torch.tensor([0, TURN])).any(1).float().mean())
    assert ours == pytest.approx(theirs, abs=4 * (ours * (1 - ours) / 1000) ** 0.5)
