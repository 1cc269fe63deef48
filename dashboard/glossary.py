"""Glossary: the words of the field on the pages, each in one sentence."""

from __future__ import annotations

from functools import cache

from harness.registry import METRICS

WORDS = {
    "mle": "Maximum likelihood: the model learns to predict the expert's next token. The usual objective.",
    "bc": "Behavioural cloning: the same, where later tokens count a little less; the base of SequenceMatch.",
    "sequence_match": "Makes what the model writes by itself like what the expert writes, by a divergence.",
    "divergence": "A way to measure how far two distributions are apart; sequence_match makes one small.",
    "control": "A row for comparison: expert texts, or single words drawn at random, scored like a model.",
    "backspace": "<backspace> is an action that deletes the last token, so that the model can take back its mistakes.",
    "effect": "The shift of the score by a setting, averaged over all other settings that were run with it.",
    "grid": "A grid is one question: a file of configurations that were run together.",
    "interval": "± is a single 95 % interval (Student t over n seeds) of one mean; [low, high] of a difference is "
    "simultaneous: it holds for all comparisons with this row together, and leaves 0 out exactly where they separate.",
    "n": "Number of seeds that were run: the same configuration with other random numbers.",
    "p": "Probability of so large a difference if the two were equal, over all comparisons of the score together.",
    "rank": "1-3 means: at least first, at most third. Rows whose ranges overlap are not separated by these seeds.",
    "rollout": "A text that the model wrote by itself.",
    "seed": "The number that a run's randomness starts from; several seeds show how much is luck.",
    "spearman": "Rank correlation: 1 if both scores put the models in the same order, -1 if in the opposite one.",
    "token": "A piece of text, the unit in which the model writes.",
}

EXACT = ("exact_kl", "finished", "excess_error", "out_of_support", "recovered", "recovery", "p_back")
"""Plug-ins that measure against a law that is known exactly."""


@cache
def measures() -> dict[str, str]:
    """Summary of each measure of every installed metric; a metric that does not load is left out."""
    found: dict[str, str] = {}
    for plugin in METRICS:
        found |= dict(_summaries(plugin))
    return found


@cache
def exact() -> tuple[str, ...]:
    """The measures that need a law which is known exactly, in the order of `EXACT`."""
    return tuple(name for plugin in EXACT if plugin in METRICS for name, _ in _summaries(plugin))


def measure(metric: str) -> str:
    """Summary of a score by its short name; empty where no installed metric has it."""
    return measures().get(metric, "")


def _summaries(plugin: str) -> list[tuple[str, str]]:
    try:
        loaded = METRICS[plugin]
    except Exception:  # a plug-in may fail in any way; its scores are shown all the same
        return []
    both = dict(getattr(loaded, "measures", {})) | dict(getattr(loaded, "profile_measures", {}))
    return [(name, one.summary) for name, one in both.items()]
