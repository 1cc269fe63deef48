"""Grids over loaded models of several families: run as they are, or refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harness import load_policy
from harness.errors import ConfigError
from harness.generation import probe
from harness.grids.check import check, notes
from harness.grids.grid import Grid
from harness.grids.yaml_file import Document
from harness.models import pretrained
from harness.models.card import card
from harness.models.export import export
from harness.models.tokenizers import characters
from harness.records.events import Results
from harness.runner.grid import run_grid
from harness.runner.run import run as compute
from harness.runs.load import of_run
from harness.storage.store import Store
from harness.training.resume import Attempt

CONFIGS = json.loads((Path(__file__).parents[1] / "models" / "architectures.json").read_text())["variants"]
SHORT = {"training": {"steps": 2, "rows": 4}, "sampling": {"rollouts": 6}, "metrics": ["perplexity", "length"]}


def saved(name: str, folder: Path) -> str:
    """The directory of a random model, its tokenizer with it."""
    tokenizer = pretrained.wrapped(characters(["abcdefghijklmnopqrstuvwxyz"]))
    end = tokenizer.eos_token_id
    options = {"pad_token_id": None, "bos_token_id": end, "eos_token_id": end} | CONFIGS[name]["config"]
    config = transformers.AutoConfig.for_model(CONFIGS[name]["model_type"], vocab_size=len(tokenizer), **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return str(folder / name)


def asked(name: str, context: int = 40, **changes: Any) -> Grid:
    base = {"benchmark": "language", "trainer": "bc", "model": {"name": name, "context": context}, **SHORT, **changes}
    return Grid.read(Document({"name": "any", "base": base, "controls": False}, "test"), "any")


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        (
            "jamba",
            {"actions": {"backspace": True}},
            r"JambaForCausalLM carries a recurrent state .* set actions\.backsp",
        ),
        (
            "bart",
            {"actions": {"backspace": True}},
            r"BartForCausalLM counts positions itself and takes no position_ids",
        ),
        ("rwkv", {"sampling": {"decoder": "contrastive"}}, r"sampling\.decoder=contrastive tries candidates"),
        ("bert", {}, r"BertLMHeadModel looks at tokens that follow: is_decoder is not set in its config\.json"),
        ("roberta", {}, r"RobertaForCausalLM computes logits from hidden states in a way that is not supported"),
        ("mistral_win16", {"context": 65}, r"model\.context=65: this model holds 64 tokens; use at most that"),
    ],
)
def test_a_model_that_cannot_do_what_a_cell_asks_for_is_refused_before_anything_runs(
    name: str, changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    model = saved(name, tmp_path)
    with pytest.raises(ConfigError, match=rf"model\.name=.*{name}: .*{why}"):
        check(asked(model, **changes))


def test_a_hybrid_trains_samples_and_is_loaded_again(tmp_path: Path) -> None:
    """MLE and BC for two steps each, with scores; the verdict is kept beside the bases, and texts are continued."""
    model = saved("jamba", tmp_path)
    for trainer in ("mle", "bc"):
        (cell,) = check(asked(model, trainer=trainer, actions={"backspace": False}))
        events = list(compute(cell, torch.device("cpu"), Attempt(cell.run_id, 1, tmp_path)))
        (results,) = (event for event in events if isinstance(event, Results))
        assert {"perplexity", "length"} <= {score.name.partition("@")[0].split("_")[0] for score in results.scores}
    (kept,) = (tmp_path / "cache" / "probes").glob("*.json")
    assert json.loads(kept.read_text())["refused"] is None
    short, long = load_policy(model).sample(["a", "abcabcabc"], temperature=0.7)
    assert {short.stop, long.stop} <= {"ended", "depth", "budget"}


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_experts_with_a_lora_are_stored_exported_and_loaded_as_one_function(name: str, tmp_path: Path) -> None:
    """From the grid to the folder: three steps, the kept matrices, and what transformers reads alone."""
    model = {"name": saved(name, tmp_path), "context": 40, "lora_r": 2}
    cells = check(asked(model["name"], model=model, training={"steps": 3, "rows": 4, "lr": 0.05}))
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        list(run_grid(cells, store, grid_name="any"))
        stands = (store.provenance(cells[0].run_id) or {})["lora"]
        policy = of_run(store, cells[0].run_id, torch.device("cpu"))
    assert {"mlp.experts.down_proj", "mlp.experts.gate_up_proj", "mlp.gate.weight"} < set(stands["beside"])
    told = card(policy, cells[0], "0" * 8)
    assert "it was trained beside mlp.experts.down_proj, mlp.experts.gate_up_proj, mlp.gate.weight" in told
    assert ("not beside mlp.down_proj" in told) is (name == "deepseek_v3")
    export(policy, tmp_path / "out", told)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    base = transformers.AutoModelForCausalLM.from_pretrained(model["name"])
    ids = torch.tensor([[0, 3, 4, 5, 6]])
    with torch.no_grad():
        logits = policy.logits(policy.last_hidden(ids), torch.tensor([True]))[0]
        assert torch.allclose(plain(ids).logits[0, -1], logits, atol=1e-5)
        assert not torch.allclose(base(ids).logits[0, -1], logits[: len(base(ids).logits[0, -1])], atol=1e-3)


def test_a_model_without_a_cache_says_once_that_it_is_slow(tmp_path: Path) -> None:
    cells = check(asked(saved("rwkv", tmp_path)).override(["seeds=3"]))
    (note,) = notes(cells)
    assert "RwkvForCausalLM has no cache that single tokens can be computed with" in note
    assert notes(check(asked(saved("mamba", tmp_path)))) == []


def test_an_architecture_that_cannot_be_made_small_is_probed_with_its_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a large one of unknown widths: `plan` knows what its code says, and the rest is measured once it is loaded."""
    monkeypatch.setattr(probe, "small", lambda config: None)
    probe.probe.cache_clear()
    model = saved("jamba", tmp_path)
    with pytest.raises(ConfigError, match="JambaForCausalLM carries a recurrent state"):
        check(asked(model, actions={"backspace": True}))
    judged = []
    monkeypatch.setattr(
        probe, "judge", lambda policy, plain, own=probe.judge: judged.append(own(policy, plain)) or judged[0]
    )
    load_policy(model)
    probe.probe.cache_clear()
    assert judged[0].refused is None
    assert max(judged[0].measured.values()) < 1e-4
