"""Refusals from config.json alone: the probe says the same of neighbours of the architectures that are known.

`test_architectures.py` holds these themselves against it.  `NEIGHBOURS` are types that `architectures.json` has not,
each as its encoder and its decoder.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest
import transformers
from architectures import KNOWN, config_of, tokenizer

from harness.generation.probe import Architecture, probe
from harness.models.architectures import known as refusals
from harness.models.architectures.known import MEASURED, known
from harness.records.verdict import Verdict

SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "embedding_size": 32, "num_attention_heads": 4}
SIZES |= {
    "intermediate_size": 64,
    "max_position_embeddings": 70,
    "input_embedding_size": 32,
    "output_embedding_size": 32,
}
XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4}
REFORMER = KNOWN["reformer"]["config"]
ROBERTAS = ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl")
ENCODERS = ("bert-generation", "big_bird", "electra", "ernie", "megatron-bert", "rembert", "roc_bert", "roformer")
NEIGHBOURS: list[tuple[str, dict[str, Any], bool]] = [
    *((kind, {**SIZES, "is_decoder": False}, True) for kind in ENCODERS),
    *((kind, {**SIZES, "is_decoder": True}, kind == "rembert") for kind in ENCODERS),
    *((kind, {**SIZES, "pad_token_id": 0, "is_decoder": False}, True) for kind in ROBERTAS),
    *((kind, {**SIZES, "pad_token_id": 0, "is_decoder": True}, True) for kind in ROBERTAS),
    ("xlm", {**XLM, "pad_token_id": 0, "causal": True}, True),
    ("reformer", {**REFORMER, "pad_token_id": 0}, False),
    ("reformer", {**REFORMER, "pad_token_id": 0, "is_decoder": False}, True),
    ("granitemoehybrid", {**KNOWN["granitemoehybrid"]["config"], "layer_types": ["full_attention"] * 2}, False),
]
NAMES = [f"{kind}-{number}" for number, (kind, _, _) in enumerate(NEIGHBOURS)]


def neighbour(kind: str, options: dict[str, Any]) -> Any:
    end = tokenizer().eos_token_id
    shared = {"vocab_size": len(tokenizer()), "bos_token_id": end, "eos_token_id": end, "pad_token_id": None}
    return transformers.AutoConfig.for_model(
        kind, **(shared | options | {"is_decoder": bool(options.get("is_decoder"))})
    )


@cache
def found(name: str) -> Verdict | None:
    return known(config_of(name).to_json_string())


def test_the_list_is_of_the_installed_transformers() -> None:
    assert version("transformers") == MEASURED, (
        "under another version the probe alone decides; set MEASURED to it, and see if the tests of refusals still hold"
    )


def test_what_cannot_delete_is_known() -> None:
    """All but those that count positions themselves, or keep no keys by position: the probe finds that out."""
    without = {name for name, entry in KNOWN.items() if entry["result"] == "without"}
    assert {name for name in without if found(name) is None} == {"bart", "openai", "reformer_padded"}


@pytest.mark.parametrize(("kind", "options", "refused"), NEIGHBOURS, ids=NAMES)
def test_neighbours_are_refused_where_the_probe_refuses_them(kind: str, options: dict[str, Any], refused: bool) -> None:
    config = neighbour(kind, options)
    assert (probe(Architecture.of(config)).refused is not None) is refused
    said = known(config.to_json_string())
    assert (said is not None and said.refused is not None) is refused


@pytest.mark.parametrize("kind", ["albert", "distilbert", "vit", "mt5", "clip"])
def test_types_without_a_causal_model_are_refused_by_name(kind: str) -> None:
    said = known(json.dumps({"model_type": kind, "architectures": ["Some"]}))
    assert said is not None
    assert said.refused is not None
    assert said.refused.startswith(
        f"Some cannot be run as a causal language model: transformers has none of model_type {kind!r}"
    )


def test_what_is_not_known_is_left_to_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code beside the weights, damaged files, and all but missing types under another version of transformers."""
    for text in ("", "{", "[]", "{}", '{"model_type": 3}', '{"model_type": "mine", "auto_map": {}}'):
        assert known(text) is None
    assert known('{"model_type": "bert"}') is not None
    monkeypatch.setattr(refusals, "MEASURED", "0")
    assert known('{"model_type": "bert"}') is None
    assert known('{"model_type": "mamba"}') is None
    assert known('{"model_type": "t5"}') is not None


def test_a_type_that_a_file_of_plug_ins_registers_is_left_to_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--include` does with a model of one's own; before, transformers has none of it."""
    text = json.dumps({"model_type": "of-ones-own"})
    assert known(text) is not None
    monkeypatch.setitem(transformers.CONFIG_MAPPING._extra_content, "of-ones-own", transformers.PretrainedConfig)
    assert known(text) is None
