"""Contract of every divergence: registering it is enough to be tested here.

An author gives phi, D, the cut and the flat point; nothing else about them is used.
"""

from __future__ import annotations

import math

import pytest
import torch
from oracle.third_party import DIVERGENCE_NAMES
from torch import Tensor

from trainers.divergences import DIVERGENCES, SLOPE, Divergence

EVERYWHERE = torch.cat(
    [torch.linspace(-200, 60, 2601, dtype=torch.float64), torch.linspace(-2, 4, 6001, dtype=torch.float64)]
).sort()[0]


@pytest.fixture(params=DIVERGENCE_NAMES)
def divergence(request: pytest.FixtureRequest) -> Divergence:
    found: Divergence = DIVERGENCES[request.param]
    return found


def at(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def penalty_slope(divergence: Divergence, x: Tensor) -> Tensor:
    """h'(x) of a mixture's penalty, 0 for the others."""
    if divergence.penalty is None:
        return torch.zeros_like(x)
    x = x.detach().requires_grad_()
    return torch.autograd.grad(divergence.penalty(x).sum(), x)[0]


def test_it_is_standardised(divergence: Divergence) -> None:
    """phi(0) = 0 and phi'(0) = 1: alpha means the same for all, and r = 0 where model and data agree."""
    assert float(divergence.phi(at(0))) == pytest.approx(0, abs=1e-15)
    assert float(divergence.slope(at(0))) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_is_finite_everywhere(divergence: Divergence, dtype: torch.dtype) -> None:
    """From -200 to 60, with a finite gradient, in the type that came in: no pole is ever met."""
    x = EVERYWHERE.to(dtype)
    assert divergence.phi(x).dtype == divergence.slope(x).dtype == dtype
    assert torch.isfinite(divergence.phi(x)).all()
    assert torch.isfinite(divergence.slope(x)).all()


def test_it_is_concave_with_slopes_between_0_and_the_cap(divergence: Divergence) -> None:
    """phi' is the ratio model/data: it never rises with x and stays in [0, 10]."""
    slope = divergence.slope(EVERYWHERE)
    assert float(slope.diff().max()) <= 1e-12
    assert float(slope.min()) >= 0
    assert float(slope.max()) <= SLOPE * (1 + 1e-12)
    rise = divergence.phi(EVERYWHERE).diff() / EVERYWHERE.diff().clamp(min=1e-300)
    distinct = EVERYWHERE.diff() > 1e-6
    assert (rise[distinct] <= slope[:-1][distinct] + 1e-8).all()
    assert (rise[distinct] >= slope[1:][distinct] - 1e-8).all()


def test_it_is_smooth_at_the_cut_and_the_flat_point(divergence: Divergence) -> None:
    """C1: value and slope just below, at and just above agree; the slopes there are 10 and 0."""
    for point, slope in ((divergence.cut, SLOPE), (divergence.flat, 0.0)):
        if math.isinf(point):
            continue
        x = at(point - 1e-12, point, point + 1e-12)
        assert divergence.slope(x).tolist() == pytest.approx([slope] * 3, abs=1e-8)
        assert divergence.phi(x).tolist() == pytest.approx([float(divergence.phi(at(point)))] * 3, abs=1e-8)
    if not math.isinf(divergence.cut):
        assert divergence.cut > divergence.domain
        assert float(divergence.slope(at(-200))) == pytest.approx(SLOPE)
    if not math.isinf(divergence.flat):
        assert float(divergence.phi(at(60))) == float(divergence.phi(at(divergence.flat)))


def test_curvature(divergence: Divergence) -> None:
    """-phi''(0), a mixture's penalty counted on both sides: what `equal strength` divides alpha by.

    By a central difference of slopes with step 1e-5, exact to its square.
    """
    x = at(-1e-5, 1e-5)
    slopes = divergence.slope(x) - 2 * penalty_slope(divergence, x)
    assert float(slopes[0] - slopes[1]) / 2e-5 == pytest.approx(divergence.curvature, abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_D_directly_is_the_sup_over_rewards(divergence: Divergence, seed: int) -> None:
    """D = sum over x of the largest d phi(r) - m r, found by bisection on d phi'(r) = m; ratios below 10.

    A mixture pays its penalty under d and, with fresh rollouts, under m: d phi'(r) = m + (d + m) h'(r).
    """
    generator = torch.Generator().manual_seed(seed)
    data, model = (torch.rand(7, dtype=torch.float64, generator=generator) + 0.2 for _ in range(2))
    data, model = data / data.sum(), model / model.sum()
    if divergence.curvature == 0:  # no D: equal occupancies are the only ones allowed, and there it is 0
        model = data
    low, high = at(-200).expand(7), at(60).expand(7)
    for _ in range(100):
        r = (low + high) / 2
        rising = data * divergence.slope(r) - (data + model) * penalty_slope(divergence, r) > model
        low, high = torch.where(rising, r, low), torch.where(rising, high, r)
    penalty = torch.zeros_like(r) if divergence.penalty is None else divergence.penalty(r)
    sup = (data * divergence.phi(r) - model * r - (data + model) * penalty).sum()
    assert float(divergence.exact(data, model)) == pytest.approx(float(sup), abs=1e-10)


def test_D_is_0_for_equals_and_positive_otherwise(divergence: Divergence) -> None:
    """And it works on stacked distributions, [..., X] -> [...]."""
    data, model = at(0.5, 0.3, 0.2), at(0.2, 0.6, 0.2)
    both = divergence.exact(torch.stack([data, data]), torch.stack([data, model]))
    assert both.shape == (2,)
    assert float(both[0]) == pytest.approx(0, abs=1e-15)
    assert float(both[1]) > 0.05 or divergence.curvature == 0


def test_it_says_what_it_is(divergence: Divergence) -> None:
    """Both arguments of D are named, unless there is no D; and its docstring gives phi."""
    assert divergence.__doc__ is not None
    assert "phi(x) =" in divergence.__doc__
    named = all(any(word in divergence.of for word in pair) for pair in (("data", "d"), ("model", "m")))
    assert named or divergence.curvature == 0
