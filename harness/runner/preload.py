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

import os
import sys
from contextlib import suppress

PARENT, LOOK = os.getppid(), 0.5  # LOOK: seconds between two looks whether the parent lives


def end_with_parent(*_: object) -> None:
    """End this process if its parent has ended; once all is imported, the pipe between them says so."""
    if os.getppid() != PARENT:
        os._exit(0)


if hasattr(signal, "setitimer"):  # no thread: a process with threads must not be forked
    signal.signal(signal.SIGALRM, end_with_parent)
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)

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

if hasattr(signal, "setitimer"):
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
