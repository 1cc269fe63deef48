"""Names that tell runs apart: by what differs among those of one label, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.names import row_names, run_names
from harness.config.run import RunConfig, SeedConfig
from harness.config.section import Plugin

BASE: dict[str, Any] = {"benchmark": "language", "trainer": "mle"}


def run(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(BASE | sections)


def names(*runs: RunConfig) -> list[str]:
    return list(row_names(runs).values())


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"trainer": {"name": "bc", "alpha": 0.1}}, {"trainer": {"name": "bc", "alpha": 1.0}}, "alpha=0.1"),
        ({"training": {"lr": 0.003}}, {"training": {"lr": 0.01}}, "lr=0.003"),
        ({"model": {"width": 32}}, {"model": {"width": 64}}, "width=32"),
        (
            {"actions": {"backspace": True, "noise_rate": 0.1}},
            {"actions": {"backspace": True, "noise_rate": 0.2}},
            "<backspace> noise_rate=0.1",
        ),
        ({"sampling": {"rollouts": 8}}, {"sampling": {"rollouts": 16}}, "rollouts=8"),
        ({"training": {"steps": 100}}, {"training": {"tokens": 1000}}, "steps=100"),
        ({"metrics": ["length", "mauve"]}, {"metrics": ["length"]}, "metrics=length,mauve"),
        (
            {"benchmark": {"name": "language", "length": 8}},
            {"benchmark": {"name": "language", "length": 9}},
            "length=8",
        ),
    ],
)
def test_what_is_swept_is_in_the_name(first: dict[str, Any], second: dict[str, Any], told: str) -> None:
    assert names(run(**first), run(**second))[0] == f"language mle {told}".replace("mle alpha", "bc alpha")


def test_one_run_alone_and_runs_of_other_labels_need_no_more_than_the_label() -> None:
    backspace = run(actions={"backspace": True}, training={"lr": 0.01})
    assert names(run(), backspace) == ["language mle", "language mle <backspace>"]


def test_of_what_is_swept_together_one_key_tells() -> None:
    """Width and layers advance together: the width tells; a third run with the width of the second takes both."""
    one, two = run(model={"width": 32, "layers": 1}), run(model={"width": 64, "layers": 2})
    assert [name.removeprefix("language mle ") for name in names(one, two)] in (
        ["layers=1", "layers=2"],
        ["width=32", "width=64"],
    )
    three = names(one, two, run(model={"width": 64, "layers": 3}))
    assert len(set(three)) == 3


def test_keys_that_end_alike_are_written_whole() -> None:
    runs = [run(training={"rows": rows, "steps": 5}, model={"base_rows": 4 * rows}) for rows in (4, 8)]
    assert all("rows=" in name for name in names(*runs))
    lengths = [
        run(benchmark={"name": "language", "length": n}, sampling={"length": m}) for n, m in ((8, 9), (8, 8), (9, 9))
    ]
    assert "benchmark.length=8 sampling.length=9" in names(*lengths)[0]


def test_what_no_key_tells_is_told_by_the_hash() -> None:
    """Metrics are joined by name, so that their options are in no key."""
    runs = [run(metrics=[{"name": "mauve", "seed": seed}]) for seed in (1, 2)]
    assert names(*runs) == [f"language mle ({one.group_id[:8]})" for one in runs]


def test_every_seed_that_differs_is_named() -> None:
    seeds = (
        SeedConfig(train=1, sample=1, metric=1),
        SeedConfig(train=1, sample=2, metric=1),
        SeedConfig(train=1, metric=3),
    )
    runs = [run().model_copy(update={"seeds": seed}) for seed in seeds]
    assert list(run_names(runs).values()) == [
        "language mle seed 1",
        "language mle seed 1, sample seed 2",
        "language mle seed 1, sample seed 0, metric seed 3",
    ]


def test_names_are_different_and_keyed_by_run() -> None:
    runs = [
        run(trainer=Plugin(name="bc", options={"alpha": alpha}), training={"lr": lr}, seeds={"train": seed})
        for alpha in (0.1, 1)
        for lr in (0.1, 0.01)
        for seed in (0, 1)
    ]
    found = run_names(runs)
    assert list(found) == [one.run_id for one in runs]
    assert len(set(found.values())) == len(runs)
