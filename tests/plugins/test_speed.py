"""Ours and theirs in turn: medians, ratios pair by pair, and rows that cannot be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import UnknownName
from harness.plugins.speed import Environment, SpeedComparison, Turn, Unavailable, time_comparison, time_comparisons
from harness.registry import SPEED


def scripted(order: list[str], name: str, numbers: list[float]) -> Turn:
    """A turn that gives these numbers one after another and notes that it was called."""
    given: Iterator[float] = iter(numbers)

    def turn() -> float:
        order.append(name)
        return next(given)

    return turn


def comparison(prepare: Callable[[Environment], tuple[Turn, Turn | None]]) -> SpeedComparison:
    return SpeedComparison("ours", "theirs", "s", 2.0, "lower", prepare)


def test_medians_and_ratios_by_hand() -> None:
    """After one warm-up: 1/1, 2/1, 3/1, 4/1, 5/10 = 1, 2, 3, 4, .5: the median of the ratios is 2, not 3/1 = 3."""
    order: list[str] = []
    ours, theirs = [9.0, 1, 2, 3, 4, 5], [9.0, 1, 1, 1, 1, 10]
    row = time_comparison(
        "row",
        comparison(lambda environment: (scripted(order, "a", ours), scripted(order, "b", theirs))),
        "cpu",
        5,
    )
    assert order == ["a", "b"] * 6
    assert (row.ours, row.theirs, row.ratio, row.low, row.high, row.met) == (3, 1, 2, 0.5, 4, True)


def test_a_higher_target_is_a_least_one() -> None:
    """1.9 does not reach 2."""
    case = comparison(lambda environment: (lambda: 19.0, lambda: 10.0))
    assert time_comparison("row", replace(case, better="higher"), "cpu", 1).met is False
    assert time_comparison("row", case, "cpu", 1).met is True


def test_without_theirs_the_target_bounds_our_own_number() -> None:
    row = time_comparison("row", replace(comparison(lambda environment: (lambda: 1.5, None)), against=""), "cpu", 3)
    assert (row.ours, row.theirs, row.ratio, row.met) == (1.5, None, None, True)


def test_what_cannot_be_measured_has_a_reason_and_no_number() -> None:
    def missing(environment: Environment) -> tuple[Turn, None]:
        raise Unavailable("pip install it")

    row = time_comparison("row", comparison(missing), "cpu", 5)
    assert (row.ours, row.met, row.reason) == (None, None, "pip install it")


def test_a_row_about_a_processor_is_measured_there_beside_a_gpu_too() -> None:
    seen: list[str] = []

    def prepare(environment: Environment) -> tuple[Turn, None]:
        seen.append(environment.device)
        return (lambda: 1.0), None

    row = time_comparison("row", comparison(prepare), "cuda", 1)
    assert (row.ours, row.device, seen) == (1.0, "cpu", ["cpu"])


def test_an_error_costs_its_own_row_only() -> None:
    def broken(environment: Environment) -> tuple[Turn, None]:
        raise MemoryError("4,123 MiB")

    assert time_comparison("row", comparison(broken), "cpu", 1).reason == "MemoryError: 4,123 MiB"


def test_an_unknown_row_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="mle_step"):
        next(time_comparisons(["mle_stop"], "cpu"))
    result = CliRunner().invoke(app, ["bench", "--rows", "mle_stop"])
    assert result.exit_code == 2


@pytest.mark.parametrize("name", SPEED)
def test_every_row_loads_and_says_what_it_compares(name: str) -> None:
    row = SPEED[name]
    assert isinstance(row, SpeedComparison)
    assert row.target > 0
    assert row.what
