"""The built-in divergences against their generators f and the closed forms that one can look up; and the README."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from oracle import generators
from oracle.cases import ALPHA, CASES
from oracle.generators import GENERATORS
from oracle.objective import minimise
from oracle.tabular import FLOAT, train
from oracle.third_party import installed
from torch import Tensor

from trainers import divergences
from trainers.divergences import DIVERGENCES

BUILT_IN = installed(DIVERGENCES.group)
README = Path(divergences.__file__).parent / "README.md"
DATA, MODEL = (0.5, 0.3, 0.2), (0.2, 0.6, 0.2)  # D(DATA, MODEL) differs from D(MODEL, DATA) where D is asymmetric

# phi' at -1/4, 1/4 and 1; where phi' reaches 10; where phi goes flat; -phi''(0)
CLOSED_FORMS = {
    "kl_data_model": ((4 / 3, 4 / 5, 1 / 2), -9 / 10, math.inf, 1),
    "kl_model_data": ((math.exp(0.25), math.exp(-0.25), math.exp(-1)), -math.log(10), math.inf, 1),
    "js": (tuple(1 / (2 * math.exp(x) - 1) for x in (-0.25, 0.25, 1)), -math.log(20 / 11), math.inf, 2),
    "chi2": ((9 / 8, 7 / 8, 1 / 2), -18, 2, 0.5),
    "neyman": ((math.sqrt(4 / 3), math.sqrt(4 / 5), math.sqrt(1 / 2)), -0.99, math.inf, 0.5),
    "hellinger": ((16 / 9, 16 / 25, 1 / 4), 1 / math.sqrt(10) - 1, math.inf, 2),
    "lecam": ((2 / math.sqrt(0.75) - 1, 2 / math.sqrt(1.25) - 1, math.sqrt(2) - 1), -117 / 121, 3, 1),
    "kl_mixture": ((5 / 3, 3 / 5, 0), -9 / 11, 1, 2),
    "identity": ((1, 1, 1), -math.inf, math.inf, 0),
    "chi2_mixture": ((1, 1, 1), -math.inf, math.inf, 0.5),
}
# by hand: m - d = (-.3, .3, 0), (d + m)/2 = (.35, .45, .2), d/m = (5/2, 1/2, 1)
BY_HAND = {
    "kl_data_model": 0.5 * math.log(5 / 2) + 0.3 * math.log(1 / 2),
    "kl_model_data": 0.2 * math.log(2 / 5) + 0.6 * math.log(2),
    "js": 0.5 * math.log(10 / 7) + 0.3 * math.log(2 / 3) + 0.2 * math.log(4 / 7) + 0.6 * math.log(4 / 3),
    "chi2": 0.09 / 0.5 + 0.09 / 0.3,
    "neyman": 0.09 / 0.2 + 0.09 / 0.6,
    "hellinger": 0.7 - 2 * math.sqrt(0.1) + 0.9 - 2 * math.sqrt(0.18),
    "lecam": 0.09 / 0.7 + 0.09 / 0.9,
    "kl_mixture": 2 * (0.5 * math.log(10 / 7) + 0.3 * math.log(2 / 3)),
    "identity": 0,
    "chi2_mixture": 2 * (0.09 / 0.7 + 0.09 / 0.9),
}


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=FLOAT)


@pytest.mark.parametrize("name", BUILT_IN)
def test_closed_forms(name: str) -> None:
    slopes, cut, flat, curvature = CLOSED_FORMS[name]
    divergence = DIVERGENCES[name]
    assert divergence.slope(column(-0.25, 0.25, 1)).tolist() == pytest.approx(slopes, abs=1e-14)
    assert (divergence.cut, divergence.flat, divergence.curvature) == pytest.approx((cut, flat, curvature), abs=1e-14)
    assert float(divergence.exact(column(*DATA), column(*MODEL))) == pytest.approx(BY_HAND[name], abs=1e-14)


@pytest.mark.parametrize("name", GENERATORS)
def test_phi_and_D_come_from_the_generator(name: str) -> None:
    """phi(x) = min_{0 <= u <= 10} x u + f(u) on [-200, 60], its minimiser phi', and D = sum d f(m/d).

    The bisection knows u to 1e-15 where f' is steep, to 1e-8 where it is flat; phi does not feel that error.
    """
    f, divergence = GENERATORS[name], DIVERGENCES[name]
    x = torch.cat([torch.linspace(-200, 60, 261, dtype=FLOAT), torch.linspace(-3, 4, 1401, dtype=FLOAT)])
    assert torch.allclose(divergence.phi(x), generators.phi(f, x), atol=1e-12, rtol=1e-12)
    assert torch.allclose(divergence.slope(x), generators.slope(f, x), atol=1e-12, rtol=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        data, model = (torch.rand(6, dtype=FLOAT, generator=generator) + 0.05 for _ in range(2))
        data, model = data / data.sum(), model / model.sum()
        expected = float(generators.divergence(f, data, model))
        assert float(divergence.exact(data, model)) == pytest.approx(expected, abs=1e-13)


def test_beyond_the_pole_the_slope_stays_at_the_cap() -> None:
    """Hellinger's formula at -3 is 3/2 with slope 1/4; cut at 1/sqrt(10) - 1 it is far below 0 with slope 10."""
    x = column(-3)
    assert float(DIVERGENCES["hellinger"].formula(x)) == 1.5
    assert float(DIVERGENCES["hellinger"].slope(x)) == 10
    assert float(DIVERGENCES["hellinger"].phi(x)) < -20


