"""Token scorers of single actions, against plain forward passes and the law itself."""

from __future__ import annotations

import math
import shutil
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_policies import ALPHABET, fresh_logits, tiny_policy

from harness.config.model import ModelConfig
from harness.evaluation import token_scorer as scorers
from harness.evaluation.token_scorer import LawScorer, ModelScorer, choose_token_scorer
from harness.report.leaderboard_table import matches
from harness.storage.queries import ScoreName
from harness.system.model_files import content_of


class Pairs:
    """Texts of `ab` repeated, each letter certain, an end with probability 1/4 after a whole pair."""

    alphabet = "ab"
    start = "b"

    def next(self, state: Hashable) -> Mapping[str, float]:
        return {"a": 0.75, "": 0.25} if state == "b" else {"b": 1.0}

    def advance(self, state: Hashable, symbol: str) -> Hashable | None:
        return symbol if self.next(state).get(symbol) else None


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_scores_as_fresh_forward_passes_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that begin alike, the bare start, a text twice, the end as the action; one text a batch changes nothing.

    The policy that is trained has `<backspace>`; its base has not, and what it was before training is what scores.
    """
    config = ModelConfig(name=name, tokenizer="characters", base_steps=0, context=24, dtype="float64")
    base = tiny_policy(name, backspace=False, seed=3)
    base.save(tmp_path / "0123abcd")
    start, ids, end = base.start_id, base.encode(ALPHABET), base.end_id
    states = [(start,), (start, ids[0]), (start, ids[0], ids[1], ids[2]), (start, ids[0]), (start, ids[1]), (start,)]
    tokens = [ids[0], ids[1], end, ids[2], ids[3], ids[5]]
    expected = [float(fresh_logits(base, s).log_softmax(-1)[t]) for s, t in zip(states, tokens, strict=True)]
    scorer = choose_token_scorer(tiny_policy(name), None, tmp_path / "0123abcd", config)
    assert scorer.name == "base:0123abcd"
    assert scorer(states, tokens) == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(scorers, "BATCH_NODES", 1)
    monkeypatch.setattr(scorers, "BATCH_LOGITS", 1)
    again = ModelScorer(tmp_path / "0123abcd", "", config, torch.device("cpu"))
    assert again(states, tokens) == pytest.approx(expected, abs=1e-9)


def test_the_law_scores_where_it_is_known() -> None:
    """After `ab` a has 3/4, the end 1/4 and b nothing; nothing is known after `ba`, which no text begins with."""
    policy = tiny_policy()
    a, b = policy.encode("ab")
    scorer = choose_token_scorer(policy, Pairs(), None, ModelConfig(name="gpt2"))
    assert isinstance(scorer, LawScorer)
    assert scorer.name == "law"
    ab, ba = (policy.start_id, a, b), (policy.start_id, b, a)
    found = scorer([ab, ab, ab, ba], [a, policy.end_id, b, a])
    assert found[:3] == pytest.approx([math.log(3 / 4), math.log(1 / 4), -math.inf])
    assert np.isnan(found[3])


def test_a_pretrained_model_is_its_own_base() -> None:
    """Nothing is loaded until it is asked."""
    scorer = choose_token_scorer(tiny_policy(), None, None, ModelConfig(name="some/model"))
    assert scorer.name == "base:some/model"


def test_a_base_in_a_directory_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one content all spellings give one name, another content in the same place gives another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    policy = tiny_policy(backspace=False, dtype="float32")
    policy.save(tmp_path / "m" / "one")
    (tmp_path / "m" / "link").symlink_to("one")

    def name(model: str) -> str:
        return choose_token_scorer(policy, None, None, ModelConfig(name=model)).name

    spellings = ("m/one", "./m/one", "m/one/", f"{tmp_path}/m/one", "~/m/one", "m/link")
    (known,) = {name(one) for one in spellings}
    assert known == f"base:model:{content_of(Path('m/one'))}"
    asked = ScoreName(f"useful_revert_rate@same-state[reference={known}]", "useful_revert_rate", "same-state", "", "")
    for one in (*(f"base:{one}" for one in spellings), known, f"'base:{tmp_path}/m/one'"):
        assert matches(f"useful_revert_rate@same-state[reference={one}]", asked)
    shutil.copytree("m/one", "m/copy")
    assert name("m/copy") == known
    tiny_policy(backspace=False, dtype="float32", seed=1).save(tmp_path / "m" / "one")
    assert name("m/one") == name("m/link") != known
    assert not matches("useful_revert_rate@same-state[reference=base:m/one]", asked)
    assert matches("useful_revert_rate@same-state[reference=base:m/copy]", asked)
    old = ScoreName("useful_revert_rate@same-state[reference=base:m/one]", "useful_revert_rate", "same-state", "", "")
    assert matches("useful_revert_rate@same-state[reference=base:m/one]", old)  # as an earlier version named it
