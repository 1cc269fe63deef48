"""Importing this imports all that computing a run imports sooner or later: for the server that workers fork from.

It computes nothing: a process with computing threads must not be forked.
"""

# ruff: noqa: E402
from __future__ import annotations

import signal

for number in (signal.SIGINT, signal.SIGTERM):  # first of all, as the imports take seconds: who stops a whole group
    signal.signal(number, signal.SIG_IGN)  # means the supervisor, and nobody can say how workers end once this has

import sys
from contextlib import suppress

import torch._dynamo  # what an optimiser's first step imports

import harness.runner.run
from harness.registry import BENCHMARKS, METRICS, TRAINERS

__all__ = ["harness", "torch"]

for name in ("GPT2LMHeadModel", "LlamaForCausalLM", "PreTrainedTokenizerFast", "AutoModelForCausalLM"):
    getattr(sys.modules["transformers"], name)  # it loads its parts when they are first named
for registry in (TRAINERS, BENCHMARKS, METRICS):
    for name in registry:
        if name != "mauve":  # loads what starts threads; a run that wants it loads it itself
            with suppress(Exception):  # somebody's broken plug-in is the trouble of the run that wants it
                registry[name]
