"""Featurisers: pairs cut to equal numbers of tokens, for any tokenizer, and names that follow the content."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llamas import tiny_llama
from texts import Data, stories
from tiny_policies import tiny_policy

from harness.config.model import ModelConfig
from harness.data.text_files import TextFile, as_evaluation
from harness.errors import EnvironmentProblem
from harness.evaluation import feature_files
from harness.evaluation.features import FOLDER, Features
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
    features._codecs["bpe"] = policy
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


# ------------------------------------------------------------------------------------------------ features in files

CPU = torch.device("cpu")
TEXTS = ("abc", "fed", "", "abcdefabcdef", "c")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every forward pass from here on, of any policy."""
    found: list[int] = []
    hidden = Policy.hidden

    def counted(policy: Policy, batch: Any) -> torch.Tensor:
        found.append(len(batch.input_ids))
        return hidden(policy, batch)

    monkeypatch.setattr(Policy, "hidden", counted)
    return found


def computed(place: Path, cache: Path | None, *, texts: Sequence[str] = TEXTS, **asked: str) -> np.ndarray:
    """Features of one featuriser by a fresh `Features`, as another process or a later call has it."""
    return Features(None, CPU, cache)(str(place), asked.pop("pooling", "mean"), texts, **asked)


def test_one_pass_for_all_poolings_and_none_in_a_second_call(tmp_path: Path, passes: list[int]) -> None:
    """Five texts are one batch.  Both poolings come from it; the next call has the same bits from the file."""
    place, cache = folder(tmp_path / "feat"), tmp_path / "cache"
    features = Features(None, CPU, cache)
    first = {pooling: features(str(place), pooling, TEXTS) for pooling in ("mean", "last")}
    assert passes == [5]
    assert not np.array_equal(first["mean"], first["last"])
    for pooling in ("last", "mean"):
        assert np.array_equal(computed(place, cache, pooling=pooling), first[pooling])
    assert passes == [5]
    assert np.array_equal(computed(place, None), first["mean"])  # what is kept is what is computed without files
    assert passes == [5, 5]
    assert len(list((cache / FOLDER).iterdir())) == 1


def test_all_that_changes_features_is_another_entry(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another content, text, order of texts, arithmetic or number of threads; not another place of the same model."""
    place, cache = folder(tmp_path / "feat"), tmp_path / "cache"
    before = computed(place, cache)
    shutil.copytree(place, tmp_path / "copy")
    assert np.array_equal(computed(tmp_path / "copy", cache), before)
    assert len(passes) == 1
    other = computed(folder(tmp_path / "other", seed=1), cache)
    assert not np.array_equal(other, before)
    computed(place, cache, texts=[*TEXTS, "ab"])
    computed(place, cache, texts=TEXTS[::-1])  # last bits depend on the places in a batch
    computed(place, cache, texts=["abc", "fed"])
    computed(place, cache, dtype="bfloat16")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    computed(place, cache)
    assert len(passes) == len(list((cache / FOLDER).iterdir())) == 7
    folder(place, seed=1)  # another checkpoint in the same folder
    assert np.array_equal(computed(place, cache), other)


@pytest.mark.parametrize("harm", ["cut", "emptied", "changed", "digest", "folder"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, passes: list[int], harm: str) -> None:
    place, cache = folder(tmp_path / "feat"), tmp_path / "cache"
    before = computed(place, cache)
    (path,) = (cache / FOLDER).iterdir()
    data = path.read_bytes()
    bad = {
        "cut": data[:-7],
        "emptied": b"",
        "changed": data[:-1] + bytes([data[-1] ^ 1]),
        "digest": data[:32],
        "folder": b"",
    }
    path.write_bytes(bad[harm])
    if harm == "folder":  # nothing can be kept under this name
        path.unlink()
        path.mkdir()
    assert np.array_equal(computed(place, cache), before)
    assert len(passes) == 2
    assert harm == "folder" or path.read_bytes() == data
    assert list((cache / FOLDER).iterdir()) == [path]  # and nothing beside it


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, passes: list[int]) -> None:
    (tmp_path / "cache").write_text("a file")
    place = folder(tmp_path / "feat")
    assert np.array_equal(computed(place, tmp_path / "cache"), computed(place, None))
    assert len(passes) == 2


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Writers of the same file; what a third reads is whole, and no partial file stays."""
    place, cache = folder(tmp_path / "feat"), tmp_path / "cache"
    code = (
        "import sys, numpy as np, pathlib; from harness.evaluation.feature_files import keep, kept\n"
        "path = pathlib.Path(sys.argv[1]); one = np.arange(30_000, dtype=np.float32).reshape(2, 150, -1)\n"
        "for _ in range(25):\n    keep(path, one); found = kept(path)\n"
        "    assert found is not None and np.array_equal(found, one)"
    )
    path = cache / FOLDER / "same.npy"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert list((cache / FOLDER).iterdir()) == [path]
    computed(place, cache)
    assert len(list((cache / FOLDER).iterdir())) == 2


def test_files_unused_for_longest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two of three equal files: the one that was neither written nor read last."""
    one = np.zeros((2, 3, 4), np.float32)
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    for age, path in enumerate(paths[:2]):
        feature_files.keep(path, one)
        os.utime(path, (age, age))
    assert feature_files.kept(paths[0]) is not None
    monkeypatch.setattr(feature_files, "MOST", 2 * paths[0].stat().st_size)
    feature_files.keep(paths[2], one)
    assert sorted(tmp_path.iterdir()) == [paths[0], paths[2]]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bfloat16_is_equal_enough(tmp_path: Path, family: str) -> None:
    """Relative distance of each feature from float32's below 16 roundings to 8 bits, 16 x 2^-9 = .031.

    Two layers round the residual stream, the norms and the products some 16 times, each by at most 2^-9 of the value;
    errors of one sign would add up to that, and those at random to a quarter.  It is not 0: the arithmetic is another.
    """
    texts = [letter * n for letter in "abcdef" for n in (1, 3, 9)] + ["abcdef" * 3, ""]
    place = folder(tmp_path / "m") if family == "gpt2" else tiny_llama(tmp_path / "m", texts * 9)
    for pooling in ("mean", "last"):
        exact, rounded = (
            computed(place, None, texts=texts, pooling=pooling, dtype=one) for one in ("float32", "bfloat16")
        )
        assert rounded.dtype == np.float32
        apart = np.linalg.norm(rounded - exact, axis=1) / np.linalg.norm(exact, axis=1)
        assert 0 < apart.max() < 16 * 2**-9


def test_pairs_need_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(folder(tmp_path / "feat"))
    monkeypatch.setattr(Features, "_model", None)
    assert Features(None, CPU).paired(place, [("abcdef", "fed")]) == [("abc", "fed")]
