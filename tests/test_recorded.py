"""Results of fixed seeds stay equal to the recorded ones: loss traces to rounding, rollouts action by action."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded import FILE, cases

RECORDED: dict[str, Any] = json.loads(FILE.read_text())


@pytest.mark.parametrize(("name", "compute"), list(cases()))
def test_fixed_seeds_give_what_they_gave(name: str, compute: Any) -> None:
    """Losses to 1e-9 in float64 and 1e-4 in float32; actions, ends and texts exactly, log-probabilities to 1e-5.

    The loss of the 24th step has every update before it in it, sampled rollouts and injected mistakes included.
    """
    then, now = RECORDED[name], compute()
    if name.startswith("losses"):
        assert now == pytest.approx(then, rel=1e-9 if name.endswith("float64") else 1e-4)
        return
    for field in ("actions", "stop", "text"):
        assert [row[field] for row in now] == [row[field] for row in then]
    for field in ("log_prob", "candidates"):
        assert [row[field] for row in now] == pytest.approx([row[field] for row in then], rel=1e-5, abs=1e-5)
