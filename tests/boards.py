"""Finished runs with scores of one's choice, for tests of what compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.config.run import RunConfig
from harness.records.score import Score
from harness.records.training import Step
from harness.storage.store import Store

ME = "elsewhere:1:1"
MAUVE = "mauve@mauve-text[featuriser=tiny]"
SM = {"name": "sequence_match", "alpha": 0.01, "divergence": "js"}


def score(metric: str, value: float | None, definition: str = "exact", **more: Any) -> Score:
    given: dict[str, Any] = {"parameters": {}, "reason": None, "n": 8, "unit": "fraction", "direction": "higher"}
    return Score(metric, definition, value=value, texts_hash="t", **(given | more))


def mauve(value: float | None, featuriser: str = "tiny", reason: str | None = None) -> Score:
    return score("mauve", value, "mauve-text", parameters={"featuriser": featuriser}, reason=reason)


def add(
    store: Store,
    config: dict[str, Any],
    scores: list[Score],
    data_hash: str = "d",
    seed: int = 0,
    steps: Sequence[Step] = (),
    **more: Any,
) -> str:
    """Store a finished run of grid `g` and return its id; `seeds`, `sampled_actions`, `facts` may be given beside."""
    seeds = {"train": seed, "sample": seed, "metric": seed} | more.get("seeds", {})
    run = RunConfig.model_validate({"benchmark": "text", "trainer": "mle", **config, "seeds": seeds})
    store.enqueue("g", [run])
    assert store.claim(run.run_id, ME)
    store.log(run.run_id, ME, steps)
    facts = {"data_hash": data_hash, "sampled_actions": more.get("sampled_actions", 0)} | more.get("facts", {})
    store.finish(run.run_id, ME, scores=scores, prompts=[], rollouts=[], backspace_id=None, provenance=facts)
    return run.run_id


def add_groups(store: Store, values: dict[str, Sequence[float]], **more: Any) -> None:
    """One group per trainer, whose mauve at seed s is values[trainer][s]; seeds outermost, as grids have them."""
    for seed in range(max(map(len, values.values()))):
        for trainer, found in values.items():
            if seed < len(found):
                add(store, {"trainer": trainer}, [mauve(found[seed])], seed=seed, **more)
