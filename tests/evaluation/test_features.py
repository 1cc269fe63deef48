"""Featurisers: pairs cut to equal numbers of tokens, for any tokenizer, and names that follow the content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import Data, stories
from tiny_policies import tiny_policy

from harness.config.model import ModelConfig
from harness.data.text_files import TextFile, as_evaluation
from harness.errors import EnvironmentProblem
from harness.evaluation.features import Features
from harness.metrics.mauve import Mauve
from harness.models.policy import Policy
from harness.models.tokenizers import byte_level_bpe
from harness.plugins.metric import Unscorable
from harness.system.model_files import content_of


def bpe_policy() -> Policy:
    """Byte-level BPE with merges for one sentence only: everything else, emoji among it, takes a token per byte."""
    config = ModelConfig(name="gpt2", layers=1, width=16, heads=2, tokenizer="bpe", base_steps=0, context=24)
    return Policy.build(config, byte_level_bpe(["the cat sat on the mat"] * 9, 280))


def test_characters_by_hand(tmp_path: Path) -> None:
    """`abcdef` against `fed`: three tokens each.  An empty side leaves the other as it is."""
    tiny_policy(backspace=False).save(tmp_path)
    pairs = [("abcdef", "fed"), ("a", "bcd"), ("abc", ""), ("", "")]
    found = Features(None, torch.device("cpu")).paired(str(tmp_path), pairs)
    assert found == [("abc", "fed"), ("a", "b"), ("abc", ""), ("", "")]


@settings(deadline=None)
@given(st.text("the cat\n😀é", max_size=30), st.text("the cat\n😀é", max_size=30))
def test_both_sides_have_as_many_tokens(one: str, other: str) -> None:
    """The shorter side stays whole.  The longer one is its beginning and has no more tokens.

    It has fewer only where the cut falls into a character, of at most four bytes, which is then left out.
    """
    policy = bpe_policy()
    features = Features(None, torch.device("cpu"))
    features._models["bpe"] = policy
    cut, other_cut = features.paired("bpe", [(one, other)])[0]
    if not one or not other:
        assert (cut, other_cut) == (one, other)
        return
    n = min(len(policy.encode(one)), len(policy.encode(other)))
    for whole, part in ((one, cut), (other, other_cut)):
        assert whole.startswith(part)
        assert n - 3 <= len(policy.encode(part)) <= n
    assert cut == one or other_cut == other


def test_a_real_tokenizer_gives_equal_numbers(data: Data) -> None:
    """Stories in pairs under the 512 pieces of stories260K."""
    model = str(data("stories260K") / "hf")
    texts = stories(data, 40)
    policy = Policy.load(model, None)
    for pair in Features(None, torch.device("cpu")).paired(model, list(zip(texts[:20], texts[20:], strict=True))):
        first, second = (len(policy.encode(text)) for text in pair)
        assert first == second > 100


def test_a_tokenizer_without_places_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = bpe_policy()
    monkeypatch.setattr(type(policy.tokenizer), "is_fast", False)
    with pytest.raises(Unscorable, match="use length=free"):
        policy.token_ends("the")


# --------------------------------------------------------------------------------------- the name of a featuriser


def folder(path: Path, seed: int = 0) -> Path:
    tiny_policy(backspace=False, dtype="float32", seed=seed).save(path)
    return path


def test_a_featuriser_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three contents of one folder are three names; eight ways to name one content are one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    device = torch.device("cpu")
    names = [Features(None, device).identify(str(folder(Path("m/feat"), seed))) for seed in (1, 2, 0)]
    assert len(set(names)) == 3
    shutil.copytree("m/feat", "copy")
    Path("link").symlink_to("m/feat")
    spellings = ["m/feat", "./m/feat", "m/feat/", "m//feat", f"{tmp_path}/m/feat", "~/m/feat", "copy", "link"]
    assert {Features(None, device).identify(one) for one in spellings} == {names[-1]}
    assert names[-1] == f"model:{content_of(tmp_path / 'm' / 'feat')}"
    (tmp_path / "m" / "feat" / "tokenizer_config.json").write_text("{}")
    assert Features(None, device).identify("m/feat") not in names
    assert Features(None, device).identify("OWNER/NAME") == "OWNER/NAME"
    folder(Path("reference-lm"))  # the word means the benchmark's own, whatever lies beside it
    assert Features(None, device).identify("reference-lm") == "reference-lm"


def test_features_are_of_the_content_that_names_them(tmp_path: Path) -> None:
    """Another checkpoint in the folder: a later run has its name and its features.

    A run that has named the earlier one goes on with it while the process holds it, and else is refused.
    """
    device, name = torch.device("cpu"), str(folder(tmp_path / "feat"))
    first, early = Features(None, device), Features(None, device)
    before = first(name, "mean", ["abc"])
    early.identify(name)
    named = first.identify(name)
    folder(tmp_path / "feat", seed=1)
    later = Features(None, device)
    assert later.identify(name) != named == first.identify(name)
    assert not np.array_equal(later(name, "mean", ["abc"]), before)
    assert np.array_equal(later(name, "mean", ["abc"]), Features(None, device)(f"{name}/", "mean", ["abc"]))
    assert np.array_equal(early(name, "mean", ["abc"]), before)
    folder(tmp_path / "feat", seed=2)
    unread = Features(None, device)
    unread.identify(name)
    folder(tmp_path / "feat", seed=3)
    with pytest.raises(EnvironmentProblem, match=r"featuriser=.*the directory has changed"):
        unread(name, "mean", ["abc"])


def test_texts_of_another_origin_have_the_same_names(tmp_path: Path) -> None:
    name, texts = str(folder(tmp_path / "feat")), TextFile(("a",) * 4, ("",) * 4, ("b",) * 4)
    found = Mauve(featuriser=f"{name}/").parameters(as_evaluation(texts))["featuriser"]
    assert found == f"model:{content_of(tmp_path / 'feat')}/mean"
