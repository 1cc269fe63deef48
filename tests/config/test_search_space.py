"""Spaces that tuning draws from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from harness.config.actions import ActionConfig
from harness.config.search_space import Search, searches
from harness.config.training import TrainingConfig


class Fixed:
    """A generator whose every number in [0, 1) is the same."""

    def __init__(self, share: float) -> None:
        self.share = share

    def random(self) -> float:
        return self.share

    def integers(self, size: int) -> int:
        return int(self.share * size)


@pytest.mark.parametrize(
    ("search", "share", "value"),
    [
        (Search(0, 1), 0.25, 0.25),
        (Search(1e-4, 1, log=True), 0.5, 1e-2),  # halfway between 10^-4 and 10^0
        (Search(0.1, 10, log=True, relative=True), 0.5, 4e-3),  # the written value times 10^0
        (Search(0.1, 10, log=True, relative=True), 0.0, 4e-4),
        (Search(1, 3), 1 / 3, 1.67),  # three digits
        (Search(choices=("js", "chi2", None)), 0.5, "chi2"),
    ],
    ids=str,
)
def test_draws_by_hand(search: Search, share: float, value: object) -> None:
    assert search.draw(Fixed(share), 4e-3) == pytest.approx(value)  # type: ignore[arg-type]


def test_draws_stay_inside_and_spread() -> None:
    """2,000 draws of 10^-3 to 1: a third in each decade, give or take 4 sd = 4 sqrt(2000 * 2/9) = 84."""
    rng = np.random.default_rng(0)
    found = np.array([Search(1e-3, 1, log=True).draw(rng, None) for _ in range(2000)])
    assert 1e-3 <= found.min() <= found.max() <= 1
    assert all(abs(count - 2000 / 3) < 84 for count in np.histogram(np.log10(found), [-3, -2, -1, 0])[0])


def test_spaces_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low=2 is not below high=1; swap"):
        Search(2, 1)
    with pytest.raises(ValueError, match=r"low=0 has no logarithm"):
        Search(0, 1, log=True)


def test_spaces_are_read_off_annotations() -> None:
    @dataclass(frozen=True)
    class Mine:
        plain: float = 1.0
        strength: Annotated[float, Field(gt=0), Search(1, 2)] = 1.0

    assert list(searches(TrainingConfig)) == ["lr"]
    assert list(searches(ActionConfig)) == ["noise_rate", "context_noise"]
    assert list(searches(lambda: None)) == []
    globals()["Search"] = Search
    assert searches(Mine) == {"strength": Search(1, 2)}


def test_a_space_says_what_it_is() -> None:
    assert str(Search(0.1, 10, log=True, relative=True)) == "0.1 to 10 times the written value, by its logarithm"
    assert str(Search(choices=(1, 2))) == "one of 1, 2"
