"""A LoRA that could not be trained or folded in is refused before anything runs; where one stands is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from architectures import KNOWN, config_of, tokenizer
from tiny_policies import tiny_policy

from harness.errors import ConfigError
from harness.generation import lora_probe as probed
from harness.generation.lora_probe import lora_probe
from harness.generation.probe import TOLERANCE, Architecture
from harness.grids.check import check, notes
from harness.grids.grid import Grid
from harness.grids.yaml_file import Document
from harness.models import lora
from harness.models.architectures.layers import Layers

RUNS = [name for name, entry in KNOWN.items() if entry["result"] != "refused"]
LANGUAGE = {"name": "language", "length": 6, "symbols": 6, "train": 40, "validation": 8, "test": 8}


@pytest.mark.parametrize("name", RUNS)
def test_every_family_takes_a_lora_or_is_refused_in_words(name: str) -> None:
    found = lora_probe(Architecture.of(config_of(name)), "all-linear")
    if KNOWN[name]["model_type"] == "reformer":
        assert found.refused is not None
        assert found.refused.startswith("model.lora_targets=all-linear: ReformerModelWithLMHead passes no gradient to ")
        assert found.refused.endswith("set model.lora_r=null to train all weights, or use another model")
        return
    assert found.refused is None
    assert found.measured["folded"] < TOLERANCE / 5
    assert found.lora.startswith("beside ")


def folder_of(name: str, folder: Path) -> None:
    transformers.AutoModelForCausalLM.from_config(config_of(name)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def grid(folder: Path, **model: Any) -> Grid:
    base = {
        "benchmark": LANGUAGE,
        "trainer": "mle",
        "actions": {"backspace": False},
        "training": {"steps": 2, "rows": 4},
        "sampling": {"rollouts": 4, "length": 6},
        "metrics": ["perplexity"],
        "model": {"name": str(folder), "context": 24, "lora_r": 2, **model},
    }
    return Grid.read(Document({"base": base, "controls": False}, "here"), "here")


def test_a_grid_is_refused_before_it_runs(tmp_path: Path) -> None:
    folder_of("jamba", tmp_path / "m")
    with pytest.raises(ConfigError, match=r"/m: model\.lora_targets='qproj' names no layer of this JambaForCausalLM"):
        check(grid(tmp_path / "m", lora_targets="qproj"))
    with pytest.raises(ConfigError, match=r"/m: .*mamba\.dt_proj: no pass goes through it"):
        check(grid(tmp_path / "m", lora_targets="dt_proj"), tmp_path)
    with pytest.raises(ConfigError, match=r"mamba\.dt_proj: no pass goes through it"):  # the kept verdict
        check(grid(tmp_path / "m", lora_targets="dt_proj"), tmp_path)
    folder_of("reformer_padded", tmp_path / "r")
    with pytest.raises(ConfigError, match=r"/r: .* passes no gradient to a LoRA"):
        check(grid(tmp_path / "r"))


def test_layers_without_their_lora_are_noted_and_verdicts_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of("jamba", tmp_path / "m")
    cells = check(grid(tmp_path / "m"), tmp_path)
    monkeypatch.delattr(probed, "lora_probe_of")
    (note,) = notes(cells, tmp_path)
    assert note.startswith(f"model.name={tmp_path / 'm'}: model.lora_targets=all-linear: a LoRA stands beside feed_fo")
    assert "; not beside mamba.dt_proj (no pass goes through it: its weight is read directly, or not at all); " in note
    assert "feed_forward.experts.down_proj, feed_forward.experts.gate_up_proj (not among peft's own targets)" in note
    monkeypatch.undo()
    assert not notes(check(grid(tmp_path / "m", lora_targets="q_proj+v_proj"), tmp_path), tmp_path)


def test_a_lora_that_does_not_fold_is_refused_by_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jamba's steps read a layer's weight directly: with matrices beside it, folding moves tenths of nats."""
    monkeypatch.setattr(lora, "_left_out", lambda policy: {})
    lora_probe.cache_clear()
    found = lora_probe(Architecture.of(config_of("jamba")), "all-linear")
    lora_probe.cache_clear()
    assert found.refused is not None
    assert "folded into the weights of JambaForCausalLM, a LoRA is another function than in training" in found.refused
    assert found.measured["folded"] > 5 * TOLERANCE


def test_a_lora_that_gets_no_gradient_is_refused_beside_a_trained_backspace() -> None:
    """The row of `<backspace>` gets one all the same, and must not stand for the matrices."""
    policy = tiny_policy()
    policy.model.transformer.ln_f.register_forward_pre_hook(lambda _, args: (args[0].detach(),))
    found = probed._judge(policy, "all-linear")
    assert found.refused is not None
    assert "passes no gradient to a LoRA; set model.lora_r=null" in found.refused
    assert probed._judge(tiny_policy(), "all-linear").refused is None


def test_a_verdict_says_a_reason_once() -> None:
    apart = {"a.x": "one", "a.y": "one", "b": "two"}
    assert str(Layers(("q", "v"), apart)) == "beside q, v; not beside a.x, a.y (one); b (two)"
    assert str(Layers(("q",))) == "beside q"
