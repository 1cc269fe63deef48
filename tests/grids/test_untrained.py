"""Any checkpoint is scored as it is: its known likelihood, its own action space, and a row that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_policies import tiny_policy
from typer.testing import CliRunner

from harness import load_policy
from harness.cli.app import app
from harness.data.splits import load_splits
from harness.errors import ConfigError, EnvironmentProblem
from harness.evaluation.likelihood import likelihood
from harness.grids.untrained import as_it_is
from harness.models.export import export
from harness.models.policy import Policy
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store

SMALL = ["train=40", "validation=8", "test=8", "benchmark.length=6", "rollouts=8", "context=24"]


def shell(folder: Path, *args: str, code: int = 0) -> Any:
    environment = {"HARNESS_STORE": f"sqlite:///{folder}/runs.db", "COLUMNS": "150"}
    result = CliRunner(env=environment).invoke(app, list(args))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Random policies over a language's letters: `plain`, and `deletes` with its `<backspace>`."""
    for name, backspace in {"plain": False, "deletes": True}.items():
        policy = tiny_policy(backspace=backspace, dtype="float32")
        export(policy, tmp_path / name, "")
    return tmp_path


def evaluate(folder: Path, model: str, *more: str, code: int = 0) -> Any:
    asked = ["symbols=6", *SMALL, "--benchmark", "language", "--metrics", "perplexity,actions", *more]
    return shell(folder, "evaluate", str(folder / model), *asked, code=code)


def test_a_checkpoint_is_scored_and_its_row_says_that_nothing_was_trained(saved: Path) -> None:
    """Two seeds are two runs that share their likelihood; the row beside a trained one is no baseline and no mle."""
    printed = evaluate(saved, "plain", "--seeds", "2").stdout
    assert "2 cells: 2 done now" in printed
    assert "not trained" in printed
    assert "mle" not in printed
    again = evaluate(saved, "plain", "--seeds", "2").stdout
    assert "0 done now, 2 done before" in again
    with Store(f"sqlite:///{saved}/runs.db") as store:
        (config, _) = (store.config(run_id) for run_id in store.runs("evaluated")["run_id"])
        assert (config.training.steps, config.actions.backspace, config.model.context) == (0, False, 24)
        assert config.label == "language not trained seed 0"
        policy = Policy.load(saved / "plain", 24)
        found = likelihood(policy, load_splits(config.benchmark).test)
        scores = store.scores("evaluated")
        nll = scores.loc[scores["metric"] == "nll", "value"]
        assert list(nll) == pytest.approx([found.nll / found.tokens] * 2, rel=1e-6)
        (table,) = leaderboard(store, grid="evaluated").tables
        assert [row.label for row in table.rows] == ["not trained"]
        assert not (store.folder / "policies").exists()  # the checkpoint lies where it lay


def test_an_exported_policy_keeps_its_backspace_or_loses_it_when_asked(saved: Path) -> None:
    evaluate(saved, "deletes")
    evaluate(saved, "deletes", "actions.backspace=false")
    with Store(f"sqlite:///{saved}/runs.db") as store:
        runs = store.runs("evaluated").set_index("actions.backspace")["run_id"]
        rate = store.scores("evaluated").query("metric == 'backspace_rate'").set_index("run_id")["value"]
        nll = store.scores("evaluated").query("metric == 'nll'").set_index("run_id")["value"]
    assert rate[runs[True]] > 0.01
    assert rate[runs[False]] == 0
    assert nll[runs[True]] == pytest.approx(nll[runs[False]], abs=1e-6)  # renormalised without the action


def test_another_checkpoint_in_the_same_place_is_another_run(saved: Path) -> None:
    evaluate(saved, "plain")
    export(tiny_policy(backspace=False, dtype="float32", seed=4), saved / "plain", "", overwrite=True)
    assert "1 done now, 0 done before" in evaluate(saved, "plain").stdout


