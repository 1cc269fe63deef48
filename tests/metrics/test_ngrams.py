"""N-gram metrics against counts by hand, NLTK's n-grams, and every figure published for `webtext-generations`."""

from __future__ import annotations

import json
import math
from collections import Counter

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import Data, evaluation, reviews, stories

from harness.metrics import ngrams
from harness.metrics.length import Length
from harness.metrics.ngrams import Distinct, Diversity, NgramEntropy, Repetition
from harness.plugins.metric import Unscorable

corpora = st.lists(st.lists(st.sampled_from("abc"), max_size=12).map(" ".join), min_size=1, max_size=6)


def test_rep_n_by_hand():
    """`a b a b a` holds the bigrams ab ba ab ba (2 distinct of 4), `a b` holds ab (1 of 1).

    Pooled: 1 - 3/5 = 0.4; the bigram ab is not a repetition in the second text.  simctg leaves out each last bigram:
    ab ba ab (2 of 3) and nothing, 1 - 2/3 = 33.33 %.
    """
    texts = ["a b a b a", " a  b\n"]
    assert ngrams.rep_n(texts, 2) == pytest.approx(0.4)
    assert ngrams.rep_n(texts, 2, "simctg") == 0.3333


def test_diversity_by_hand():
    """`a b a b a`: rep_2 = 2/4; trigrams aba bab aba, rep_3 = 1/3; 4-grams abab baba, rep_4 = 0.

    exact: 1/2 * 2/3 * 1 = 1/3.  simctg: bigrams ab ba ab 33.33 %, trigrams aba bab 0 %, 4-grams abab 0 %: 0.6667.
    Against a human text without repetition, whose diversity is 1, the gaps are 2/3 and 0.3333.
    """
    case = evaluation(["a b a b a"], ["a b c d e"])
    assert Diversity().measure(case) == pytest.approx({"diversity": 1 / 3, "diversity_gap": 2 / 3})
    assert Diversity("simctg").measure(case) == pytest.approx({"diversity": 0.6667, "diversity_gap": 0.3333})
    assert Repetition().measure(case) == pytest.approx({"rep_2": 1 / 2, "rep_3": 1 / 3, "rep_4": 0})


def test_distinct_by_hand():
    """`a b a b` and `a b c d`: 4 distinct of 8 words, ab ba bc cd of 6 bigrams, 4 of 4 trigrams, 2 of 2 4-grams."""
    case = evaluation(["a b a b", "a b c d"])
    assert Distinct().measure(case) == pytest.approx(
        {"distinct_1": 4 / 8, "distinct_2": 4 / 6, "distinct_3": 1, "distinct_4": 1}
    )
    assert Distinct().parameters(case) == {"texts": 2}


def test_entropy_by_hand():
    """`a a b b` is a fair coin (ln 2), `a a` is certain (0), `` counts as 0: mean ln 2 / 3.

    Together a 4 times and b twice: ln 6 - (4 ln 4 + 2 ln 2) / 6 = ln 6 - (5/3) ln 2.
    """
    values = NgramEntropy().measure(evaluation(["a a b b", "a a", ""]))
    assert values["ngram_entropy"] == pytest.approx(math.log(2) / 3)
    assert values["ngram_entropy_corpus"] == pytest.approx(math.log(6) - 5 / 3 * math.log(2))


@given(corpora, st.integers(1, 5))
def test_ngrams_as_nltk_counts_them(texts: list[str], n: int):
    grams = [list(nltk.ngrams(text.split(), n)) for text in texts]
    total, together = sum(map(len, grams)), Counter(gram for found in grams for gram in found)
    if not total:
        for count in (ngrams.rep_n, ngrams.distinct_n, ngrams.ngram_entropy, ngrams.ngram_entropy_corpus):
            with pytest.raises(Unscorable, match=f"at least (n=)?{n} words"):
                count(texts, n)
        return
    assert ngrams.rep_n(texts, n) == pytest.approx(1 - sum(len(set(found)) for found in grams) / total)
    assert ngrams.distinct_n(texts, n) == pytest.approx(len(together) / total)
    frequencies = nltk.MLEProbDist(nltk.FreqDist(gram for found in grams for gram in found))
    assert ngrams.ngram_entropy_corpus(texts, n) == pytest.approx(nltk.probability.entropy(frequencies) * math.log(2))


