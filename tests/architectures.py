"""The architectures of `models/architectures.json`: their configurations, and the probe's verdicts on them."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import transformers

from harness.generation.probe import Architecture, probe
from harness.models import pretrained
from harness.models.tokenizers import characters
from harness.records.verdict import Verdict

FILE = Path(__file__).parent / "models" / "architectures.json"
KNOWN: dict[str, dict[str, Any]] = {
    name: entry for part in json.loads(FILE.read_text()).values() for name, entry in part.items()
}
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@cache
def tokenizer() -> Any:
    return pretrained.wrapped(characters([ALPHABET]))


def config_of(name: str) -> Any:
    entry = KNOWN[name]
    end = tokenizer().eos_token_id
    options = {"pad_token_id": None, "bos_token_id": end, "eos_token_id": end} | entry["config"]
    return transformers.AutoConfig.for_model(entry["model_type"], vocab_size=len(tokenizer()), **options)


@cache
def verdict(name: str) -> tuple[Verdict, float]:
    """The probe's, and its seconds of processor time."""
    begin = time.process_time()
    return probe(Architecture.of(config_of(name))), time.process_time() - begin
