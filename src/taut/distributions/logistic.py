"""The logistic distribution integrated over bins: a probability of whole numbers 0 … L−1.

With F the logistic distribution function of location m and scale s, both in units of one level,

    P(x = k) = F(k + ½) − F(k − ½),   P(0) = F(½),   P(L − 1) = 1 − F(L − 3/2)

so that the edge bins take the tails and the probabilities sum to one (Salimans et al. 2017, Kingma et al. 2016).
For a = (k − ½ − m)/s and b = (k + ½ − m)/s the difference is taken without cancellation:

    log( F(b) − F(a) ) = log σ(b) + log σ(−a) + log(1 − e^{a − b})
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid, softplus

__all__ = ["DiscretisedLogistic"]


class DiscretisedLogistic(Distribution):
    """A rounded, clamped logistic variable on {0, …, levels − 1}, elementwise.

    Args:
        location: m, any shape, in levels.
        log_scale: log s, the same shape.
        levels: L ≥ 2, how many values there are.

    >>> d = DiscretisedLogistic(torch.tensor(3.2), torch.tensor(0.0), 8)
    >>> round(d.log_prob(torch.arange(8.0)).exp().sum().item(), 5)
    1.0
    """

    arg_constraints: ClassVar[dict] = {}  # nothing is checked here: the heads see to it

    def __init__(self, location: Tensor, log_scale: Tensor, levels: int) -> None:
        self.location, self.log_scale, self.levels = location, log_scale, levels
        super().__init__(location.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        width = (-self.log_scale).exp()
        upper = (value + 0.5 - self.location) * width
        lower = upper - width
        below = torch.where(value < self.levels - 1.5, logsigmoid(upper), 0.0)
        above = torch.where(value > 0.5, logsigmoid(-lower), 0.0)
        inside = (value > 0.5) & (value < self.levels - 1.5)
        return below + above + torch.where(inside, torch.log(-torch.expm1(-width)), 0.0)

    def cdf(self, value: Tensor) -> Tensor:
        """P(x ≤ value) for whole numbers."""
        inner = torch.sigmoid((value + 0.5 - self.location) * (-self.log_scale).exp())
        return torch.where(value < self.levels - 1.5, inner, 1.0)

    @property
    def mean(self) -> Tensor:
        """The mean of the clamped variable before rounding: within half a level of E[x]."""
        scale = self.log_scale.exp()
        top = self.levels - 1.0
        exact = scale * (softplus(self.location / scale) - softplus((self.location - top) / scale))
        # ∫₀^top σ((m − t)/s) dt; where s ≫ top the difference cancels and the midpoint is the better number
        flat = top * torch.sigmoid((self.location - top / 2) / scale)
        return torch.where(scale > 100 * top, flat, exact).clamp(0, top)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = (*sample_shape, *self.location.shape)
        uniform = torch.rand(shape, dtype=self.location.dtype, device=self.location.device)
        uniform = uniform.clamp(torch.finfo(uniform.dtype).eps, 1 - torch.finfo(uniform.dtype).eps)
        return (self.location + self.log_scale.exp() * uniform.logit()).round().clamp(0, self.levels - 1)