def test_huber_of_the_mixture() -> None:
    """x^2/8 inside, slope 2 outside: 2 at 4, 8 at 8, 8 + 2*4 at 12."""
    penalty = DIVERGENCES["chi2_mixture"].penalty
    assert penalty(column(0, -4, 8, 12, -12)).tolist() == [0, 2, 8, 16, 16]


# ------------------------------------------------------------------------------------------------- the README


def through_phi(name: str) -> float:
    """sup_x sum d phi(x) - m x (less the mixture's penalty under (d + m)) by direct optimisation over x."""
    divergence, data, model = DIVERGENCES[name], column(*DATA), column(*MODEL)

    def cost(x: Tensor) -> Tensor:
        total: Tensor = (model * x - data * divergence.phi(x)).sum()
        return total if divergence.penalty is None else total + ((data + model) * divergence.penalty(x)).sum()

    return -minimise(cost, torch.zeros(3, dtype=FLOAT))[1]


def policy_difference(name: str) -> float:
    """Largest difference between the trained policy and the direct minimum's, both worlds."""
    worst = 0.0
    for case in CASES.values():
        trained = case.world.log_policy(train(case, name, ALPHA)[0]).exp()
        worst = max(worst, float((trained - case.problem(name).primal()[0]).abs().max()))
    return worst


def readme_rows() -> dict[str, tuple[str, str, str]]:
    """The README's table by name: D directly, D through phi, policy difference; as written."""
    pattern = re.compile(r"^\| `(\w+)` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
    return {name: (direct, sup, gap) for name, direct, sup, gap in pattern.findall(README.read_text())}


def test_the_readme_lists_every_built_in_divergence() -> None:
    assert sorted(readme_rows()) == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_readme_says_what_the_code_does(name: str) -> None:
    """Ten digits of D both ways, and the bound on the policy difference."""
    direct, sup, gap = readme_rows()[name]
    assert DIVERGENCES[name].of.split(" = ")[0] in README.read_text()
    if name == "identity":
        assert (direct, sup) == ("none", "none")
    else:
        assert direct == f"{float(DIVERGENCES[name].exact(column(*DATA), column(*MODEL))):.10f}"
        assert sup == f"{through_phi(name):.10f}"
    assert gap.startswith("< ")
    assert policy_difference(name) < float(gap[2:])
