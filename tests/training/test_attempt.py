"""A request to stop that comes while the policy is kept: the checkpoint is written first, and nothing fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from resuming import training

from harness.training import checkpoint
from harness.training.resume import Attempt


def test_a_checkpoint_that_is_being_written_outlives_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that computes lets go of the training in the middle of the other one's `save`."""
    attempt, run = Attempt("r", 1, tmp_path), training({"name": "mle"})
    attempt.begin(run)
    run.advance()
    computing, write, seen = threading.Thread(target=attempt.end), checkpoint.write, []

    def while_it_ends(*args: object) -> object:
        computing.start()
        computing.join(0.2)
        seen.append((attempt.saving, attempt.training is run))
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "write", while_it_ends)
    with attempt.reporting:
        assert attempt.unsaved()
        assert attempt.save().step == 1
        assert not attempt.unsaved()
    computing.join(5)
    assert seen == [(True, True)]
    assert attempt.training is None
    assert not attempt.unsaved()
