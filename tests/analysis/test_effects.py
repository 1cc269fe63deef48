"""Main effects on tables small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.effects import factors, main_effects
from harness.stats.simultaneous import leaves_out_zero
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


@pytest.mark.parametrize("seeds", [2, 5, 6, 9])
def test_effects_and_their_intervals_agree(seeds: int) -> None:
    """Factors from none to large, in noise: p <= .05, over all levels of all factors, where the interval leaves 0 out.
    Two seeds whose effects are nearly constant are far from 0 by themselves, and are not separated."""
    draw = np.random.default_rng(seeds)
    runs = [
        run(s, loss=loss, back=back, lr=lr)
        for s in range(seeds)
        for loss in "ab"
        for back in (0, 1)
        for lr in (1, 2, 3)
    ]
    values: dict[str, float | str] = {
        one.run_id: 3.0 * (one.config["loss"] == "b") + 0.1 * one.config["lr"] + one.seeds.train + 0.01 * draw.normal()
        for one in runs
    }
    found = main_effects(runs, values)
    assert [one.family for one in found] == [7] * 7
    assert all((one.p <= 0.05) == leaves_out_zero(one.effect) for one in found)
    assert any(one.p <= 0.05 for one in found) == (seeds >= 6)
    assert any(leaves_out_zero(one.single) for one in found)


def test_factors_with_other_seeds_share_the_error() -> None:
    """`loss` was run at lr 1 with nine seeds, lr 2 for loss a alone with eight: 2 / 2^9 and 2 / 2^8, each twice."""
    runs = [run(s, loss=loss, lr=1) for s in range(9) for loss in "ab"]
    runs += [run(s, loss="a", lr=2) for s in range(8)]
    values: dict[str, float | str] = {
        one.run_id: (one.config["loss"] == "b") + 2.0 * one.config["lr"] + one.seeds.train for one in runs
    }
    found = {(one.factor, one.level): one for one in main_effects(runs, values)}
    assert [one.effect.n for one in found.values()] == [9, 9, 8, 8]
    assert [one.p for one in found.values()] == [4 / 2**9, 4 / 2**9, 4 / 2**8, 4 / 2**8]
    assert [one.p for one in main_effects(runs, values, "loss")] == [2 / 2**9] * 2
