"""Divergences between the occupancies of model and data, in the form that SequenceMatch uses.

With m the model's occupancy, d the data's and r the implied reward,

    D_f = sup_r E_d[phi(r)] - E_m[r],        phi(x) = -f*(-x),        m/d = phi'(r*)

standardised so that phi(0) = 0 and phi'(0) = 1; every phi is concave.  Below the cut, where phi' = 10, phi goes on
linearly with slope 10: this is D_f under the constraint m/d <= 10, and it keeps arguments off the poles.  Both
arguments of D are always named, since "forward" and "reverse" alone mislead.

Sources: Cundy & Ermon, arXiv 2306.05426; Garg et al., arXiv 2106.12142 (IQ-Learn: phi = -f*(-x) and its tables);
Al-Hafez et al., arXiv 2303.00599 (LS-IQ: chi2 against the mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.registry import DIVERGENCES as DIVERGENCES  # `DIVERGENCES[name]`, built-in and third-party alike

if TYPE_CHECKING:  # planning a grid reads the facts of a divergence, and waits for no torch
    from torch import Tensor

SLOPE = 10.0  # the largest phi', reached at the cut
Formula: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Divergence:
    """One divergence; make it with `@divergence` from its phi.

    Attributes:
        name: as the registry knows it.
        of: D with both arguments, as a formula.
        formula: phi between the cut and the flat point, elementwise.
        exact: (data, model) distributions [..., X] -> D [...], computed directly from D's definition.
        curvature: -phi''(0): the strength of the regulariser at equal alpha.
        domain: the pole of the formula, or -inf.
        cut: where phi' = 10 (-inf where phi' never reaches it).
        flat: phi is constant above it (f's own constraint m >= 0), or inf.
        penalty: convex, added to the loss of expert and rollout steps alike; None needs no rollouts.
    """

    name: str
    of: str
    formula: Formula
    exact: Callable[[Tensor, Tensor], Tensor]
    curvature: float
    domain: float = -math.inf
    cut: float = -math.inf
    flat: float = math.inf
    penalty: Formula | None = None

    def phi(self, x: Tensor) -> Tensor:
        """phi(x) for any x: finite, concave, C1.

        >>> import torch
        >>> DIVERGENCES["kl_data_model"].phi(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.6931])
        """
        inside = self.formula(x.clamp(self.cut, self.flat))
        return inside if self.cut == -math.inf else inside - SLOPE * (self.cut - x).relu()  # relu: no slope at the cut

    def slope(self, x: Tensor) -> Tensor:
        """phi'(x) in [0, 10] for any x, without gradient; at the optimum it is m/d.

        >>> import torch
        >>> DIVERGENCES["kl_data_model"].slope(torch.tensor([0.0, 1.0, -5.0]))
        tensor([ 1.0000,  0.5000, 10.0000])
        """
        import torch

        with torch.enable_grad():
            at = x.detach().requires_grad_()
            return torch.autograd.grad(self.phi(at).sum(), at)[0]

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.formula.__doc__


def divergence(
    of: str,
    exact: Callable[[Tensor, Tensor], Tensor],
    *,
    curvature: float,
    domain: float = -math.inf,
    cut: float = -math.inf,
    flat: float = math.inf,
    penalty: Formula | None = None,
) -> Callable[[Formula], Divergence]:
    """Decorator: the decorated function is phi, its name the divergence's; arguments as in `Divergence`."""

    def make(phi: Formula) -> Divergence:
        return Divergence(phi.__name__, of, phi, exact, curvature, domain, cut, flat, penalty)

    return make


@divergence("none", lambda d, m: (d + m)[..., 0].mul(0), curvature=0.0)
def identity(x: Tensor) -> Tensor:
    """phi(x) = x: no regulariser, so SequenceMatch is behavioural cloning."""
    return 1 * x


@divergence(
    "KL(data‖model) = sum d log(d/m)",
    lambda d, m: (d.xlogy(d) - d.xlogy(m)).sum(-1),
    curvature=1.0,
    domain=-1.0,
    cut=-0.9,
)
def kl_data_model(x: Tensor) -> Tensor:
    """phi(x) = log(1 + x) on x > -1; phi' = 1/(1 + x)."""
    return x.log1p()


