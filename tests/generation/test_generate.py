"""Continuations of any prompts: the streams that they draw from, and refusals."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from tiny_policies import tiny_policy
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.commands.models import generate
from harness.config.sampling import SamplingConfig
from harness.errors import ConfigError
from harness.generation.generate import as_row, continuations, sample_starts, sampling_of
from harness.generation.prompts import prompt_tokens
from harness.generation.rollouts import Start
from harness.models.export import export
from harness.runs.load import LoadedPolicy


def test_they_are_what_evaluation_would_write() -> None:
    """Two continuations of each of three prompts are rows 0 to 5 of the same streams."""
    policy = tiny_policy()
    prompts = ["", "ab", "f"]
    sampling = SamplingConfig(temperature=0.7, length=9)
    starts = [Start(prompt_tokens(policy, prompt)) for prompt in prompts for _ in range(2)]
    expected = list(sample_starts(policy, starts, sampling, 3))
    found = list(continuations(policy, prompts, sampling, seed=3, n=2))
    assert found == expected
    assert LoadedPolicy.of(policy).sample(prompts, seed=3, n=2, temperature=0.7, length=9) == expected
    assert LoadedPolicy.of(policy).sample(prompts, seed=4, n=2, temperature=0.7, length=9) != expected


def test_a_row_holds_what_happened() -> None:
    """The kept tokens are the text; the actions are those, the deleted ones and their deletions."""
    policy = tiny_policy(seed=3)
    found = LoadedPolicy.of(policy).sample([""] * 40, seed=1)
    rows = [as_row("", rollout) for rollout in found]
    deleting = [row for row in rows if "<backspace>" in row["actions"]]
    assert deleting
    for row, rollout in zip(rows, found, strict=True):
        assert row["text"] == policy.decode(row["tokens"]) == rollout.text
        writes = [piece for piece in row["actions"] if piece not in ("<backspace>", "<end>")]
        assert len(writes) - row["actions"].count("<backspace>") == len(row["tokens"])
        assert row["stop"] in ("ended", "depth", "budget")


def test_the_command_line_offers_all_that_sampling_has() -> None:
    offered = set(inspect.signature(generate).parameters)
    assert set(SamplingConfig.model_fields) - {"rollouts", "length"} <= offered
    assert "max_length" in offered  # what `length` is called there


def test_greedy_and_contrastive_come_by_name() -> None:
    policy = tiny_policy(backspace=False)
    assert LoadedPolicy.of(policy).sample(["a"], seed=0, decoder="greedy") == LoadedPolicy.of(policy).sample(
        ["a"], seed=1, decoder="greedy"
    )
    assert LoadedPolicy.of(policy).sample(["a"], decoder="contrastive", top_k=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1.0}, "no sampling option is called 'temprature'; did you mean 'temperature'"),
        ({"rollouts": 4}, "no sampling option is called 'rollouts'"),
        ({"top_p": 0.0}, "top_p=0.0: Input should be greater than 0"),
        ({"temperature": "best"}, "temperature=best is chosen on a benchmark's validation split"),
        ({"backspace_bias": "mask"}, "backspace_bias='mask': Input should be a valid number.*; or .* 'masked'"),
        ({"decoder": "greedy", "top_k": 3}, "top_k=3 belongs to decoder=sample or contrastive"),
    ],
)
def test_a_wrong_option_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampling_of(**options)


def test_the_command_line_moves_backspace_and_refuses_where_there_is_none(tmp_path: Path) -> None:
    """At -2 and at 0 it deletes, masked it never does; a policy that cannot delete is refused, not silently sampled."""
    export(tiny_policy(seed=3), tmp_path / "m", "")
    (tmp_path / "p.txt").write_text("a\n" * 30)

    def shell(*more: str, code: int = 0) -> str:
        args = ["generate", str(tmp_path / "m"), "--prompts", str(tmp_path / "p.txt"), "--device", "cpu", *more]
        result = CliRunner().invoke(app, args)
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    deletes, fewer, never = (
        shell(*more).count("<backspace>") for more in ([], ["--backspace-bias", "-2"], ["--backspace-bias", "masked"])
    )
    assert never == 0 < fewer < deletes
    refused = shell("--no-backspace", "--backspace-bias", "1.5", code=2)
    assert "backspace_bias=1.5: this policy has no <backspace>" in refused
    with pytest.raises(ConfigError, match="this policy has no <backspace>"):
        LoadedPolicy.of(tiny_policy(backspace=False)).sample(["a"], backspace_bias="masked")


def test_a_prompt_that_fills_the_context_is_named() -> None:
    """24 tokens are held: the start token and 22 letters leave room for one more, 23 do not."""
    policy = tiny_policy()
    assert len(LoadedPolicy.of(policy).sample(["a" * 22])) == 1
    with pytest.raises(
        ConfigError, match=r"prompt 2, 'aaaaaaa.* has 24 tokens with the start token, and this policy holds"
    ):
        LoadedPolicy.of(policy).sample(["a", "a" * 23])