def test_short_texts_are_refused_with_the_reason():
    with pytest.raises(Unscorable, match="rep_2 needs a text of at least 2 words, and none of 2 texts"):
        Repetition().measure(evaluation(["a", ""]))
    with pytest.raises(Unscorable, match="rep_4 needs a text of at least 5 words"):
        Diversity("simctg").measure(evaluation(["a b c d"]))
    values = Diversity().measure(evaluation(["a b c d e"], [""]))
    assert values["diversity"] == 1
    assert "the human continuations have no diversity" in str(values["diversity_gap"])


def test_a_number_that_alone_is_missing_says_so_alone():
    """Two words hold a bigram and no trigram."""
    values = Repetition().measure(evaluation(["a b"]))
    assert values["rep_2"] == 0
    assert "rep_3 needs a text of at least 3 words" in str(values["rep_3"])
    assert "distinct_3 needs a text of at least 3 words" in str(Distinct().measure(evaluation(["a b"]))["distinct_3"])


def test_characters_are_a_choice_of_unit():
    """`abab` in characters is what `a b a b` is in words; only the name says so."""
    words, characters = evaluation(["a b a b", "a b c d"]), evaluation(["abab", "abcd"])
    for metric in (Repetition, Diversity, Distinct, NgramEntropy):
        assert metric(units="characters").measure(characters) == metric().measure(words)
        named = metric(units="characters").parameters(characters)
        assert named == {**metric().parameters(words), "units": "characters"}


def test_other_texts_agree_with_nltk(data: Data):
    """Stories and film reviews, for which nothing is published: the same counts by NLTK's n-grams and FreqDist."""
    for texts in (stories(data, 100), reviews(data, 50)):
        for n in (1, 2, 3, 4):
            grams = [list(nltk.ngrams(text.split(), n)) for text in texts]
            share = 1 - sum(len(set(found)) for found in grams) / sum(map(len, grams))
            assert ngrams.rep_n(texts, n) == pytest.approx(share, abs=1e-12)
            together = nltk.FreqDist(gram for found in grams for gram in found)
            assert ngrams.distinct_n(texts, n) == pytest.approx(together.B() / together.N(), abs=1e-12)
            entropies = [nltk.probability.entropy(nltk.MLEProbDist(nltk.FreqDist(found))) for found in grams]
            expected = sum(entropies) / len(entropies) * math.log(2)
            assert ngrams.ngram_entropy(texts, n) == pytest.approx(expected, abs=1e-10)


PUBLISHED = {
    "nucleus": ((93.60, 93.53, 93.70), (138.223, 139.583, 140.652)),
    "topk": ((91.33, 91.39, 91.27), (142.832, 142.459, 142.151)),
    "typical": ((87.80, 88.12, 88.03), (141.525, 141.719, 143.099)),
}


@pytest.mark.parametrize("decoder", PUBLISHED)
def test_every_published_diversity_and_length(decoder: str, data: Data):
    """Su & Collier, arXiv 2210.14140: diversity in percent to two decimals and mean words to three, per run."""
    cases = json.loads((data("webtext-generations") / f"{decoder}_result.json").read_text(encoding="utf-8"))
    references = [case["reference_text"] for case in cases]
    assert len(cases) == 1000
    for run, (diversity, length) in enumerate(zip(*PUBLISHED[decoder], strict=True)):
        case = evaluation([case["generated_result"][str(run)] for case in cases], references)
        values = Diversity("simctg").measure(case)
        assert round(100 * values["diversity"], 2) == diversity
        assert Length().measure(case)["length"] == length
    human = ngrams.diversity(references, "simctg")
    assert round(100 * human, 2) == 93.62
    assert values["diversity_gap"] == abs(values["diversity"] - human)
    assert round(100 * ngrams.diversity(references), 2) == 93.61  # without the quirk
