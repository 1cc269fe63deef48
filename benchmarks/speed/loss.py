"""Cost of the loss over a large vocabulary: chunks of states beside the whole [N, T, V] logits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from benchmarks.speed.models import seconds
from harness.models.output_layer import sums_and_chosen
from harness.plugins.speed import Environment, SpeedComparison, Turn

VOCABULARY, ROWS, LENGTH, WIDTH = 50_257, 8, 512, 128
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Given:
    """Hidden states [N, T, F], output weights [V, F], actions [N, T] and where `<backspace>` is legal [N, T]."""

    hidden: Tensor
    weight: Tensor
    action: Tensor
    legal: Tensor

    @classmethod
    def random(cls, device: str, vocabulary: int = VOCABULARY, rows: int = ROWS, length: int = LENGTH) -> Given:
        """Random tensors of the scale that a model of width 128 has; equal for equal sizes."""
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(rows, length, WIDTH, generator=generator)
        weight = torch.randn(vocabulary, WIDTH, generator=generator) / WIDTH**0.5
        action = torch.randint(vocabulary - 1, (rows, length), generator=generator)
        legal = torch.rand(rows, length, generator=generator) < 0.9
        output = torch.nn.Parameter(weight.to(device))
        return cls(hidden.to(device).requires_grad_(), output, action.to(device), legal.to(device))


Way = Callable[[Given], tuple[Tensor, Tensor]]
"""Log-sum-exp of the legal logits and the chosen action's logit, both [N, T]."""


def naive(given: Given) -> tuple[Tensor, Tensor]:
    """The plain form, from all logits at once, without `<backspace>`, whose mask would take a third of the time."""
    logits = torch.nn.functional.linear(given.hidden, given.weight)
    return logits.logsumexp(-1), logits.gather(-1, given.action[..., None])[..., 0]


def ours(given: Given) -> tuple[Tensor, Tensor]:
    """The form that policies use, in chunks of states."""
    hidden, legal, action = given.hidden.flatten(0, 1), given.legal.flatten(), given.action.flatten()
    state = torch.arange(len(hidden), device=hidden.device)
    found = sums_and_chosen(hidden, given.weight, None, legal, len(given.weight) - 1, state, action)
    total, chosen = (number.view(given.action.shape) for number in found)
    return total, chosen


def once(way: Way, given: Given) -> None:
    """Value and gradient of the mean negative log-likelihood plus a little of the value's square."""
    total, chosen = way(given)
    ((total - chosen).mean() + 1e-3 * (total**2).mean()).backward()  # type: ignore[no-untyped-call]
    given.hidden.grad = given.weight.grad = None


def loss_time(environment: Environment) -> tuple[Turn, Turn]:
    """Seconds of the loss and its gradient."""
    given = Given.random(environment.device)
    return (
        lambda: seconds(lambda: once(ours, given), environment.device),
        lambda: seconds(lambda: once(naive, given), environment.device),
    )


def loss_memory(environment: Environment) -> tuple[Turn, Turn]:
    """MiB that the loss and its gradient take at their peak beyond inputs and weights, each in its own process."""

    def turn(way: str) -> Turn:
        command = [sys.executable, "-m", "benchmarks.speed.loss", way, environment.device]
        return lambda: float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    return turn("ours"), turn("naive")


def peak(way: Way, device: str) -> float:
    """MiB at the peak of `once`, less what was there before; on a CPU seen every millisecond."""
    given = Given.random(device)
    first = [tensor[:1, :1] for tensor in (given.hidden, given.action, given.legal)]
    once(way, Given(first[0], given.weight, first[1], first[2]))  # libraries set up their buffers
    given.hidden.grad = given.weight.grad = None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once(way, given)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    process, done = psutil.Process(), threading.Event()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    once(way, given)
    done.set()
    watcher.join()
    return (highest - before) / 2**20


LOSS_TIME = SpeedComparison(
    "loss, V = 50,257, 8 x 512", "whole logits without <backspace>", "s", 1.15, "lower", loss_time, DEVICES
)
LOSS_MEMORY = SpeedComparison(
    "peak memory of the loss, V = 50,257, 8 x 512",
    "whole logits without <backspace>",
    "MiB",
    0.25,
    "lower",
    loss_memory,
    DEVICES,
    warmup=False,
)

if __name__ == "__main__":
    print(json.dumps(peak({"ours": ours, "naive": naive}[sys.argv[1]], sys.argv[2])))
