"""Evaluations that hold nothing but texts, and texts of the outside data, for the tests of text metrics."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.records import Evaluation, Example, Rollout, Trajectory

Data = Callable[[str], Path]


def evaluation(texts: Sequence[str], references: Sequence[str] | None = None, **more: Any) -> Evaluation:
    """Rollouts with these texts, which ended; without `references` the human texts are the same."""
    return Evaluation(
        prompts=tuple(Example(text) for text in (texts if references is None else references)),
        rollouts=tuple(Rollout(Trajectory((1,), (0,)), (0.0,), "ended", text, ()) for text in texts),
        backspace_id=None,
        metric_seed=0,
        **more,
    )


def stories(data: Data, n: int) -> list[str]:
    """The first n stories of the tinystories sample."""
    text = (data("tinystories") / "tinystories_sample.txt").read_text(encoding="utf-8")
    return [story.strip() for story in text.split("<|endoftext|>")[:n]]


def reviews(data: Data, n: int) -> list[str]:
    """The first n film reviews, lower-cased and with their tokens split by spaces."""
    with zipfile.ZipFile(data("nltk-corpora") / "movie_reviews.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        return [archive.read(name).decode("utf-8", "replace") for name in names[:n]]


def webtext(data: Data, decoder: str, n: int) -> tuple[list[str], list[str]]:
    """The first n generated texts of a decoder's run 0, and the human texts of the same prompts."""
    cases = json.loads((data("webtext-generations") / f"{decoder}_result.json").read_text(encoding="utf-8"))[:n]
    return [case["generated_result"]["0"] for case in cases], [case["reference_text"] for case in cases]
