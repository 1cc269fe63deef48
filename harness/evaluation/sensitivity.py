"""Sensitivity of metrics to human texts that were damaged on purpose: a metric that does not move is blind to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from harness.config.run import RunConfig
from harness.config.sampling import SamplingConfig
from harness.config.section import Plugin
from harness.data.splits import load_splits
from harness.evaluation.features import Features
from harness.evaluation.scoring import MetricRequest, score_requests
from harness.generation.generate import sample_prompts
from harness.generation.prompts import choose_prompts
from harness.models.policy import Policy
from harness.plugins.options import resolve
from harness.records.evaluation import Evaluation
from harness.records.score import Score
from harness.seeding import generator
from harness.training.base_model import prepared, reference_config

Damage = Callable[[str, np.random.Generator], str]


def _spans(text: str) -> list[tuple[int, int]]:
    """(begin, end) of each whitespace word of the text."""
    return [word.span() for word in re.finditer(r"\S+", text)]


def _words(text: str) -> int:
    return len(text.split())


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The text's words in random order; its whitespace keeps its place."""
    parts = re.split(r"(\s+)", text)
    at = [i for i, part in enumerate(parts) if part and not part.isspace()]
    for i, word in zip(at, rng.permutation([parts[i] for i in at]).tolist() if at else [], strict=True):
        parts[i] = word
    return "".join(parts)


def truncated(text: str, rng: np.random.Generator) -> str:
    """The first half of the text's words, rounded up."""
    spans = _spans(text)
    return text[: spans[(len(spans) - 1) // 2][1]] if spans else text


def repeated(text: str, rng: np.random.Generator) -> str:
    """The first third of the text's words (rounded up), again and again, until there are as many words as before."""
    words = text.split()
    third = words[: -(-len(words) // 3)]
    space = text[: len(text) - len(text.lstrip())]
    return space + " ".join(third[i % len(third)] for i in range(len(words))) if words else text


DAMAGES: Mapping[str, Damage] = {  # by name
    "intact": lambda text, rng: text,
    "shuffled": shuffled,
    "truncated": truncated,
    "repeated": repeated,
}


def copied(text: str, train: Sequence[str], rng: np.random.Generator) -> str:
    """A passage of a random training text with as many words as the text; of the longest one if none has as many."""
    wanted = _words(text)
    long_enough = [source for source in train if _words(source) >= wanted]
    source = (
        long_enough[rng.integers(len(long_enough))] if long_enough else max(train, key=lambda one: len(one.split()))
    )
    spans = _spans(source)
    if not spans or not wanted:
        return ""
    begin = int(rng.integers(max(1, len(spans) - wanted + 1)))
    return source[spans[begin][0] : spans[min(begin + wanted, len(spans)) - 1][1]]


TEMPERATURES = (1.0, 1.5)  # at which the reference LM writes


@dataclass(frozen=True)
class Sensitivity:
    """Scores of the same texts under each damage: the same names in the same order for all.

    `texts` is the number of texts, which are compared with as many human texts.
    """

    texts: int
    scores: Mapping[str, Sequence[Score]]


def sensitivity(
    benchmark: Plugin, wanted: Sequence[MetricRequest], cache: Path, device: torch.device, *, seed: int = 0
) -> Sensitivity:
    """Every metric on the second half of a benchmark's human continuations, damaged, against the first half.

    The damages: `intact` (the ceiling, human against human), `shuffled` words, `truncated` to half, `repeated`
    first third, `copied` passages of the training split, and what the benchmark's reference LM writes after the second
    half's prompts at temperatures 1 and 1.5.  All texts are cut to the length that the reference LM can write.  The
    reference LM is trained if `cache` does not hold it.
    """
    config = resolve(RunConfig(benchmark=benchmark, trainer=Plugin(name="mle"), metrics=()))
    splits = load_splits(config.benchmark)
    reference = prepared(reference_config(config), splits, cache, device)
    policy = Policy.load(reference, None).to(device)
    prompts = choose_prompts(policy, splits.prompts, SamplingConfig(rollouts=len(splits.prompts)))
    half = len(prompts) // 2
    human, others = prompts[:half], prompts[half : 2 * half]
    train = tuple(example.text for example in splits.train)
    texts: dict[str, list[str]] = {
        name: [damage(one.text, generator(seed, name, i)) for i, one in enumerate(others)]
        for name, damage in DAMAGES.items()
    }
    texts["copied"] = [copied(one.text, train, generator(seed, "copied", i)) for i, one in enumerate(others)]
    for temperature in TEMPERATURES:
        sampling = SamplingConfig(rollouts=half, temperature=temperature)
        rollouts = sample_prompts(policy, others, sampling, seed)
        texts[f"temperature {temperature:g}"] = [rollout.text for rollout in rollouts]
    features = Features(reference, device, cache)

    def scores(written: Sequence[str]) -> list[Score]:
        evaluation = Evaluation(
            prompts=human,
            rollouts=(),
            backspace_id=None,
            metric_seed=seed,
            train=train,
            features=features,
            featuriser_id=features.identify,
            paired=features.paired,
            written=tuple(written),
        )
        return list(score_requests(evaluation, wanted))

    return Sensitivity(half, {name: scores(written) for name, written in texts.items()})


def as_markdown(found: Sensitivity) -> str:
    """Markdown table: a line for each score, a column for each damage, four digits."""
    names = list(found.scores)
    lines = [f"| score | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for same in zip(*found.scores.values(), strict=True):
        cells = ["–" if one.value is None else f"{one.value:.4g}" for one in same]
        lines.append(f"| `{same[0].metric}` | {' | '.join(cells)} |")
    first = next(iter(found.scores.values()))
    full = [f"- `{one.metric}`: `{one.name}`, {one.unit}, better: {one.direction}" for one in first]
    return "\n".join([*lines, "", *full]) + "\n"
