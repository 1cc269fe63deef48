"""The arithmetic benchmark against Python's own integers and against what DeepMind's generator wrote."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.arithmetic import BASES, DIGITS, ENTROPY, QUESTION, Arithmetic, ask, read_pairs, solve, wrong_digit
from harness.actions.noise import ground_truth, inject
from harness.config.model import ModelConfig
from harness.config.section import Plugin
from harness.data.windows import rows
from harness.errors import ConfigError
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.models.policy import Policy
from harness.models.tokenizers import characters
from harness.plugins.options import build
from harness.registry import BENCHMARKS
from harness.runner.grid import run_grid
from harness.storage.store import Store

Data = Callable[[str], Path]
REGIMES = tuple(ENTROPY)
PUBLISHED = re.compile(r"In base (\d+), what is (-?[0-9a-f]+) ([+-]) (-?[0-9a-f]+)\?")  # as SOURCE.md of the data says


def published(data: Data, regime: str) -> list[tuple[str, str]]:
    pairs = json.loads((data("deepmind-math-in-base") / f"{regime}.json").read_text())
    return [(pair["question"], pair["answer"]) for pair in pairs]


def generated(regime: str, count: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [ask(ENTROPY[regime], BASES, generator) for _ in range(count)]


# ------------------------------------------------------------------------------------------------ the questions


def test_known_answers() -> None:
    """From the published data; 7266 in base 15 is 24696 in decimal, 18 is 23, their sum 24719 is 727e."""
    for question, answer in (
        ("In base 10, what is 515 - -2040?", "2555"),
        ("In base 4, what is 2322033 - -10131?", "2332230"),
        ("In base 15, what is -7266 + -18?", "-727e"),
        ("In base 3, what is 10102121 - 10201?", "10021220"),
        ("In base 2, what is -1 + 1?", "0"),
    ):
        assert solve(question) == answer


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.sampled_from(BASES), st.sampled_from("+-"))
def test_answers_are_those_of_python(left: int, right: int, base: int, sign: str) -> None:
    """Python reads integers in any base, so what is written must read back as the operand and the result."""
    one, other = (np.base_repr(operand, base).lower() for operand in (left, right))
    found = solve(f"In base {base}, what is {one} {sign} {other}?")
    assert int(found, base) == (left + right if sign == "+" else left - right)
    assert re.fullmatch(r"0|-?[1-9a-f][0-9a-f]*", found)


def test_questions_that_are_none_are_refused() -> None:
    for question in ("", "In base 2, what is 12 + 1?", "In base 10, what is 1 * 2?", "In base 10, what is 1 + 2? 3"):
        with pytest.raises(ValueError, match=r"is not of the form|invalid literal"):
            solve(question)


def test_operands_are_within_their_bounds_and_reach_them() -> None:
    """Entropy 1: both shares are 1, so operands are uniform in -5..5.  Entropy 3: all of it may fall to one operand,
    which is then at most ceil(10^3 / 2) = 500 while the other, of share max(1, 0), is at most 5."""
    generator = np.random.default_rng(0)
    small = [operands(ask((1.0, 1.0), (10,), generator)) for _ in range(2000)]
    assert set(Counter(left for left, _ in small)) == set(range(-5, 6))
    assert stats.chisquare(list(Counter(left for left, _ in small).values())).pvalue > 0.001
    large = [operands(ask((3.0, 3.0), (10,), generator)) for _ in range(5000)]
    assert 400 < max(abs(left) for left, _ in large) <= 500
    assert max(abs(left * right) for left, right in large) <= 500 * 5


def operands(question: str) -> tuple[int, int]:
    asked = QUESTION.fullmatch(question)
    assert asked
    return int(asked[2], int(asked[1])), int(asked[4], int(asked[1]))


def test_long_questions_and_answers_are_drawn_again() -> None:
    """Base 2 at entropy 18: half of 10^18 has 59 binary digits, an answer may have 30 characters."""
    generator = np.random.default_rng(0)
    questions = [ask((18.0, 18.0), (2,), generator) for _ in range(50)]
    assert max(len(solve(question)) for question in questions) in (29, 30)


# ------------------------------------------------------------------------------------------------ the mistakes


def test_every_wrong_digit_is_wrong_and_each_alike() -> None:
    """13 + 4 = 20 in base 7.  At first 0, 1, 3, 4, 5, 6 and - are wrong; after 2, all but 0; after 20 or 3, all."""
    question, generator = "In base 7, what is 13 + 4?", np.random.default_rng(0)
    for part, wrong in (("", "013456-"), ("2", "123456"), ("20", "0123456"), ("3", "0123456"), ("203", "0123456")):
        drawn = Counter(wrong_digit(question + part, generator) for _ in range(1400))
        assert sorted(drawn) == sorted(wrong)
        assert stats.chisquare(list(drawn.values())).pvalue > 0.001
    with pytest.raises(ConfigError, match="does not begin with a question"):
        wrong_digit("7, what is 13 + 4?2", generator)


def test_in_base_2_there_is_always_a_wrong_digit() -> None:
    """1 + 1 = 10: after nothing 0 or -, after 1 only 1."""
    generator = np.random.default_rng(0)
    question = "In base 2, what is 1 + 1?"
    assert {wrong_digit(question, generator) for _ in range(50)} == {"0", "-"}
    assert {wrong_digit(question + "1", generator) for _ in range(50)} == {"1"}


def test_injected_mistakes_are_wrong_where_they_stand() -> None:
    """Through a tokenizer and the noise of training: what is left before each injected token is the right beginning,
    the token is not what comes next, and all of it is deleted again."""
    splits = Arithmetic(train=100, validation=1, test=2).splits()
    texts = [text for example in splits.train for text in (example.prompt, example.text)]
    config = ModelConfig(name="gpt2", layers=1, width=8, heads=1, tokenizer="characters", base_steps=0, context=80)
    policy = Policy.build(config, characters(texts))
    policy.add_backspace()
    assert splits.mistake is not None
    propose = ground_truth(splits.mistake, policy.decode, policy.encode)
    rngs = [np.random.default_rng(i) for i in range(100)]
    noisy = inject(rows(splits.train, policy), rngs, policy.space, propose, rate=0.3, run=1, context=80)
    injected = 0
    for example, row in zip(splits.train, noisy, strict=True):
        assert policy.decode(policy.space.reduce(row.actions)) == example.text
        for at in np.flatnonzero(row.injected):
            before = policy.decode(policy.space.reduce(row.actions[:at]))
            assert example.text.startswith(before)
            assert policy.decode(row.actions[at : at + 1]) in set(DIGITS + "-") - {example.text[len(before) :][:1]}
            injected += 1
    assert injected > 50


# --------------------------------------------------------------------------------------------------- the splits


def test_splits_are_disjoint_by_question_even_where_questions_are_few() -> None:
    """Base 10 at entropy 1 has 11 x 11 x 2 = 242 questions; 40 of test, 40 of validation leave 162 for training."""
    made = Arithmetic(entropy=1, base=10, test=40, validation=40, train=3000).splits()
    test, validation, train = (
        {e.prompt for e in part} for part in (made.test, made.validation, made.train)
    )  # an answer follows from its question
    assert not test & validation | test & train | validation & train
    assert len(train) == 242 - len(test) - len(validation)
    assert (len(made.test), len(made.validation), len(made.train)) == (40, 40, 3000)
    assert all(solve(e.prompt) == e.text for part in (made.test, made.validation, made.train) for e in part)
    assert made.prompts == made.test
    with pytest.raises(ConfigError, match=r"raise benchmark\.entropy"):
        Arithmetic(entropy=1, base=10, test=4000).splits()


def test_more_training_moves_no_test() -> None:
    less, more = (Arithmetic(train=count).splits() for count in (10, 1000))
    assert (less.test, less.validation) == (more.test, more.validation)
    assert less.train == more.train[:10]
    sizes = Arithmetic().splits()
    assert [len(part) for part in (sizes.train, sizes.validation, sizes.test)] == [5000, 200, 200]


def test_pairs_of_a_file_are_the_test_and_no_training(tmp_path: Path) -> None:
    """Half of all questions of entropy 1 stand in the file; none of those tested is trained on."""
    asked = [f"In base 10, what is {left} + {right}?" for left in range(-5, 6) for right in range(-5, 6)]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"question": question, "answer": solve(question)} for question in asked]))
    made = Arithmetic(entropy=1, base=10, pairs=str(path), test=500, validation=20, train=1000).splits()
    assert [example.prompt for example in made.test] == asked
    assert made.prompts == made.test
    assert all(" - " in example.prompt for part in (made.train, made.validation) for example in part)
    assert [e.prompt for e in Arithmetic(pairs=str(path), test=7, train=9).splits().test] == asked[:7]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "No such file"),
        ("[", "JSONDecodeError"),
        ('{"question": "In base 2, what is 1 + 1?"}', "give a JSON list"),
        ('[{"question": "In base 2, what is 1 + 1?"}]', "KeyError"),
        ("[]", "the list is empty"),
        ('[{"question": "In base 2, what is 1 + 1?", "answer": "11"}]', "is '10', the file says '11'"),
        ('[{"question": "What is 1 + 1?", "answer": "2"}]', "pair 0: 'What is 1"),
        ('[{"question": "In base 2, what is 1 + 2?", "answer": "11"}]', "pair 0: invalid literal"),
        ('[{"question": 3, "answer": "11"}]', "pair 0: expected string"),
    ],
)
def test_a_wrong_file_of_pairs_is_refused(tmp_path: Path, written: str | None, message: str) -> None:
    path = tmp_path / "pairs.json"
    if written is not None:
        path.write_text(written)
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        read_pairs(path)
    assert "benchmark.pairs=" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": "interpolate", "entropy": 3}, "has an entropy of its own"),
        ({"difficulty": "extrapolate"}, "benchmark.difficulty"),
        ({"entropy": 0}, "benchmark.entropy"),
        ({"base": 1}, "benchmark.base"),
        ({"base": 17}, "benchmark.base"),
        ({"test": 0}, "benchmark.test"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(BENCHMARKS, Plugin(name="arithmetic", options=options), "benchmark")


# ------------------------------------------------------------------------------------------------ outside data


@pytest.mark.parametrize("regime", REGIMES)
def test_one_expression_matches_the_published_strings_and_ours(data: Data, regime: str) -> None:
    """And every published answer is what we compute: 4 x 5,000 pairs."""
    pairs = published(data, regime)
    assert len(pairs) == 5000
    assert [solve(question) for question, _ in pairs] == [answer for _, answer in pairs]
    for question in [*(question for question, _ in pairs), *generated(regime, 5000)]:
        assert PUBLISHED.fullmatch(question)
    assert len(read_pairs(data("deepmind-math-in-base") / f"{regime}.json")) == 5000


@pytest.mark.parametrize("regime", REGIMES)
def test_questions_are_distributed_as_the_published_ones(data: Data, regime: str) -> None:
    """Five two-sample tests, 5,000 against 5,000: bases and operators by chi-square, absolute operands and length of
    the question by Kolmogorov-Smirnov (conservative here, where values tie).  Seed fixed; each must have p > .001, so
    that of 20 tests one fails by chance in 2 % of seeds.  The 10, 50 and 90 % quantiles of the operands' digit counts
    in decimal agree within one digit."""
    theirs, ours = [question for question, _ in published(data, regime)], generated(regime, 5000)
    found = [[QUESTION.fullmatch(question) for question in questions] for questions in (theirs, ours)]
    for part in (1, 3):  # base, operator
        counts = [Counter(asked[part] for asked in side if asked) for side in found]
        assert set(counts[0]) == set(counts[1])
        table = [[count[key] for key in sorted(counts[0])] for count in counts]
        assert stats.chi2_contingency(table).pvalue > 0.001, (part, table)
    for which in (0, 1):
        sizes = [[abs(operands(question)[which]) for question in side] for side in (theirs, ours)]
        assert stats.ks_2samp(*sizes).pvalue > 0.001, which
        quantiles = [np.quantile([len(str(size)) for size in side], (0.1, 0.5, 0.9)) for side in sizes]
        assert np.abs(quantiles[0] - quantiles[1]).max() <= 1
    assert stats.ks_2samp([len(question) for question in theirs], [len(question) for question in ours]).pvalue > 0.001


# ------------------------------------------------------------------------------------------------- end to end


GRID = """
question: Does every score of the benchmark come out?
base:
  benchmark: {name: arithmetic, base: 2, entropy: 2, train: 60, validation: 10, test: 12}
  model: {name: gpt2, layers: 1, width: 16, heads: 2, tokenizer: characters, context: 72, base_steps: 5}
  training: {steps: 3, rows: 8}
  actions: {noise_rate: 0.2}
  sampling: {rollouts: 12, length: 16}