@divergence(
    "KL(model‖data) = sum m log(m/d)",
    lambda d, m: (m.xlogy(m) - m.xlogy(d)).sum(-1),
    curvature=1.0,
    cut=-math.log(10),
)
def kl_model_data(x: Tensor) -> Tensor:
    """phi(x) = 1 - exp(-x); phi' = exp(-x).  IQ-Learn's code calls this one "forward KL"."""
    return -(-x).expm1()


@divergence(
    "2 JSD = KL(model‖mixture) + KL(data‖mixture)",
    lambda d, m: (m.xlogy(m) + d.xlogy(d) - m.xlogy((m + d) / 2) - d.xlogy((m + d) / 2)).sum(-1),
    curvature=2.0,
    domain=-math.log(2),
    cut=-math.log(20 / 11),
)
def js(x: Tensor) -> Tensor:
    """phi(x) = log(2 - exp(-x)) on x > -log 2; phi' = 1/(2 exp(x) - 1)."""
    return (-(-x).expm1()).log1p()


@divergence("Pearson chi2 = sum (m - d)^2 / d", lambda d, m: ((m - d) ** 2 / d).sum(-1), curvature=0.5, cut=-18, flat=2)
def chi2(x: Tensor) -> Tensor:
    """phi(x) = x - x^2/4 below 2, then 1; phi' = max(1 - x/2, 0).  The flat part is f's own constraint m >= 0."""
    return x - x**2 / 4


@divergence(
    "Neyman chi2 = sum (m - d)^2 / m",
    lambda d, m: ((m - d) ** 2 / m).sum(-1),
    curvature=0.5,
    domain=-1.0,
    cut=-0.99,
)
def neyman(x: Tensor) -> Tensor:
    """phi(x) = 2 sqrt(1 + x) - 2 on x > -1; phi' = (1 + x)^(-1/2)."""
    return 2 * (1 + x).sqrt() - 2


@divergence(
    "squared Hellinger = sum (sqrt m - sqrt d)^2",
    lambda d, m: ((m.sqrt() - d.sqrt()) ** 2).sum(-1),
    curvature=2.0,
    domain=-1.0,
    cut=1 / math.sqrt(10) - 1,
)
def hellinger(x: Tensor) -> Tensor:
    """phi(x) = x/(1 + x) on x > -1; phi' = (1 + x)^-2.  Beyond the pole the formula is finite and silently wrong."""
    return x / (1 + x)


@divergence(
    "Le Cam = 2 chi2(data‖mixture) = sum (m - d)^2 / (m + d)",
    lambda d, m: ((m - d) ** 2 / (m + d)).sum(-1),
    curvature=1.0,
    domain=-1.0,
    cut=-117 / 121,
    flat=3,
)
def lecam(x: Tensor) -> Tensor:
    """phi(x) = 4 sqrt(1 + x) - x - 4 on -1 < x < 3, then 1; phi' = max(2/sqrt(1 + x) - 1, 0)."""
    return 4 * (1 + x).sqrt() - x - 4


@divergence(
    "2 KL(data‖mixture) = 2 sum d log(2 d/(m + d))",
    lambda d, m: 2 * (d.xlogy(d) - d.xlogy((m + d) / 2)).sum(-1),
    curvature=2.0,
    domain=-1.0,
    cut=-9 / 11,
    flat=1,
)
def kl_mixture(x: Tensor) -> Tensor:
    """phi(x) = 2 log(1 + x) - x on -1 < x < 1, then 2 log 2 - 1; phi' = max(2/(1 + x) - 1, 0)."""
    return 2 * x.log1p() - x


def huber8(x: Tensor) -> Tensor:
    """x^2/8 up to |x| = 8, then linear with slope 2; at the on-policy optimum |x| <= 4."""
    size = x.abs().clamp(max=8.0)
    return size * (2 * x.abs() - size) / 8


@divergence(
    "2 sum (m - d)^2 / (d + q), q the occupancy of the rollouts (q = m when they are fresh)",
    lambda d, m: 2 * ((m - d) ** 2 / (m + d)).sum(-1),
    curvature=0.5,
    penalty=huber8,
)
def chi2_mixture(x: Tensor) -> Tensor:
    """phi(x) = x with the penalty x^2/8 on expert and rollout steps: the paper's loss, in the form of LS-IQ.

    With fresh rollouts its fixed point is that of kl_mixture at alpha/4, as long as m - d <= 2 (d + q); beyond that
    the penalty is linear and binds.
    """
    return 1 * x
