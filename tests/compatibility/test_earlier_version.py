"""Files of revision c0548de are read, sampled from, resumed and reproduced: its modules had other names.

`c0548de/` is a store with one finished run and one that was stopped at step 153 of 400, and an exported policy.
`expected.json` has that revision's results: the scores of both runs, the second without the stop.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import HarnessError
from harness.evaluation.scoring import parse_requests
from harness.grids.check import check
from harness.grids.grid import load_grid
from harness.runner.grid import run_grid
from harness.runner.options import RunnerOptions
from harness.runs.load import load_policy
from harness.runs.reproduce import reproduce
from harness.runs.rescore import rescore
from harness.storage.rollout_files import backspace_of
from harness.storage.store import Store

LEFT = Path(__file__).parent / "c0548de"
EXPECTED: dict[str, Any] = json.loads((LEFT / "expected.json").read_text())
ONE_THREAD = RunnerOptions(threads=1)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A copy of the folder, since a store is written to where it is opened."""
    return Path(shutil.copytree(LEFT, tmp_path / "left"))


def scores(store: Store, run_id: str) -> dict[str, float]:
    return {row["name"]: row["value"] for row in store.scores(run_id=run_id).to_dict("records")}


def test_a_stored_run_has_the_scores_that_it_had(left: Path) -> None:
    with Store.open(f"sqlite:///{left}/runs.db", read_only=True) as store:
        assert scores(store, EXPECTED["finished"]) == pytest.approx(EXPECTED["finished_scores"], rel=0, nan_ok=True)
        assert store.counts() == {"cells": 2, "done": 1, "failed": 0, "running": 0, "pending": 1}
        rollouts = store.rollouts(EXPECTED["finished"])
        assert len(rollouts) == 16
        assert rollouts.attrs == {}  # the file does not store the id of `<backspace>`, which is guessed
        assert backspace_of(rollouts) == 6


def test_a_stored_run_is_rescored_to_the_scores_that_it_had(left: Path) -> None:
    with Store.open(f"sqlite:///{left}/runs.db") as store:
        found = rescore(store, None, parse_requests(["out_of_support", "actions", "distinct"]), torch.device("cpu"))
        assert (found.runs, found.added, dict(found.refused), dict(found.skipped)) == (1, 0, {}, {})
        assert scores(store, EXPECTED["finished"]) == pytest.approx(EXPECTED["finished_scores"], rel=0, nan_ok=True)


@pytest.mark.parametrize("kind", ["finished", "exported"])
def test_a_stored_policy_and_an_exported_one_write_what_they_wrote(left: Path, kind: str) -> None:
    place = EXPECTED["finished"] if kind == "finished" else left / "exported"
    policy = load_policy(place, f"sqlite:///{left}/runs.db")
    assert [list(rollout.pieces) for rollout in policy.sample([""], n=4, seed=3)] == EXPECTED["texts"][kind]


def test_a_checkpoint_is_resumed_to_the_scores_of_the_run_that_was_never_stopped(left: Path) -> None:
    cells = check(load_grid(str(left / "tiny.yaml")))
    with Store.open(f"sqlite:///{left}/runs.db") as store:
        assert sorted(cell.run_id for cell in cells) == sorted([EXPECTED["finished"], EXPECTED["resumed"]])
        assert [one.step for one in store.checkpoints(EXPECTED["resumed"])] == [153]
        list(run_grid(cells, store, grid_name="tiny", options=ONE_THREAD))
        assert list(store.attempts(EXPECTED["resumed"])["from_step"]) == [0, 153]
        curve = store.curves(EXPECTED["resumed"])
        assert list(curve["loss"]) == pytest.approx(EXPECTED["losses"], rel=1e-5)
        assert scores(store, EXPECTED["resumed"]) == pytest.approx(EXPECTED["scores"], rel=1e-4, nan_ok=True)


def test_a_finished_run_is_reproduced(left: Path) -> None:
    """To the last bit on the processor and with the packages it was computed with; elsewhere as near as those are."""
    with Store.open(f"sqlite:///{left}/runs.db") as store:
        again = reproduce(store, EXPECTED["finished"], ONE_THREAD)
        while True:
            try:
                next(again)
            except StopIteration as ended:
                verdict = ended.value
                break
    changed = set(verdict.changed) - {"revision"}
    assert verdict.word == "identical" or changed, verdict.sentence
    for score in verdict.scores:
        if score.name.startswith(("perplexity", "exact_kl")):
            assert score.again == pytest.approx(score.stored, rel=1e-3)


def test_a_damaged_policy_is_refused_by_name(left: Path) -> None:
    (weights,) = (left / "exported").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(HarnessError, match="exported"):
        load_policy(left / "exported")
