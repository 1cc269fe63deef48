"""The f-divergences from their convex generators alone: D = sum_x d(x) f(m(x)/d(x)), f(1) = f'(1) = 0.

phi(x) = min over 0 <= u <= 10 of x u + f(u), whose minimiser is phi'(x): found here by bisection on f', so that no
closed form of phi, phi', pole, cut or flat point is shared with the project.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.special import xlogy

F = Callable[[Tensor], Tensor]
RATIO = 10.0  # the largest m/d

GENERATORS: dict[str, F] = {
    "kl_data_model": lambda u: u - 1 - u.log(),
    "kl_model_data": lambda u: xlogy(u, u) - u + 1,
    "js": lambda u: xlogy(u, u) - xlogy(1 + u, (1 + u) / 2),
    "chi2": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (u - 1) ** 2 / u,
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "lecam": lambda u: (u - 1) ** 2 / (u + 1),
    "kl_mixture": lambda u: u - 1 - 2 * ((1 + u) / 2).log(),
}


def slope(f: F, x: Tensor) -> Tensor:
    """phi'(x): the u in [0, 10] with f'(u) = -x, or the end of the interval on that side."""
    low, high = torch.zeros_like(x), torch.full_like(x, RATIO)
    for _ in range(120):
        middle = ((low + high) / 2).requires_grad_()
        (rise,) = torch.autograd.grad(f(middle).sum(), middle)
        too_far = rise > -x
        middle = middle.detach()
        low, high = torch.where(too_far, low, middle), torch.where(too_far, middle, high)
    return (low + high) / 2


def phi(f: F, x: Tensor) -> Tensor:
    """phi(x) = min_u x u + f(u)."""
    u = slope(f, x)
    return x * u + f(u)


def divergence(f: F, data: Tensor, model: Tensor) -> Tensor:
    """D over whatever has data."""
    seen = data > 0
    return (data[seen] * f(model[seen] / data[seen])).sum()
