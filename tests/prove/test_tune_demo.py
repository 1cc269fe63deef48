"""The demo, shortened and tuned: as many trials for every group, and the test split once for each final run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from shell import Shell

from harness.storage.store import Store

pytestmark = pytest.mark.prove("the demo tuned: trials", cases=24, seconds=214)
SHORT = ["training.steps=20", "base_steps=20", "sampling.rollouts=64"]


def test_the_demo_tuned(tmp_path: Path) -> None:
    """Two benchmarks, six groups each, two trials a group on validation texts, then two seeds of each choice."""
    shell = Shell(tmp_path)
    own = ("--name", "short", "--trials", "2", "--workers", "2", "--threads", "2")
    printed = shell("tune", "demo", *SHORT, *own).stdout
    assert "12 groups x 2 trials = 24 trials (0 done)" in printed
    with Store.open(shell.environment["HARNESS_STORE"], read_only=True) as store:
        trials = Counter(trial.group_id for trial in store.trials("short-tuned"))
        final = store.runs("short-tuned").query("status == 'done'")
        trained = [run_id for run_id in final["run_id"] if not store.config(run_id).is_control]
        assert len(trained) == 24
        assert trials == dict.fromkeys(set(final.set_index("run_id").loc[trained, "group_id"]), 2)
        assert len(trials) == 12
        for run_id in store.runs("short-trials")["run_id"]:
            assert store.provenance(run_id)["splits_read"] == {"validation": 1}  # type: ignore[index]
        for run_id in trained:
            assert store.provenance(run_id)["splits_read"] == {"test": 1}  # type: ignore[index]
