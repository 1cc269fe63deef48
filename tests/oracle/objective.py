"""The objective on a world's tables: J, its gradient, and the primal optimum min_pi D/alpha - H found directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from oracle import generators
from oracle.generators import GENERATORS
from oracle.world import World


@dataclass(frozen=True)
class Problem:
    """Imitate the data's occupancy [P] from start masses [S] under one divergence.

    `name` is a generator's, or `identity` (no divergence: behavioural cloning), or `chi2_mixture`, for which
    `buffer` [P] is the occupancy of the rollouts.
    """

    world: World
    name: str
    data: Tensor
    start: Tensor
    gamma: float
    alpha: float
    buffer: Tensor | None = None

    def reward(self, logits: Tensor) -> Tensor:
        """[P] r(s, a) = l(a|s) - gamma V(s')."""
        return logits - self.gamma * self.world.value(logits)[self.world.columns[2]]

    def J(self, logits: Tensor) -> float:
        """E_data[phi(alpha r)/alpha] - (1 - gamma) E_start[V], less the mixture's penalty on the rollouts."""
        x = self.alpha * self.reward(logits)
        gain = (self.data * self._phi(x)).sum()
        if self.buffer is not None:
            gain = gain - (self.buffer * _huber(x)).sum()
        return float(gain / self.alpha - (1 - self.gamma) * (self.start * self.world.value(logits)).sum())

    def gradient(self, logits: Tensor) -> Tensor:
        """[P] dJ/dl = mu - pi [(1 - gamma) start + gamma inflow(mu)], mu = data * phi'(r) (less the penalty's)."""
        world, x = self.world, self.alpha * self.reward(logits)
        at, _, to = world.columns
        mu = self.data * self._slope(x)
        if self.buffer is not None:
            mu = mu - self.buffer * x.clamp(-8, 8) / 4
        inflow = torch.zeros_like(self.start).index_add(0, to, mu)
        return mu - world.log_policy(logits).exp() * ((1 - self.gamma) * self.start + self.gamma * inflow)[at]

    def primal(self) -> tuple[Tensor, float]:
        """The policy [P] that minimises D/alpha - H over policies, and that minimum; by direct optimisation."""
        world, at = self.world, self.world.columns[0]
        if self.name == "identity":  # D allows the data's occupancy alone
            mass = torch.zeros_like(self.start).index_add(0, at, self.data)
            policy = self.data / mass[at]
            return policy, float((self.data * policy.log()).sum())

        def cost(logits: Tensor) -> Tensor:
            log_pi = world.log_policy(logits)
            rho = world.occupancy(log_pi.exp(), self.start, self.gamma)
            return self._divergence(rho) / self.alpha + (rho * log_pi).sum()

        logits, least = minimise(cost, torch.zeros(len(world.pairs), dtype=torch.float64))
        rho = world.occupancy(world.log_policy(logits).exp(), self.start, self.gamma)
        assert float((rho / self.data).max()) < generators.RATIO, "the ratio's bound binds: another optimum"
        return world.log_policy(logits).exp(), least

    def bounded(self) -> tuple[Tensor, float]:
        """As `primal`, over occupancies [P] that obey the flow equations and rho <= 10 data."""
        at, _, to = (column.numpy() for column in self.world.columns)
        flow = np.zeros((len(self.start), len(at)))
        np.add.at(flow, (at, np.arange(len(at))), 1.0)
        np.add.at(flow, (to, np.arange(len(at))), -self.gamma)
        source = (1 - self.gamma) * self.start.numpy()

        def cost(point: np.ndarray) -> tuple[float, np.ndarray]:
            rho = torch.from_numpy(point).requires_grad_()
            policy = rho / torch.zeros_like(self.start).index_add(0, self.world.columns[0], rho)[at]
            value = self._divergence(rho) / self.alpha + (rho * policy.log()).sum()
            (gradient,) = torch.autograd.grad(value, rho)
            return float(value.detach()), gradient.numpy()

        found = minimize(
            cost,
            self.data.numpy(),
            jac=True,
            method="SLSQP",
            constraints={"type": "eq", "fun": lambda rho: flow @ rho - source, "jac": lambda _: flow},
            bounds=[(1e-15, generators.RATIO * float(d)) for d in self.data],
            options={"ftol": 1e-16, "maxiter": 1000},
        )
        return torch.from_numpy(found.x), float(found.fun)

    def _divergence(self, rho: Tensor) -> Tensor:
        if self.name == "chi2_mixture":
            assert self.buffer is not None
            return (2 * (rho - self.data) ** 2 / (self.data + self.buffer)).sum()
        return generators.divergence(GENERATORS[self.name], self.data, rho)

    def _phi(self, x: Tensor) -> Tensor:
        if self.name == "identity":
            return x
        return x - _huber(x) if self.name == "chi2_mixture" else generators.phi(GENERATORS[self.name], x)

    def _slope(self, x: Tensor) -> Tensor:
        if self.name == "identity":
            return torch.ones_like(x)
        return 1 - x.clamp(-8, 8) / 4 if self.name == "chi2_mixture" else generators.slope(GENERATORS[self.name], x)


def _huber(x: Tensor) -> Tensor:
    return torch.where(x.abs() <= 8, x**2 / 8, 2 * x.abs() - 8)


def minimise(cost: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, float]:
    """Minimiser and minimum of a smooth function, to rounding: a trust region, then Newton steps.

    Directions without curvature (a constant added to one state's logits, say) are left alone.
    """

    def both(point: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(point).requires_grad_()
        value = cost(x)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient.numpy()

    def hessian(point: np.ndarray) -> np.ndarray:
        found = torch.autograd.functional.hessian(cost, torch.from_numpy(point), vectorize=True)  # type: ignore[no-untyped-call]
        return np.asarray(found)

    x = minimize(both, start.numpy(), jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-7}).x
    for _ in range(3):
        x = x - np.linalg.pinv(hessian(x), rcond=1e-11, hermitian=True) @ both(x)[1]
    value, slopes = both(x)
    assert np.abs(slopes).max() < 1e-10, f"no minimum: the gradient is {np.abs(slopes).max():.1e}"
    return torch.from_numpy(x), value