grid:
  trainer: [mle, {name: sequence_match, buffer_fresh: 8, buffer_size: 16}]
zip:
  actions.backspace: [false, true, true]
  actions.noise_kind: [uniform, uniform, ground_truth]
seeds: 1
controls: false
"""


def test_every_score_comes_out_with_either_noise(tmp_path: Path) -> None:
    """Two trainers without `<backspace>` and with two kinds of noise; each leaves three curves, two by the rate of
    forced actions and one by wrong characters.  Without `<backspace>` no corrupted beginning ends in the right answer.
    """
    (tmp_path / "small.yaml").write_text(GRID)
    cells = check(load_grid(str(tmp_path / "small.yaml")))
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        events = list(run_grid(cells, store, grid_name="small"))
        assert [event.message for event in events if event.stage == "failed"] == []
        assert store.counts()["done"] == 6
        scores, curves = store.scores(), store.profiles()
    points = curves.groupby(["run_id", "name"]).size().groupby("name").unique().map(list).to_dict()
    assert points == {
        "exact_match_corrupted@ground_truth": [4],
        "exact_match_forced@ground_truth": [5],
        "exact_match_forced@uniform": [5],
    }
    assert scores["value"].notna().all()
    wanted = {"exact_match", "answer_prefix", "exact_match_corrupted_3"}
    assert wanted <= set(scores["metric"])
    assert {"exact_match_forced_5@uniform", "exact_match_forced_5@ground_truth"} <= set(scores["name"])
    plain = {cell.run_id for cell in cells if not cell.actions.backspace}
    corrupted = scores[scores["metric"].isin([f"exact_match_corrupted_{wrong}" for wrong in (1, 2, 3)])]
    assert (corrupted[corrupted["run_id"].isin(plain)]["value"] == 0).all()
