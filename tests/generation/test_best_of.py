"""Best-of-n and rejection: the text that is kept, and the cost of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tiny_policies import tiny_policy

from harness.config.run import RunConfig
from harness.config.sampling import SamplingConfig
from harness.generation.best_of import chosen, likeliness
from harness.generation.generate import sample_prompts
from harness.records import Example, Rollout, Trajectory

END = 6


def text(log_prob: float, tokens: int, injected: int = 0) -> Rollout:
    """An ended text of `tokens` own tokens after some given ones, each action as likely as the other."""
    actions = (1,) * injected + (2,) * tokens + (END,)
    given = (True,) * injected + (False,) * (tokens + 1)
    chances = (0.0,) * injected + (log_prob,) * (tokens + 1)
    return Rollout(Trajectory((0,), actions, given), chances, "ended", "", (2,) * tokens)


def test_likeliness_is_the_mean_over_own_actions() -> None:
    """Two given tokens of log-probability 0 by convention do not count: (-2 - 2 - 2) / 3 = -2, not -6 / 5."""
    assert likeliness(text(-2.0, 2, injected=2)) == -2


def test_the_likeliest_of_n_is_kept_and_knows_what_the_others_cost() -> None:
    """Start 0 is written with -3, -1, -2 in 4, 5 and 6 tokens: the second stays and cost 4 + 6 more.

    Start 1 with -1, -2, -3: the first stays and cost 5 + 6 more.
    """
    written = {0: [text(-3.0, 4), text(-1.0, 5), text(-2.0, 6)], 1: [text(-1.0, 4), text(-2.0, 5), text(-3.0, 6)]}
    found = chosen(lambda rows, again: [written[row][again] for row in rows], 2, SamplingConfig(best_of=3))
    assert [likeliness(one) for one in found] == [-1, -1]
    assert [len(one.tokens) for one in found] == [5, 4]
    assert [one.discarded for one in found] == [10, 11]


def test_the_least_likely_share_is_written_once_more_whatever_comes() -> None:
    """Of -1, -4, -2, -3 the worst half are starts 1 and 3; their second texts stay although they are worse."""
    first = [text(-1.0, 3), text(-4.0, 5), text(-2.0, 3), text(-3.0, 7)]
    asked: list[tuple[int, ...]] = []

    def write(rows: Sequence[int], again: int) -> list[Rollout]:
        asked.append(tuple(rows))
        return [text(-9.0, 1) if again else first[row] for row in rows]

    found = chosen(write, 4, SamplingConfig(reject=0.5))
    assert asked == [(0, 1, 2, 3), (1, 3)]
    assert [likeliness(one) for one in found] == [-1, -9, -2, -9]
    assert [one.discarded for one in found] == [0, 5, 0, 7]


def test_a_policys_texts_are_chosen_among_independent_ones() -> None:
    """The first texts are those of plain sampling; of two the likelier is kept, so no text is likelier without."""
    policy = tiny_policy(seed=3)
    prompts = [Example("", prompt="abc"[: n % 4]) for n in range(40)]
    plain = list(sample_prompts(policy, prompts, SamplingConfig(), 0))
    best = list(sample_prompts(policy, prompts, SamplingConfig(best_of=2), 0))
    assert all(likeliness(b) >= likeliness(a) for a, b in zip(plain, best, strict=True))
    assert any(likeliness(b) > likeliness(a) for a, b in zip(plain, best, strict=True))
    assert sum(one.discarded for one in best) > 0
    again = list(sample_prompts(policy, prompts, SamplingConfig(reject=0.25), 0))
    assert sum(a != b for a, b in zip(plain, again, strict=True)) == 10


def test_a_masked_backspace_is_never_written_and_a_bias_changes_how_often() -> None:
    policy = tiny_policy(seed=3)
    prompts = [Example("", prompt="abc"[: n % 4]) for n in range(60)]

    def share(**how: object) -> float:
        sampling = SamplingConfig.model_validate(how)
        actions = [a for one in sample_prompts(policy, prompts, sampling, 0) for a in one.trajectory.actions]
        return actions.count(policy.space.backspace_id or -1) / len(actions)

    assert share(backspace_bias="masked") == 0
    assert 0 < share(backspace_bias=-2) < share() < share(backspace_bias=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": {"best_of": 2, "reject": 0.1}}, "two ways to choose"),
        ({"sampling": {"backspace_bias": 1}}, "this policy has no <backspace>"),
        ({"sampling": {"decoder": "greedy", "best_of": 2}}, "best_of=2 belongs to decoder=sample"),
        ({"actions": {"backspace": True, "context_noise": 0.1}}, "the control without <backspace>"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate({"benchmark": "text", "trainer": "mle", **given})


def test_a_label_tells_a_control_from_what_it_controls() -> None:
    run = {"benchmark": "text", "trainer": "mle", "actions": {"context_noise": 0.1}, "training": {"scope": "head"}}
    assert RunConfig.model_validate(run).label == "text mle context_noise=0.1 scope=head seed 0"


def test_neutral_values_leave_a_runs_id_as_it_was() -> None:
    """An unused later option does not enter the hash."""
    plain = RunConfig.model_validate({"benchmark": "text", "trainer": "mle"})
    neutral = {"sampling": {"best_of": 1, "reject": 0, "backspace_bias": 0}, "actions": {"context_noise": 0}}
    assert RunConfig.model_validate({"benchmark": "text", "trainer": "mle", **neutral}).run_id == plain.run_id
    for used in ({"sampling": {"best_of": 2}}, {"actions": {"context_noise": 0.1}}):
        assert RunConfig.model_validate({"benchmark": "text", "trainer": "mle", **used}).run_id != plain.run_id
