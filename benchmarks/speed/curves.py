"""Growth of cost with length, vocabulary, batch and stored runs: `python -m benchmarks.speed.curves [NAME ...]`.

Writes one CSV and one SVG for each, both axes logarithmic; medians of five.  A straight line of slope 1 is a cost that
is proportional; times are this machine's, shapes should be any machine's.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.loss import Given, Way, naive, once, ours
from benchmarks.speed.models import CONTEXT, config, seconds, trained, untrained, windows
from benchmarks.speed.sampling import actions_per_second
from benchmarks.speed.training import deleting, step
from harness.storage.store import Store

FOLDER = Path(__file__).parents[2] / "results" / "curves"
REPEATS = 5
NODES = 4_096  # of each training step


@dataclass(frozen=True)
class Curve:
    """One figure: its axes, and for each x one number per line."""

    name: str
    x: str
    y: str
    points: Callable[[], Iterator[tuple[int, Mapping[str, float]]]]


def median(turn: Callable[..., float], *given: Any) -> float:
    """Median of five turns after one that does not count."""
    turn(*given)
    return statistics.median(turn(*given) for _ in range(REPEATS))


def by_length() -> Iterator[tuple[int, dict[str, float]]]:
    """A training step of 4,096 nodes in rows of T."""
    for length in (64, 128, 256, 512, 1024):
        policy = untrained(config(backspace=True, context=length), "cpu")
        plain = windows(policy, length, NODES // length)
        noisy = deleting(policy, length, NODES // length)
        yield (
            length,
            {
                "plain": median(step, policy, plain, "cpu", 1),
                "with deletions": median(step, policy, noisy, "cpu", 1),
            },
        )


def by_vocabulary() -> Iterator[tuple[int, dict[str, float]]]:
    """The loss alone, with its gradient, of 1,024 states of width 128."""
    for size in (512, 2048, 8192, 32768, 50257):
        given = Given.random("cpu", vocabulary=size, rows=8, length=128)
        yield (
            size,
            {
                "in blocks": 1e6 / 1024 * median(_seconds_of, ours, given),
                "whole logits": 1e6 / 1024 * median(_seconds_of, naive, given),
            },
        )


def by_batch() -> Iterator[tuple[int, dict[str, float]]]:
    """Sampling texts of up to 127 tokens."""
    for rows in (8, 16, 32, 64, 128, 256):
        found = {}
        for backspace, line in ((False, "without <backspace>"), (True, "with <backspace>")):
            policy = trained(backspace, "cpu")
            found[line] = 1e6 / median(actions_per_second, policy, rows, 0, "cpu")
        yield rows, found


def by_runs() -> Iterator[tuple[int, dict[str, float]]]:
    """The dashboard's first page in a fresh process, and a leaderboard's reading of the store."""
    from benchmarks.speed.dashboard import GRIDS, SEEDS, fill

    for groups in (2, GRIDS, 12 * GRIDS, 125 * GRIDS):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/runs.db"
            with Store(url) as store:
                fill(store, groups)
            last = f"grid {(groups - 1) * GRIDS // groups}"
            program = [sys.executable, "-m", "benchmarks.speed.dashboard", "--first", url, last]

            def page(program: Sequence[str] = program) -> float:
                return float(json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout))

            with Store.open(url, read_only=True) as store:
                yield groups * SEEDS, {"first page": median(page), "all runs": median(_reading, store)}


def _reading(store: Store) -> float:
    return seconds(store.runs, "cpu")


def _seconds_of(way: Way, given: Given) -> float:
    return seconds(lambda: once(way, given), "cpu")


CURVES = (
    Curve("length", f"T (rows of {NODES:,} nodes in all)", "microseconds per node, forward and backward", by_length),
    Curve("vocabulary", "V", "microseconds per state, loss and gradient", by_vocabulary),
    Curve("batch", f"rows of up to {CONTEXT - 1} tokens", "microseconds per action", by_batch),
    Curve("runs", "runs in the store", "seconds", by_runs),
)


def svg(curve: Curve, points: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    """A figure as SVG: both axes logarithmic, a dot for each number, and each line's name at its end."""
    width, height, margin = 640, 400, 60
    xs = [math.log10(x) for x, _ in points]
    ys = [math.log10(value) for _, lines in points for value in lines.values()]
    low, high = math.floor(min(ys)), math.ceil(max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - xs[0]) / (xs[-1] - xs[0])
        up = (math.log10(y) - low) / max(high - low, 1)
        return margin + across * (width - 3 * margin), height - margin - up * (height - 2 * margin)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for x, _ in points:
        at = place(x, 10**low)
        parts.append(f'<text x="{at[0]:.0f}" y="{at[1] + 18:.0f}" text-anchor="middle">{x:,}</text>')
    for power in range(low, high + 1):
        at = place(points[0][0], 10**power)
        parts.append(
            f'<line x1="{margin}" x2="{width - 2 * margin}" y1="{at[1]:.0f}" y2="{at[1]:.0f}" stroke="#ddd"/>'
            f'<text x="{margin - 6}" y="{at[1] + 4:.0f}" text-anchor="end">{10.0**power:g}</text>'
        )
    for (name, colour), dash in zip(zip(points[0][1], ("#1f5fa8", "#c04a1a"), strict=False), ("", "5 3"), strict=True):
        dots = [place(x, lines[name]) for x, lines in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        label = name.replace("<", "&lt;").replace(">", "&gt;")
        parts.append(f'<text x="{dots[-1][0] + 8:.0f}" y="{dots[-1][1] + 4:.0f}" fill="{colour}">{label}</text>')
    parts.append(f'<text x="{margin}" y="{height - 12}">{curve.x}</text>')
    parts.append(f'<text x="{margin}" y="24">{curve.y}</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure the named curves, or every one, and write them down."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for curve in CURVES:
        if sys.argv[1:] and curve.name not in sys.argv[1:]:
            continue
        points = list(curve.points())
        with (FOLDER / f"{curve.name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow([curve.x, *(f"{line}, {curve.y}" for line in points[0][1])])
            table.writerows([x, *(f"{value:.4g}" for value in lines.values())] for x, lines in points)
        (FOLDER / f"{curve.name}.svg").write_text(svg(curve, points))
        print(f"{FOLDER / curve.name}.csv, .svg")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
