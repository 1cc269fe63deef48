"""Importing this imports all that computing a run imports sooner or later: for the server that workers fork from.

It computes nothing: a process with computing threads must not be forked.
"""

from __future__ import annotations

import sys

import torch._dynamo  # what an optimiser's first step imports

import harness.run
from harness.registry import BENCHMARKS, METRICS, TRAINERS

__all__ = ["harness", "torch"]

for name in ("GPT2LMHeadModel", "LlamaForCausalLM", "PreTrainedTokenizerFast", "AutoModelForCausalLM"):
    getattr(sys.modules["transformers"], name)  # it loads its parts when they are first named
for registry in (TRAINERS, BENCHMARKS, METRICS):
    for name in registry:
        if name != "mauve":  # loads what starts threads; a run that wants it loads it itself
            registry[name]