def test_an_exported_policy_is_scored_with_the_context_and_arithmetic_that_it_was_trained_with(tmp_path: Path) -> None:
    """The model holds 24 tokens in float32, trained on 12 in bfloat16: `harness.json` says so, as for `generate`."""
    policy = tiny_policy(backspace=False, dtype="float32")
    policy.context, policy.dtype = 12, "bfloat16"
    export(policy, tmp_path / "m", "")
    (cell,) = as_it_is(str(tmp_path / "m"), "language", [], 1).expand()
    generated = load_policy(tmp_path / "m")
    assert (cell.model.context, cell.model.dtype) == (generated.context, generated.dtype) == (12, "bfloat16")
    evaluated = Policy.start(cell.model, None, frozen=cell.untrained)
    for one in (evaluated, generated):  # no stored bit is rounded away
        assert {parameter.dtype for parameter in one.model.parameters()} == {torch.float32}
    (asked,) = as_it_is(str(tmp_path / "m"), "language", ["context=16", "dtype=float32"], 1).expand()
    assert (asked.model.context, asked.model.dtype) == (16, "float32")
    (tmp_path / "m" / "harness.json").write_text("{")
    with pytest.raises(EnvironmentProblem, match=r"harness\.json is damaged; write"):
        as_it_is(str(tmp_path / "m"), "language", [], 1)


def test_what_evaluate_refuses(saved: Path) -> None:
    assert "evaluate trains nothing" in evaluate(saved, "plain", "training.steps=5", code=2).stderr
    assert "unknown benchmark" in shell(saved, "evaluate", str(saved / "plain"), "--benchmark", "x", code=2).stderr
    assert "cannot be loaded" in shell(saved, "evaluate", "./none", "--benchmark", "text", code=3).stderr
    with pytest.raises(ConfigError, match="gpt2 means a model that is built from scratch"):
        as_it_is("gpt2", "text", [], 1)
    with pytest.raises(EnvironmentProblem, match=r"give a directory with config\.json"):
        as_it_is(str(saved), "text", [], 1)


SIXTY = '''
from dataclasses import dataclass
from pathlib import Path
from harness.records import Example, Splits
from harness.registry import BENCHMARKS


@BENCHMARKS.register("sixty")
@dataclass(frozen=True)
class Sixty:
    """The first sixty complete stories of a file as test split, some others to train on."""

    file: str
    metrics = ("perplexity",)

    def splits(self):
        text = Path(self.file).read_text()
        stories = [Example(story.strip()) for story in text.split("<|endoftext|>")[:-1]]
        test = tuple(stories[:60])
        prompts = tuple(Example(example.text[20:], example.text[:20]) for example in test)
        return Splits(tuple(stories[100:110]), tuple(stories[110:120]), test, prompts)
'''


def test_an_untouched_model_has_its_known_likelihood(data: Callable[[str], Path], tmp_path: Path) -> None:
    """stories260K/SOURCE.md: 1.2958 nats over the 20,424 predictions of 60 stories, cut to 512 ids, ends not scored.

    `evaluate` scores whole stories and their ends: 59 ends more, and what is left of the one story that is longer, seen
    in a second window that begins at token 256.  transformers alone says what these cost.
    """
    (tmp_path / "sixty.py").write_text(SIXTY)
    folder, file = data("stories260K") / "hf", data("tinystories") / "tinystories_sample.txt"
    asked = [
        "--benchmark",
        "sixty",
        "--include",
        str(tmp_path / "sixty.py"),
        f"file={file}",
        "rollouts=2",
        "sampling.length=8",
    ]
    shell(tmp_path, "evaluate", str(folder), *asked)
    with Store(f"sqlite:///{tmp_path}/runs.db") as store:
        (config,) = (store.config(run_id) for run_id in store.runs("evaluated")["run_id"])
        (score,) = store.scores("evaluated").query("metric == 'nll'").to_dict("records")
        texts = [example.text for example in load_splits(config.benchmark).test]
    assert config.model.context == 512
    policy = Policy.load(folder, 512)

    def predictions(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return -logits[:-1].gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]

    known, beyond, count, more = 0.0, 0.0, 0, 0
    for text in texts:
        ids = [policy.start_id, *policy.encode(text), policy.end_id]
        inside = min(len(ids) - 1, 512)
        nll = predictions(ids[:512])
        known += float(nll[: inside - 1].sum())
        count += inside - 1
        rest = nll[inside - 1 :] if len(ids) <= 512 else predictions(ids[256:])[512 - 257 :]
        beyond += float(rest.sum())
        more += len(rest)
    assert count == 20_424
    assert known / count == pytest.approx(1.2958, abs=5e-4)
    assert score["value"] * (count + more) == pytest.approx(known + beyond, rel=1e-5)
