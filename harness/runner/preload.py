"""Imports all that a run needs, in the server from which worker processes are forked.

Nothing is computed here: a process with computing threads must not be forked.
"""

# ruff: noqa: E402
from __future__ import annotations

import signal

# First of all, as the imports take seconds.  A signal to the whole group is meant for the supervisor; and once this
# server has ended, the exit codes of its workers are lost.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)

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
            with suppress(Exception):  # a broken plug-in fails the run that wants it, and no other
                registry[name]
