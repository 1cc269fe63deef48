"""Trains a finished run again from its stored configuration, and compares the two."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from harness.errors import HarnessError
from harness.records.progress import Progress
from harness.runner.options import RunnerOptions
from harness.runner.supervisor import supervise
from harness.runs import fingerprint
from harness.stats.intervals import t_quantile
from harness.storage.store import Store

Word = Literal["identical", "statistically equal", "different"]


@dataclass(frozen=True)
class Compared:
    """One score, stored and computed again.

    `margin` is the largest difference that two seeds of this group usually have: t(.975, n - 1) s sqrt(2), with s the
    standard deviation over the n finished seeds of the store; None where there are fewer than two.
    """

    name: str
    stored: float
    again: float
    margin: float | None

    @property
    def close(self) -> bool:
        """True if the two differ by no more than the margin; NaN equals NaN."""
        same = self.stored == self.again or (math.isnan(self.stored) and math.isnan(self.again))
        return same or (self.margin is not None and abs(self.stored - self.again) <= self.margin)


@dataclass(frozen=True)
class Verdict:
    """The result of training a run again.

    Attributes:
        word: `identical` to the last bit, `statistically equal` (every score is within its margin), or `different`.
        differs: the parts whose bits differ, of `harness.runs.fingerprint.parts`.
        scores: the scores that differ.
        changed: provenance in which the two computations differ: name -> [then, now].
    """

    word: Word
    differs: tuple[str, ...]
    scores: tuple[Compared, ...]
    changed: dict[str, list[Any]]

    @property
    def sentence(self) -> str:
        """The verdict with its reasons."""
        if not self.differs:
            return self.word
        worst = max(self.scores, key=_excess, default=None)
        how = ""
        if worst is not None:
            margin = "no other seeds to take one from" if worst.margin is None else f"{worst.margin:.2g}"
            how = f"; farthest: {worst.name} {worst.stored:.6g}, now {worst.again:.6g} (margin {margin})"
        why = "".join(f"; {name} was {then}, is {now}" for name, (then, now) in self.changed.items())
        return f"{self.word}: not the same bits in {', '.join(self.differs)}{how}{why}"


def reproduce(
    store: Store, run_id: str, options: RunnerOptions, stopping: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, Verdict]:
    """Train a finished run again, its base included, in a store of its own; the verdict is stored with the run.

    Device and number of threads are the stored run's, unless `options` says otherwise.

    Raises:
        HarnessError: the run is not finished, or cannot be computed any more.
        KeyboardInterrupt: `stopping` returned True before it was finished again.
    """
    then = store.provenance(run_id)
    if then is None:
        raise HarnessError(f"run {run_id} is not finished, so there is nothing to compare with; `harness run` its grid")
    config = store.config(run_id)
    threads = options.threads or (then.get("training_threads") or [then.get("threads")])[0]
    device = str(then.get("device") or "auto").partition(":")[0] if options.device == "auto" else options.device
    options = replace(options, workers=1, threads=threads, device=device)
    with (
        tempfile.TemporaryDirectory(prefix="harness-reproduce-") as folder,
        Store(f"sqlite:///{folder}/runs.db") as own,
    ):
        own.enqueue("reproduce", [config])
        yield from supervise(own, options, [config], stopping)
        now = own.provenance(run_id)
        if now is None:
            if stopping():
                raise KeyboardInterrupt
            raise HarnessError(f"run {run_id} was not finished again: {own.runs()['error'][0]}")
        verdict = compare(store, own, run_id)
    store.record_verdict(run_id, verdict.word, {**asdict(verdict), "git": now["git"], "packages": now["packages"]})
    return verdict


def compare(store: Store, again: Store, run_id: str) -> Verdict:
    """Compare two computations of a run; scores that only the first has are left out."""
    before, after = (_values(one, run_id) for one in (store, again))
    names = set(after) | set(again.profiles(run_id=run_id)["name"])
    first, second = (fingerprint.parts(one, run_id, names) for one in (store, again))
    differs = tuple(sorted(name for name in first if first[name] != second[name]))
    margins = _margins(store, run_id)
    compared = []
    for name in after:
        compared.append(Compared(name, before.get(name, math.nan), after[name], margins.get(name)))
    moved = tuple(one for one in compared if one.stored != one.again and not (math.isnan(one.stored + one.again)))
    close = "scores" in differs or "rollouts" in differs or "curve" in differs
    equal = close and "config" not in differs and all(one.close for one in compared)
    word: Word = "identical" if not differs else "statistically equal" if equal else "different"
    then, now = store.provenance(run_id) or {}, again.provenance(run_id) or {}
    return Verdict(word, differs, moved, _changed(then, now) if differs else {})


def _values(store: Store, run_id: str) -> dict[str, float]:
    """Scores of a run by full name; NaN where there is no value."""
    rows = store.scores(run_id=run_id).to_dict("records")
    return {str(row["name"]): float(row["value"]) for row in rows}


def _margins(store: Store, run_id: str) -> dict[str, float]:
    """`Compared.margin` by full name, from the finished seeds of the run's group."""
    runs = store.runs(status="done")
    (group,) = runs.loc[runs["run_id"] == run_id, "group_id"]
    values: dict[str, list[float]] = {}
    for member in runs.loc[runs["group_id"] == group, "run_id"]:
        for name, value in _values(store, member).items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {
        name: t_quantile(0.95, len(found) - 1) * statistics.stdev(found) * math.sqrt(2)
        for name, found in values.items()
        if len(found) > 1
    }


def _changed(then: dict[str, Any], now: dict[str, Any]) -> dict[str, list[Any]]:
    """Provenance that can move a result and differs between the two computations: name -> [then, now]."""
    found = {}
    for name in ("data_hash", "base", "training_threads", "device", "python"):
        found[name] = [then.get(name), now.get(name)]
    found["cpu"] = [one.get("cpu", {}).get("model") for one in (then, now)]
    found["revision"] = [one.get("git", {}).get("revision") for one in (then, now)]
    for package, version in now.get("packages", {}).items():
        found[package] = [then.get("packages", {}).get(package), version]
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _excess(one: Compared) -> float:
    """Difference of a score in margins; infinite without a margin."""
    distance = abs(one.stored - one.again)
    return math.inf if one.margin is None or math.isnan(distance) else distance / max(one.margin, 1e-300)
