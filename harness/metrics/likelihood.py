"""Likelihood of the test documents: perplexity per token and per word, and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.plugins.metric import Measure, Unscorable
from harness.records.evaluation import Evaluation, Likelihood

_MASKED = "without the <backspace> mass"
_RAW = "<backspace> mass counted as lost"


def _both(name: str, unit: str, summary: str) -> dict[str, Measure]:
    return {
        name: Measure(unit, "lower", f"{summary}, {_MASKED}"),
        f"{name}_raw": Measure(unit, "lower", f"{summary}, {_RAW}"),
    }


@dataclass(frozen=True)
class Perplexity:
    """Likelihood of the test documents, every token scored exactly once under a sliding window.

    Each number comes twice.  The plain name renormalises every step without `<backspace>`, which no document contains:
    it compares policies with and without that action.  `_raw` keeps the policy's own normalisation; the two are
    equal where the policy has no `<backspace>`.

    With L the summed negative log-likelihood in nats, end tokens included:
    `nll` = L / tokens, `perplexity` = exp(L / tokens), `perplexity_word` = exp(L / whitespace words),
    `bits_per_byte` = L / (ln 2 * UTF-8 bytes).  Per token only policies of one tokenizer compare; per word and per
    byte all do.  `perplexity_word` is infinite where it exceeds the range of a float, as on long texts without spaces.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        **_both("perplexity", "per token", "exp of the mean nats per token"),
        **_both("perplexity_word", "per word", "exp of the mean nats per whitespace word"),
        **_both("bits_per_byte", "bits/byte", "bits per UTF-8 byte of the documents"),
        **_both("nll", "nats/token", "mean negative log-likelihood of a token"),
    }

    definition: Annotated[
        Literal["sliding-window"],
        Field(description="sliding-window: every token once, with the context its window has"),
    ] = "sliding-window"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """The window and the stride in tokens, and the tokenizer's hash."""
        found = evaluation.likelihood
        if found is None:
            return {}
        return {"window": found.window, "stride": found.stride, "tokenizer": found.tokenizer}

    def count(self, evaluation: Evaluation) -> int:
        """Number of documents."""
        return 0 if evaluation.likelihood is None else evaluation.likelihood.documents

    def measure(self, evaluation: Evaluation) -> Mapping[str, float]:
        """All of `measures`; `Unscorable` without scored documents or with a likelihood that is not finite."""
        likelihood = evaluation.likelihood
        if likelihood is None:
            raise Unscorable("the evaluation holds no likelihood: these texts came without the policy that wrote them")
        if not (likelihood.tokens and likelihood.words and likelihood.bytes):
            raise Unscorable(
                f"the test documents hold {likelihood.tokens} tokens, {likelihood.words} words and "
                f"{likelihood.bytes} bytes; perplexity needs at least one of each"
            )
        if not (math.isfinite(likelihood.nll) and math.isfinite(likelihood.masked_nll)):
            raise Unscorable(
                f"the negative log-likelihood is not finite (raw {likelihood.nll}, masked {likelihood.masked_nll}); "
                "the training diverged, or a scored token has probability 0"
            )
        masked = _rates(likelihood, likelihood.masked_nll)
        raw = {f"{name}_raw": value for name, value in _rates(likelihood, likelihood.nll).items()}
        return masked | raw


def _rates(likelihood: Likelihood, nll: float) -> dict[str, float]:
    return {
        "perplexity": _exp(nll / likelihood.tokens),
        "perplexity_word": _exp(nll / likelihood.words),
        "bits_per_byte": nll / (math.log(2) * likelihood.bytes),
        "nll": nll / likelihood.tokens,
    }


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
