"""Trained policies are kept whole or not at all, and come back as they were."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_policies import tiny_policy

from harness.config.run import RunConfig
from harness.generation.rollouts import Start, sample
from harness.models.policy import Policy
from harness.records.training import Step
from harness.system.disk_full import OutOfSpace, is_full
from harness.system.files import written_aside
from harness.training.trained_policies import FACTS, VALUE_HEAD, find, keep, policy_folder

CPU = torch.device("cpu")
CONFIG = RunConfig.model_validate(
    {
        "benchmark": "language",
        "trainer": "mle",
        "model": {"name": "gpt2", "tokenizer": "characters", "context": 24, "dtype": "float64"},
    }
)
STEPS = (Step(1, 10, 0.5, 2.25, 1e-3, {"bc": 0.1, "odd": float("inf")}, 0.5), Step(2, 20, 1.0, 2.0, 1e-3, {}, 1.0))


def written(policy: Policy) -> list[tuple[int, ...]]:
    return [r.trajectory.actions for r in sample(policy, [Start((policy.start_id,))] * 20, seed=0)]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("backspace", [False, True])
@pytest.mark.parametrize("scope", ["full", "head"])
def test_a_policy_comes_back_as_it_was(name: str, backspace: bool, scope: str, tmp_path: Path) -> None:
    """Weights to the last bit, the action space, the value head, an untied output layer, the curve."""
    policy = tiny_policy(name, backspace=backspace)
    policy.set_scope("head" if scope == "head" else "full")
    policy.set_value("head")
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(0.01)
    folder = policy_folder(tmp_path, CONFIG)
    kept = keep(policy, folder, CONFIG, STEPS, "data")
    found = find(folder, CONFIG, "data", CPU)
    assert found is not None
    again, origin = found
    assert origin == kept
    assert (origin.run_id, origin.steps, origin.last) == (CONFIG.run_id, STEPS, STEPS[-1])
    assert (again.space, again.untied, again.value) == (policy.space, scope == "head", "head")
    ours, theirs = policy.model.state_dict(), again.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert again.value_head is not None
    assert policy.value_head is not None
    assert torch.equal(again.value_head.weight, policy.value_head.weight)
    assert written(again) == written(policy)


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "facts", "head", "other data", "no folder"])
def test_what_is_not_whole_counts_as_missing(damage: str, tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.set_value("head")
    folder = policy_folder(tmp_path, CONFIG)
    keep(policy, folder, CONFIG, STEPS, "data")
    weights, facts = folder / "model.safetensors", folder / FACTS
    content = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "cut":
        weights.write_bytes(content[:-5])
    elif damage == "missing":
        weights.unlink()
    elif damage == "facts":  # still JSON, and the weights are right
        facts.write_text(facts.read_text().replace("2.25", "2.24"))
    elif damage == "head":
        (folder / VALUE_HEAD).write_bytes(b"")
    elif damage == "no folder":
        folder = folder.with_name("nowhere")
    assert find(folder, CONFIG, "other" if damage == "other data" else "data", CPU) is None
    # and it is replaced
    keep(policy, folder, CONFIG, STEPS, "data")
    assert find(folder, CONFIG, "data", CPU) is not None
    assert not list(folder.parent.glob(".*"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit every file to so many bytes: to the writing process the same as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_the_folder_stays_as_it_was_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """Room for 10 bytes, 100, 1,000...: Python, safetensors and tokenizers each say it in their own way."""
    folder = policy_folder(tmp_path, CONFIG)
    policy = tiny_policy()
    policy.set_value("head")
    before = keep(policy, folder, CONFIG, STEPS, "data")
    largest = max(path.stat().st_size for path in folder.iterdir())
    for limit in (10, 100, 1000, largest - 1):
        with largest_file(limit), pytest.raises(OutOfSpace, match=r"policy cannot be written to .*; make room"):
            keep(policy, folder, CONFIG, STEPS[:1], "data")
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    with largest_file(largest):
        keep(policy, folder.with_name("fits"), CONFIG, STEPS, "data")
    found = find(folder, CONFIG, "data", CPU)
    assert found is not None
    assert found[1] == before


def test_a_full_disk_is_told_from_other_trouble(tmp_path: Path) -> None:
    class Rust(Exception):
        """As safetensors and tokenizers say it."""

    full = [OSError(errno.ENOSPC, "no"), OSError(errno.EDQUOT, "no"), Rust("I/O error: No space left (os error 28)")]
    other = [OSError(errno.EACCES, "no"), Rust("I/O error: Permission denied (os error 13)"), ValueError("28")]
    assert [is_full(error) for error in (*full, *other)] == [True] * 3 + [False] * 3
    for error in (*full, *other):
        wanted = OutOfSpace if error in full else type(error)
        with pytest.raises(wanted), written_aside(tmp_path / "deep" / "x", "it"):
            raise error
    assert not list((tmp_path / "deep").iterdir())


def test_how_many_threads_computed_it_is_kept(tmp_path: Path) -> None:
    """Trained with four and resumed with two; a folder of an older version does not say."""
    folder = policy_folder(tmp_path, CONFIG)
    for threads, known in (([2, 4], (2, 4)), (None, None)):
        kept = keep(tiny_policy(), folder, CONFIG, STEPS, "data", threads=threads)
        found = find(folder, CONFIG, "data", CPU)
        assert found is not None
        assert found[1] == kept
        assert kept.threads == known


def test_several_writers_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    """Three writers, forty times, each replacing another's folder: a reader finds a whole policy of one, or none."""
    folder = policy_folder(tmp_path, CONFIG)
    policies = [tiny_policy(seed=seed) for seed in range(2)]
    known = [written(policy) for policy in policies]
    found = []
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(keep, policies[n % 2], folder, CONFIG, STEPS, "data") for n in range(40)]
        while not all(writer.done() for writer in writers):
            found.append(find(folder, CONFIG, "data", CPU))
        for writer in writers:
            writer.result()
    found.append(find(folder, CONFIG, "data", CPU))
    assert found[-1] is not None
    assert all(written(one[0]) in known for one in found if one is not None)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_facts_can_be_read_without_us(tmp_path: Path) -> None:
    folder = policy_folder(tmp_path, CONFIG)
    keep(tiny_policy(), folder, CONFIG, STEPS, "data")
    facts = json.loads((folder / FACTS).read_text())["facts"]
    assert (facts["run_id"], facts["backspace"], facts["value"]) == (CONFIG.run_id, True, "logsumexp")
    assert "model.safetensors" in facts["files"]
    assert not list(folder.glob("*.bin"))  # nothing pickled


