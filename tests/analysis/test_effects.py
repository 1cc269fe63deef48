"""Main effects on tables small enough to work out by hand."""

from __future__ import annotations

import pytest

from harness.analysis.effects import factors, main_effects
from harness.storage.queries import Run, Seeds


def run(seed: int, **config: object) -> Run:
    name = "-".join(f"{key}{value}" for key, value in config.items()) + f"-{seed}"
    return Run(name, name, "done", "d", {"benchmark.name": "b", **config}, Seeds(seed, seed, seed), 1, 1, 1.0)


def test_a_main_effect_is_the_mean_over_balanced_settings():
    """Loss a or b, with or without backspace; score = 1 (b) + 10 (backspace) + seed.

    Level b is 1 above level a in both settings, so its effect is +.5 and a's is -.5, whatever the seed adds; the
    setting that only level b was run in (lr 2) counts for nothing.
    """
    runs = [run(s, loss=loss, back=back, lr=1) for s in (0, 1) for loss in "ab" for back in (False, True)]
    runs += [run(s, loss="b", back=True, lr=2) for s in (0, 1)]
    values: dict[str, float | str] = {
        one.run_id: (one.config["loss"] == "b")
        + 10.0 * one.config["back"]
        + one.seeds.train
        + 99.0 * (one.config["lr"] == 2)
        for one in runs
    }
    assert set(factors(runs)) == {"loss", "back", "lr"}
    found = {effect.level: effect for effect in main_effects(runs, values, "loss")}
    assert {level: effect.effect.mean for level, effect in found.items()} == {"a": -0.5, "b": 0.5}
    assert found["a"].effect.n == 2
    assert found["a"].settings == 2
    assert found["a"].effect.low == pytest.approx(-0.5)


def test_a_seed_without_a_number_is_left_out_everywhere():
    runs = [run(s, loss=loss) for s in (0, 1, 2) for loss in "ab"]
    values: dict[str, float | str] = {one.run_id: float(one.config["loss"] == "b") for one in runs}
    values[runs[0].run_id] = "diverged"
    assert [effect.effect.n for effect in main_effects(runs, values, "loss")] == [2, 2]
    assert main_effects(runs, {}, "loss") == []


def test_what_was_run_at_one_level_only_has_no_effect():
    runs = [run(0, loss="a"), run(1, loss="a")]
    assert main_effects(runs, {one.run_id: 1.0 for one in runs}, "loss") == []
