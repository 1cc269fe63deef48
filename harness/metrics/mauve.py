"""MAUVE between rollouts and human continuations, over features that the harness computes and caches itself.

The only file that imports `mauve` (package mauve-text, GPLv3), and only when a score is asked for.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.plugins.metric import Measure, Unscorable, against
from harness.records.evaluation import Evaluation


def first_words(text: str, n: int) -> str:
    """The text up to the end of its n-th whitespace word, its own spacing kept; all of it if it has no more words.

    >>> first_words("  a\\nb c ", 2), first_words("a ", 1), first_words("a", 0)
    ('  a\\nb', 'a ', '')
    """
    ends = [word.end() for word in islice(re.finditer(r"\S+", text), n + 1)]
    if len(ends) <= n:
        return text
    return text[: ends[n - 1]] if n else ""


def paired_words(reference: str, rollout: str) -> tuple[str, str]:
    """Both texts cut to the number of whitespace words of the shorter one.

    A pair in which one side has no words stays as it is: cutting the human text to nothing, too, would make an empty
    rollout perfect.
    """
    n = min(len(reference.split()), len(rollout.split()))
    return (first_words(reference, n), first_words(rollout, n)) if n else (reference, rollout)


def curve_area(curve: np.ndarray) -> float:
    """Area between a divergence curve and the axes, in [0, 1]; curve [K, 2] in the order of the mixture weight.

    The mean of the trapezoids of y over x and of x over y along the curve is the polygon from the origin over its
    points (shoelace formula), so that nothing is sorted and points that tie cost nothing.

    >>> curve_area(np.array([[1, 0], [1, 1], [0, 1]])), curve_area(np.array([[1, 0], [0, 1]]))
    (1.0, 0.5)
    """
    x, y = np.minimum(curve, 1).T  # rounding puts exp(-c KL) of equal histograms above 1
    return min(1.0, float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2)


@dataclass(frozen=True)
class Mauve:
    """MAUVE of the rollouts against the human continuations of the same prompts.

    Features come from a causal LM's last hidden states, mean-pooled or of the last token, and are part of the name:
    scores of different featurisers are never compared.  Empty rollouts are kept, as the feature of the bare start
    token.  Each score is the mean over k-means seeds drawn from the metric seed; texts are sorted first, so the order
    of prompts changes nothing.  Everything else is as mauve-text has it: L2 norm, PCA to 0.9 of the variance, k-means
    with 500 iterations and 5 restarts, 25 points on the divergence curve.

    Unequal lengths are themselves a difference between texts, hence `length`: pairs are cut to equal numbers of the
    featuriser's tokens (of whitespace words where the features come without a tokenizer; the name says which).
    `mauve_unfinished` is the share of rollouts that were cut off before they ended: a budget wrote their ends.  Read
    the score beside `length`, which keeps both distributions of lengths, and the empty fraction.

    Not every featuriser orders texts as large models do.  On published decoders (results/tables/mauve-order.md) the
    mean states of stories260K do; its last state, and a reference LM trained for half a minute, tie top-k with typical
    sampling and hardly see shuffled words.  Copies of the training split look human (results/tables/sensitivity.md).

    Two definitions differ in the area alone.  `mauve-text` sorts the points of the curve by each coordinate, and points
    that tie by chance of the processor's sort: where both histograms are equal it gives .75 or 1, less than for nearly
    equal ones (.9999).  `curve` takes the area along the curve, in the order of the mixture weight: 1 for equal
    histograms, and mauve-text's own number where nothing ties.  The default is mauve-text's, the field's number, by
    which stored runs are known; `mauve_curve` and `mauve_star_curve` stand beside every score of it, and order rows
    where ties move a score.  `mauve@curve` asks for ours.

    Neither end of the scale is reached as a rule: human text against human text stays below 1 at finite n, and disjoint
    histograms score 0.004.  Blind spot: texts in which 10 % of the words are random still score about .97.
    Source: Pillutla et al., arXiv 2102.01454; mauve_star and frontier_integral: Pillutla et al., arXiv 2212.14578.
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "mauve": Measure("fraction", "higher", "area under the divergence curve, mean over k-means seeds"),
        "mauve_sd": Measure("fraction", "lower", "standard deviation of that area over the k-means seeds"),
        "mauve_star": Measure("fraction", "higher", "as mauve, from histograms with Krichevsky-Trofimov smoothing"),
        "mauve_curve": Measure("fraction", "higher", "as mauve@curve: area along the curve, 1 for equal histograms"),
        "mauve_star_curve": Measure("fraction", "higher", "as mauve_star, the area taken along the curve"),
        "frontier_integral": Measure(
            "fraction", "lower", "average divergence along the curve, 0 when equal, at most 1"
        ),
        "mauve_unfinished": Measure("fraction", "lower", "share of the compared rollouts that were cut off"),
    }

    later_options: ClassVar[tuple[str, ...]] = ("dtype",)

    definition: Annotated[
        Literal["mauve-text", "curve"],
        Field(description="mauve-text: that package's computation; curve: its area along the curve, ties cost nothing"),
    ] = "mauve-text"
    featuriser: Annotated[
        str,
        Field(
            min_length=1, description="reference-lm (trained once on the training split), a model directory or Hub id"
        ),
    ] = "reference-lm"
    pooling: Annotated[
        Literal["mean", "last"], Field(description="mean over the text's hidden states, or the last one")
    ] = "mean"
    length: Annotated[
        Literal["paired", "free"],
        Field(description="paired: each pair cut to the shorter one's number of tokens; free: texts as they are"),
    ] = "paired"
    num_buckets: Annotated[
        int | None, Field(ge=2, description="clusters of the histogram; none: a tenth of the texts, at least 2")
    ] = None
    seeds: Annotated[int, Field(ge=5, le=100, description="k-means seeds that the score is the mean of")] = 5
    scaling: Annotated[float, Field(gt=0, description="the constant c in exp(-c KL) of the divergence curve")] = 5.0
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="the featuriser's weights and arithmetic; bfloat16 takes half the memory, for large models"),
    ] = "float32"

    def parameters(self, evaluation: Evaluation) -> Mapping[str, Any]:
        """All that the score depends on, with the featuriser's content hash and the number of clusters in use."""
        return {
            "featuriser": f"{evaluation.featuriser_id(self.featuriser)}/{self.pooling}",
            "length": self._length(evaluation),
            "num_buckets": self._buckets(_smaller(evaluation)),
            "scaling": self.scaling,
            "seeds": self.seeds,
            **self._other_dtype(),
            **against(evaluation),
        }

    def count(self, evaluation: Evaluation) -> int:
        """Number of texts, or of human texts if they are fewer."""
        return _smaller(evaluation)

    def measure(self, evaluation: Evaluation) -> Mapping[str, float | Unscorable]:
        """Numbers in [0, 1]; `Unscorable` without features, with too few texts, or with equal or infinite features."""
        if evaluation.texts and not evaluation.references:
            raise Unscorable("there are no human texts to compare with; give references")
        n = _smaller(evaluation)
        if n < self._buckets(n):
            raise Unscorable(f"{n} texts cannot fill {self._buckets(n)} clusters; sample at least that many rollouts")
        if evaluation.features is None:
            raise Unscorable("the evaluation has no featuriser; score it where the reference model can be loaded")
        sides: Sequence[Sequence[str]] = (evaluation.references, evaluation.texts)
        if self.length == "paired":
            if not evaluation.in_pairs:
                raise Unscorable(
                    "length=paired cuts each text and its own reference to one length, and these references answer no "
                    "text in particular; give one for each text, or ask for length=free"
                )
            pairs = list(zip(*sides, strict=True))
            cut = (
                evaluation.paired(self.featuriser, pairs)
                if evaluation.paired is not None
                else [paired_words(reference, text) for reference, text in pairs]
            )
            sides = tuple(zip(*cut, strict=True))
        asked = self._other_dtype().values()
        human, written = (evaluation.features(self.featuriser, self.pooling, sorted(texts), *asked) for texts in sides)
        both = np.concatenate([human, written])
        if not np.isfinite(both).all():
            bad = int((~np.isfinite(both)).any(axis=1).sum())
            raise Unscorable(f"{bad} of {len(both)} feature vectors hold NaN or infinity; try another featuriser")
        if (both == both[0]).all():
            raise Unscorable("all texts have the same features; there is nothing to cluster")
        unfinished: float | Unscorable = Unscorable("there is no record of which of these texts were cut off")
        if evaluation.written is None:
            unfinished = sum(rollout.stop != "ended" for rollout in evaluation.rollouts) / n
        return {**self._scores(human, written, evaluation.metric_seed), "mauve_unfinished": unfinished}

    def _other_dtype(self) -> dict[str, str]:
        """The `dtype=bfloat16` part of a score's name; empty for float32, as in the names of stored scores."""
        return {} if self.dtype == "float32" else {"dtype": self.dtype}

    def _length(self, evaluation: Evaluation) -> str:
        if self.length == "free":
            return "free"
        return "paired-words" if evaluation.paired is None else "paired-tokens"

    def _buckets(self, n: int) -> int:
        return max(2, round(n / 10)) if self.num_buckets is None else self.num_buckets

    def _scores(self, human: np.ndarray, written: np.ndarray, seed: int) -> Mapping[str, float]:
        """The measures of MAUVE itself, from features [n, F] of both sides."""
        from mauve import compute_mauve
        from threadpoolctl import threadpool_limits

        chosen = np.random.default_rng(seed).choice(2**31 - 8, size=self.seeds, replace=False, shuffle=False)
        # one thread: hundreds of points are too little work to share, and waiting threads would spin
        with threadpool_limits(1), quiet_stderr():
            results = [
                compute_mauve(
                    p_features=human,
                    q_features=written,
                    num_buckets=self._buckets(min(len(human), len(written))),
                    mauve_scaling_factor=self.scaling,
                    seed=int(kmeans_seed),
                )
                for kmeans_seed in chosen
            ]
        packaged = [(float(result.mauve), float(result.mauve_star)) for result in results]
        along = [_along_curve(result, len(human), len(written), self.scaling) for result in results]
        areas = {"mauve-text": packaged, "curve": along}[self.definition]
        return {
            "mauve": statistics.fmean(area for area, _ in areas),
            "mauve_sd": statistics.stdev(area for area, _ in areas),
            "mauve_star": statistics.fmean(star for _, star in areas),
            "mauve_curve": statistics.fmean(area for area, _ in along),
            "mauve_star_curve": statistics.fmean(star for _, star in along),
            "frontier_integral": statistics.fmean(float(result.frontier_integral) for result in results),
        }


def _along_curve(result: Any, n_p: int, n_q: int, scaling: float) -> tuple[float, float]:
    """Area along the curve of one k-means seed's result, and the same from its smoothed histograms.

    The package does not return the smoothed ones: counts plus 1/2, as it has them.
    """
    from mauve.compute_mauve import get_divergence_curve_for_multinomials

    p, q = (np.rint(hist * n) + 0.5 for hist, n in ((result.p_hist, n_p), (result.q_hist, n_q)))
    weights = np.linspace(1e-6, 1 - 1e-6, len(result.divergence_curve) - 2)  # the two ends of the curve have none
    smoothed = get_divergence_curve_for_multinomials(p / p.sum(), q / q.sum(), weights, scaling)
    return curve_area(result.divergence_curve), curve_area(smoothed)


def _smaller(evaluation: Evaluation) -> int:
    """Number of texts on the side that has fewer."""
    return min(len(evaluation.texts), len(evaluation.references))


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Silence the process's standard error for a moment.

    At MAUVE's own default of a tenth as many clusters as texts, k-means (C++) warns on every call that it wants 39
    points per cluster, and neither library lets a caller turn that off.
    """
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