# ------------------------------------------------------------------------------------------------------- train_id


def changed(**update: object) -> RunConfig:
    dump = CONFIG.model_dump()
    for key, value in update.items():
        head, _, rest = key.partition("__")
        dump[head] = {**dump[head], rest: value} if rest else value
    return RunConfig.model_validate(dump)


def test_sampling_and_metrics_share_a_training_and_nothing_else_does() -> None:
    shared = [
        changed(sampling__temperature=0.7),
        changed(sampling={"decoder": "greedy"}),
        changed(sampling__rollouts=7),
        changed(metrics=["length"]),
        changed(seeds__sample=3),
        changed(seeds__metric=3),
        changed(training__accumulation=2),
    ]
    assert {config.train_id for config in shared} == {CONFIG.train_id}
    other = [
        changed(seeds__train=3),
        changed(training__lr=0.1),
        changed(model__width=32),
        changed(actions__backspace=True),
        changed(trainer="bc"),
        changed(benchmark="text"),
    ]
    assert len({config.train_id for config in other} | {CONFIG.train_id}) == 7


def test_ids_are_what_they_were_before_there_were_decoders() -> None:
    """Neutral values of the fields that came later leave a run's id alone; other values do not."""
    known = RunConfig.model_validate({"benchmark": "language", "trainer": "mle"})
    assert known.run_id == "0feca8765de43675"
    neutral = {"decoder": "sample", "min_p": 0, "typical_p": 1, "eta": 0.0, "penalty_alpha": None}
    again = RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "sampling": neutral, "control": None})
    assert again.run_id == known.run_id
    ids = {known.run_id}
    for used in ({"decoder": "greedy"}, {"min_p": 0.1}, {"typical_p": 0.9}, {"eta": 0.1}, {"temperature": "best"}):
        ids.add(RunConfig.model_validate({"benchmark": "language", "trainer": "mle", "sampling": used}).run_id)
    assert len(ids) == 6
