"""Cost of scores: MAUVE beside mauve-text from text, Self-BLEU beside NLTK; each is checked to be the same number."""

from __future__ import annotations

from itertools import count

import numpy as np
import torch

from benchmarks.speed.models import config, seconds, splits, training, untrained
from harness.evaluation.features import Features
from harness.metrics.bleu import self_bleu
from harness.metrics.mauve import Mauve, quiet_stderr
from harness.plugins.speed import Environment, SpeedComparison, Turn
from harness.records.data import Example
from harness.records.evaluation import Evaluation
from harness.records.rollout import Rollout, Trajectory
from harness.training.base_model import reference_config

TEXTS, WORDS = 256, 48
BLEU_TEXTS, NLTK_TEXTS = 1_000, 2  # NLTK's time for each of 1,000 texts, from two of them


def excerpts(number: int, begin: int = 0) -> list[str]:
    """Pieces of the training split's texts, of `WORDS` words each."""
    words = [word for example in splits().train for word in example.text.split(" ")]
    first = [(begin + i) * WORDS % (len(words) - WORDS) for i in range(number)]
    return [" ".join(words[at : at + WORDS]) for at in first]


def second_mauve(environment: Environment) -> tuple[Turn, Turn]:
    """Scores per second, each of another set of 256 texts against the same 256 references, five k-means seeds each.

    Theirs, too, computes the features of both sides once for all seeds; one text at a time, as `compute_mauve` does.

    Raises:
        AssertionError: the two numbers differ.
    """
    from mauve import compute_mauve
    from mauve.compute_mauve import get_features_from_input

    run = reference_config(config(rows=16, steps=40))
    fitting = training(run, "cpu", policy=untrained(run, "cpu"))
    while not fitting.finished:
        fitting.advance()
    policy, directory = fitting.policy, environment.folder / "gpt2"  # mauve-text loads only models of this name
    policy.save(directory)
    features = Features(None, torch.device(environment.device))
    metric = Mauve(featuriser=str(directory), pooling="last", length="free")
    human = sorted(excerpts(TEXTS))
    found: dict[int, list[float]] = {}
    ours, theirs = count(1), count(1)

    def one_more() -> float:
        number = next(ours)
        texts = excerpts(TEXTS, number * TEXTS)
        case = Evaluation(
            prompts=tuple(map(Example, human)),
            rollouts=tuple(Rollout(Trajectory((1,), (0,)), (0.0,), "ended", text, ()) for text in texts),
            backspace_id=None,
            metric_seed=0,
            features=features,
            featuriser_id=features.identify,
        )
        return 1 / seconds(lambda: found.setdefault(number, []).append(metric.measure(case)["mauve"]), "cpu")  # type: ignore[arg-type]

    start = policy.tokenizer.convert_ids_to_tokens(policy.start_id)
    chosen = np.random.default_rng(0).choice(2**31 - 8, size=5, replace=False, shuffle=False)

    def theirs_from_text() -> float:
        number = next(theirs)
        texts = sorted(excerpts(TEXTS, number * TEXTS))

        def work() -> None:
            sides = (
                get_features_from_input(
                    None, None, [start + text for text in side], str(directory), policy.context - 1, -1, "texts", 1
                )
                for side in (human, texts)
            )
            p, q = sides
            areas = [compute_mauve(p_features=p, q_features=q, seed=int(seed)).mauve for seed in chosen]
            found.setdefault(number, []).append(float(np.mean(areas)))

        with quiet_stderr():
            spent = seconds(work, "cpu")
        own, other = found[number]
        assert abs(own - other) < 1e-6, f"ours {own}, mauve-text {other}"
        return 1 / spent

    return one_more, theirs_from_text


def beside_nltk(environment: Environment) -> tuple[Turn, Turn]:
    """Texts per second, each of 1,000 against the other 999.

    Raises:
        AssertionError: on 30 texts the two numbers differ.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    texts = [tuple(text.split()) for text in excerpts(BLEU_TEXTS)]
    smooth = SmoothingFunction().method1

    def theirs(every: list[tuple[str, ...]], at: int) -> float:
        others = every[:at] + every[at + 1 :]
        return float(sentence_bleu(others, every[at], (0.25,) * 4, smoothing_function=smooth))

    few = texts[:30]
    expected = np.mean([theirs(few, at) for at in range(len(few))])
    assert abs(self_bleu(few)[4] - expected) < 1e-12, f"ours {self_bleu(few)[4]}, NLTK {expected}"
    return (
        lambda: BLEU_TEXTS / seconds(lambda: self_bleu(texts), "cpu"),
        lambda: NLTK_TEXTS / seconds(lambda: [theirs(texts, at) for at in range(NLTK_TEXTS)], "cpu"),
    )


MAUVE = SpeedComparison(
    "second MAUVE score on the same references (length=free)",
    "mauve-text from text",
    "scores/s",
    5,
    "higher",
    second_mauve,
)
SELF_BLEU = SpeedComparison("Self-BLEU-4 of 1,000 texts", "NLTK", "texts/s", 100, "higher", beside_nltk)
