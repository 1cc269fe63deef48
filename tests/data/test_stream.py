"""Texts to rows: every token an action exactly once, and a stream that its position alone determines."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from tiny_policies import tiny_policy

from harness.actions.noise import uniform
from harness.actions.weights import Normalisation, Weighting
from harness.config.actions import ActionConfig
from harness.config.run import RunConfig
from harness.data.checks import check_whole
from harness.data.stream import ExpertStream, Normalizer
from harness.data.windows import rows
from harness.errors import ConfigError
from harness.records import Example, Splits, Trajectory


def test_windows_of_a_long_text() -> None:
    """Context 5, text "abcdefabc": [start a b c d] [d e f a b] [b c end], nine tokens and one end, each once."""
    policy = tiny_policy(context=5)
    found = rows([Example("abcdefabc")], policy)
    text = ["".join(policy.tokenizer.convert_ids_to_tokens([*row.prompt, *row.actions])) for row in found]
    end = "<|endoftext|>"
    assert text == [f"{end}abcd", "defab", f"bc{end}"]
    assert [len(row.prompt) for row in found] == [1, 1, 1]
    assert [row.actions[-1] == policy.end_id for row in found] == [False, False, True]


def test_prompts_are_not_learned() -> None:
    policy = tiny_policy(context=8)
    (row,) = rows([Example("cd", prompt="ab")], policy)
    assert row.prompt == (policy.start_id, *policy.encode("ab"))
    assert row.actions == (*policy.encode("cd"), policy.end_id)
    with pytest.raises(ConfigError, match=r"model\.context=8: a prompt of 8 tokens"):
        rows([Example("a", prompt="abcdefa")], policy)


def config(context: int, length: int | None = None, **model: Any) -> RunConfig:
    """Configuration of a policy of characters with this context, whose rollouts have this length."""
    chosen = {"name": "gpt2", "tokenizer": "characters", "context": context} | model
    return RunConfig(benchmark="arithmetic", trainer="mle", model=chosen, sampling={"length": length})


def test_whole_texts_are_not_cut() -> None:
    """Start, `abcd`, `ef`, end are eight tokens; a prompt of start and four is half of ten; `ef` and end are three."""
    text = (Example("ef", prompt="abcd"),)
    splits = Splits(text, text, text, text, whole=True)
    check_whole(splits, config(10, length=3))
    with pytest.raises(ConfigError, match=r"model\.context=9: .* has 8 tokens .* raise it to 10"):
        check_whole(splits, config(9))
    with pytest.raises(ConfigError, match=r"sampling\.length=2: .* has 3 tokens"):
        check_whole(splits, config(10, length=2))
    check_whole(Splits(text, text, text, text), config(5, length=1))


def test_whole_texts_are_read_by_the_character() -> None:
    """A loaded model says what its tokens are only once it is there."""
    text = (Example("ab"),)
    splits = Splits(text, text, text, text, whole=True)
    loaded = config(8, name="some/model", tokenizer=None)
    check_whole(splits, loaded)
    check_whole(splits, loaded, tiny_policy())
    with pytest.raises(ConfigError, match="use tokenizer: characters"):
        check_whole(splits, config(8, tokenizer="bpe"))
    unknown = (Example("az"),)
    with pytest.raises(ConfigError, match=r"its tokens would write 'a.*' after '', not 'az'"):
        check_whole(Splits(unknown, unknown, unknown, unknown, whole=True), loaded, tiny_policy())


def test_normaliser_by_hand() -> None:
    """Lengths 1 and 3 at gamma = .5: (1 + 1.75) / 2 = 1.375; at gamma = 1, or counting steps alike, the mean 2."""
    expert = [Trajectory((0,), (1,)), Trajectory((0,), (1, 2, 3))]
    assert Normalizer(expert, Weighting(gamma=0.5)).constant == pytest.approx(1.375)
    assert Normalizer(expert, Weighting()).constant == 2
    assert Normalizer(expert, Weighting("uniform", gamma=0.5)).constant == 2


def test_what_a_step_is_divided_by() -> None:
    """Training rows of 1 and 3 tokens; a step that drew the long one twice: 2, its own mean 3, or pack's business."""
    short, long = Trajectory((0,), (1,)), Trajectory((0,), (1, 2, 3))
    divided = {
        kind: Normalizer([short, long], Weighting(normalisation=kind)).of([long, long])
        for kind in get_args(Normalisation)
    }
    assert divided == {"constant": 2, "batch_tokens": 3, "per_sequence": 1}


def stream(seed: int = 0, noise: bool = False) -> ExpertStream:
    policy = tiny_policy()
    expert = [Trajectory((policy.start_id,), tuple(policy.encode("abcdef"[: n + 1]))) for n in range(6)] * 2
    config = ActionConfig(backspace=True, noise_rate=0.3)
    propose = uniform(policy.space) if noise else None
    return ExpertStream(expert, policy.space, config, propose, context=24, seed=seed)


def test_every_epoch_holds_every_row_in_another_order() -> None:
    epochs = [stream().batch(12 * epoch, 12) for epoch in range(2)]
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert sorted(row.actions for row in epoch) == sorted(row.actions for row in stream().expert)
    assert stream(seed=1).batch(0, 12) != epochs[0]


def test_position_alone_determines_the_rows_noise_included() -> None:
    once = stream(noise=True).batch(0, 30)
    other = stream(noise=True)
    assert [*other.batch(20, 10), *other.batch(0, 20)] == [*once[20:], *once[:20]]
    assert any(any(row.injected) for row in once)
