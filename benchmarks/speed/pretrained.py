"""A real model beside transformers + peft: `python -m benchmarks.speed.pretrained DIR [PART ...] [--texts N]`.

Parts: `lora` and `full` (a training step of 4 x 128 tokens, of the same rows and from the same weights, in turn in one
process; peak memory of each side in a process of its own), `likelihood` (8 windows of 256 tokens, in turn) and `score`
(`harness score` with MAUVE of its features, N + N texts of 128 tokens, called twice, in float32 and in bfloat16).
Each is checked to be the same number before it is timed.  A table in Markdown, a row as each is done.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.models import BENCHMARK, seconds, splits
from harness.config.run import RunConfig
from harness.data.stream import ExpertStream
from harness.evaluation.likelihood import token_nll
from harness.models.initial import start_policy
from harness.models.policy import Policy
from harness.plugins.options import build, resolve
from harness.records.rollout import Trajectory
from harness.registry import TRAINERS
from harness.system.provenance import peak_memory_bytes
from harness.training.loop import Training

ROWS, LENGTH, ROUNDS, STEPS = 4, 128, 5, 10**6
WINDOWS, WINDOW = 8, 256
RANK, LR = 16, 1e-5
NEAR = 1e-5  # nats per token by which the two sides may differ: both are in float32


@cache
def tokens(place: str) -> tuple[int, ...]:
    """Python's documentation in the model's tokens."""
    policy = Policy.load(place, LENGTH)
    return tuple(token for example in splits().train[:40] for token in policy.encode(example.text))


def pieces(place: str, number: int, length: int) -> list[list[int]]:
    """Pieces of the documentation, `length` tokens each."""
    whole = tokens(place)
    assert len(whole) > length * 4
    return [list(whole[at : at + length]) for at in (i * length % (len(whole) - length) for i in range(number))]


def our_training(place: str, lora: bool) -> Training:
    """Training by MLE, as a run has it."""
    given = {
        "benchmark": BENCHMARK.model_dump(),
        "trainer": {"name": "mle"},
        "actions": {"backspace": False},
        "model": {"name": place, "context": LENGTH, "lora_r": RANK if lora else None},
        "training": {"steps": STEPS, "rows": ROWS, "lr": LR},
        "metrics": [],
    }
    run = resolve(RunConfig.model_validate(given))
    policy = start_policy(run, None, torch.device("cpu"))
    expert = [Trajectory((policy.start_id,), tuple(piece)) for piece in pieces(place, 8 * ROWS, LENGTH - 1)]
    stream = ExpertStream(expert, policy.space, run.actions, None, context=LENGTH, seed=0)
    return Training(policy, build(TRAINERS, run.trainer, "trainer"), stream, run)


class Theirs:
    """The same steps as a loop around transformers and peft has them: same rows, AdamW, clipping."""

    def __init__(self, place: str, lora: bool) -> None:
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        if lora:
            import peft

            wanted = peft.LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules="all-linear")
            model = peft.get_peft_model(model, wanted)
        self.model: Any = model
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LR, weight_decay=0.01, fused=True)

    def loss(self, rows: list[Trajectory]) -> torch.Tensor:
        """Mean nats per token of a step's rows."""
        ids = torch.tensor([[*row.prompt, *row.actions] for row in rows])
        found: torch.Tensor = self.model(input_ids=ids, labels=ids, use_cache=False).loss
        return found

    def step(self, rows: list[Trajectory]) -> None:
        """One optimiser step."""
        self.loss(rows).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Median seconds of ours and of theirs, and of the ratios pair by pair the median, the least and the most."""
    for turn in (ours, theirs):
        turn()
    pairs = [(seconds(ours, "cpu"), seconds(theirs, "cpu")) for _ in range(rounds)]
    ratios = [own / other for own, other in pairs]
    medians = [statistics.median(pair[i] for pair in pairs) for i in (0, 1)]
    return [*medians, statistics.median(ratios), min(ratios), max(ratios)]


def alone(place: str, side: str, lora: bool) -> None:
    """Three steps of one side, and the peak memory of the process in bytes."""
    training = our_training(place, lora)
    rows = [training.stream.batch(at * ROWS, ROWS) for at in range(3)]
    if side == "theirs":
        del training  # before their model is loaded: what it took is taken again
        other = Theirs(place, lora)
        for step in rows:
            other.step(step)
    else:
        for _ in rows:
            training.advance()
    print(peak_memory_bytes())


def memory(place: str, side: str, part: str) -> float:
    """Peak memory in MiB of a process that makes three steps of one side."""
    program = [sys.executable, "-m", "benchmarks.speed.pretrained", place, part, "--alone", side]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()[-1]) / 2**20


def step_seconds(place: str, lora: bool) -> list[float]:
    """Seconds of a training step, as `in_turn`; both sides hold their models meanwhile."""
    ours, theirs = our_training(place, lora), Theirs(place, lora)
    gradient = ours.gradient()
    with torch.no_grad():
        other = float(theirs.loss(ours.stream.batch(0, ROWS)))
    assert abs(float(gradient.loss) - other) < NEAR, f"ours {float(gradient.loss)}, theirs {other}"
    ours.update(gradient)
    return in_turn(ours.advance, lambda: theirs.step(ours.stream.batch(ours.step * ROWS, ROWS)))


def training_step(place: str, part: str) -> Iterator[tuple[str, str, str, str]]:
    """Time and memory of a training step."""
    own, beside, *ratio = step_seconds(place, part == "lora")
    yield f"`{part}` step, {ROWS} x {LENGTH} tokens", f"{own:.2f} s", f"{beside:.2f} s", as_ratio(ratio)
    took = [memory(place, side, part) for side in ("ours", "theirs")]
    yield f"`{part}`, peak memory", f"{took[0]:,.0f} MiB", f"{took[1]:,.0f} MiB", f"**{took[0] / took[1]:.2f}**"


def beside_likelihood(place: str) -> Iterator[tuple[str, str, str, str]]:
    """Time of a likelihood, and the difference from transformers alone with a log-softmax in float64."""
    policy = Policy.load(place, WINDOW)
    rows = [[policy.start_id, *piece] for piece in pieces(place, WINDOWS, WINDOW - 1)]
    model = Theirs(place, False).model
    found: dict[str, float] = {}

    def ours() -> None:
        nll, _, count = token_nll(policy, [(1, row) for row in rows], WINDOW, WINDOW // 2)
        found["ours"] = nll / count

    @torch.no_grad()
    def theirs() -> None:
        total = 0.0
        for row in rows:
            logits = model(torch.tensor([row]), use_cache=False).logits[0, :-1]
            total -= float(logits.double().log_softmax(-1).gather(-1, torch.tensor(row[1:])[:, None]).sum())
        found["theirs"] = total / sum(len(row) - 1 for row in rows)

    own, beside, *ratio = in_turn(ours, theirs)
    apart = abs(found["ours"] - found["theirs"])
    assert apart < 1e-6, f"nats per token: ours {found['ours']}, theirs {found['theirs']}"
    name = f"likelihood, {WINDOWS} windows of {WINDOW} (apart {apart:.0e} nats per token)"
    yield name, f"{own:.2f} s", f"{beside:.2f} s", as_ratio(ratio)


def scored(place: str, texts: int, folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Two calls of `harness score`, in float32 and in bfloat16; the same score twice, to the last bit."""
    policy = Policy.load(place, None)
    both = [policy.decode(piece) for piece in pieces(place, 2 * texts, LENGTH)]
    del policy
    for name, half in (("texts", both[::2]), ("references", both[1::2])):
        lines = "".join(f"{json.dumps({'text': text})}\n" for text in half)
        (folder / f"{name}.jsonl").write_text(lines)
    for dtype in ("float32", "bfloat16"):
        metric = f"mauve@mauve-text[featuriser={place},dtype={dtype}]"
        program = [str(Path(sys.executable).parent / "harness"), "score", "texts.jsonl", "--metrics", metric, "--json"]
        program += ["--reference", "references.jsonl", "--store", str(folder / "runs.db")]
        times, peaks, values = [], [], []
        for _ in range(2):
            with (folder / "out.json").open("w") as out:
                process = subprocess.Popen(program, cwd=folder, stdout=out)
                times.append(seconds(lambda: peaks.append(_waited(process)), "cpu"))  # noqa: B023
            values.append(
                {one["metric"]: one["value"] for one in json.loads((folder / "out.json").read_text())["scores"]}
            )
        assert values[0] == values[1]
        what = f"`harness score`, {texts} + {texts} texts of {LENGTH}, {dtype}: second call, first call"
        yield what, f"{times[1]:.1f} s", f"{times[0]:.1f} s", f"**{times[1] / times[0]:.3f}**"
        took = f"{peaks[1]:,.0f} MiB", f"{peaks[0]:,.0f} MiB", f"**{peaks[1] / peaks[0]:.2f}**"
        yield f"the same, peak memory; MAUVE {values[0]['mauve']:.4f}", *took


def _waited(process: subprocess.Popen[bytes]) -> float:
    """Peak memory of a process in MiB, at its end."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def as_ratio(three: list[float]) -> str:
    """The median ratio with its range."""
    middle, low, high = (re.sub(r"^0\.", ".", f"{one:.2f}") for one in three)
    return f"**{middle}** ({low}–{high})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", metavar="DIR", help="directory of a pretrained model")
    parser.add_argument("parts", nargs="*", metavar="PART", help="lora, full, likelihood, score; default: all")
    parser.add_argument("--texts", type=int, default=500, help="texts on each side of `score`")
    parser.add_argument("--alone", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    place = str(Path(given.place).absolute())
    if given.alone:
        alone(place, given.alone, given.parts[0] == "lora")
        return
    print(
        f"cpu, {torch.get_num_threads()} threads\n\n| what | ours | theirs | ratio (min–max) |\n|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Iterator[tuple[str, str, str, str]]]] = {
            "lora": lambda: training_step(place, "lora"),
            "full": lambda: training_step(place, "full"),
            "likelihood": lambda: beside_likelihood(place),
            "score": lambda: scored(place, given.texts, Path(folder)),
        }
        for part in given.parts or parts:
            for row in parts[part]():
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
