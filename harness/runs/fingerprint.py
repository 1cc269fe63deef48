"""Hashes of a run's results: all that its configuration decides, nothing of when and where it was computed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.hashing import content_hash
from harness.storage.store import Store

# The part of the provenance that the configuration decides; the rest is when, where, how often and how fast.
DECIDED = ("base", "data_hash", "evaluated_tokens", "head_untied", "sampled_actions")


def parts(store: Store, run_id: str, names: Collection[str] | None = None) -> dict[str, str]:
    """Hashes of a finished run: `config`, `curve`, `interims` (both without seconds), `scores`, `profiles`, `rollouts`,
    `facts`.

    `names` are the full names of the scores and profiles that count; None: all.

    Raises:
        StoreError: the run is not finished, or its rollouts are damaged.
    """
    provenance = store.provenance(run_id) or {}
    scores, profiles = store.scores(run_id=run_id), store.profiles(run_id=run_id)
    if names is not None:
        scores, profiles = scores[scores["name"].isin(names)], profiles[profiles["name"].isin(names)]
    found = {
        "config": store.config(run_id).model_dump(mode="json"),
        "curve": store.curves(run_id).drop(columns="seconds").to_dict("records"),
        "interims": store.interims(run_id=run_id).drop(columns=["seconds", "seconds_before"]).to_dict("records"),
        "scores": scores.to_dict("records"),
        "profiles": profiles.to_dict("records"),
        "rollouts": store.rollouts(run_id).to_dict("records"),
        "facts": {name: provenance.get(name) for name in DECIDED},
    }
    return {name: content_hash(_spelled(value)) for name, value in found.items()}


def content(store: Store) -> str:
    """One hash over all runs of a store: the parts of those that are done, the status of the others."""
    rows = store.runs(archived=None)[["run_id", "status"]].itertuples(index=False)
    done = {run_id: parts(store, run_id) if status == "done" else status for run_id, status in rows}
    return content_hash(done)


def _spelled(value: Any) -> Any:
    """JSON values with every float by its exact digits, NaN and infinities included."""
    if isinstance(value, dict):
        return {str(key): _spelled(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(inner) for inner in value]
    return repr(float(value)) if isinstance(value, float) else value if isinstance(value, int | str) else repr(value)
