"""The logistic distribution integrated over bins: a probability of whole numbers 0 … L−1.

With F the logistic distribution function of location m and scale s, both in units of one level,

    P(x = k) = F(k + ½) − F(k − ½),   P(0) = F(½),   P(L − 1) = 1 − F(L − 3/2)

so that the edge bins take the tails and the probabilities sum to one (Salimans et al. 2017, Kingma et al. 2016).
For a = (k − ½ − m)/s and b = (k + ½ − m)/s the difference is taken without cancellation:

    log( F(b) − F(a) ) = log σ(b) + log σ(−a) + log(1 − e^{a − b})

A mixture of K such variables with weights π_i has P(x = k) = Σ_i π_i P_i(x = k), by a log-sum-exp of the above.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.nn.functional import logsigmoid, softplus

__all__ = ["DiscretisedLogistic", "DiscretisedLogisticMixture"]


def _levels(like: Tensor, levels: int) -> Tensor:
    return torch.arange(levels, dtype=like.dtype, device=like.device)


def _log_differences(masses: Tensor) -> Tensor:
    """log( F(k) − F(k − 1) ) along the last axis, kept from −∞."""
    first = masses[..., :1]
    return torch.cat([first, masses.diff(dim=-1)], -1).clamp_min(torch.finfo(masses.dtype).tiny).log()


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

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    location: Tensor
    log_scale: Tensor
    levels: int

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

    def level_log_probs(self) -> Tensor:
        """log P(x = k) of every level, (..., L), of differences of the distribution function: quick, and exact to the last
        digit of one, not of the probability.
        """
        return _log_differences(DiscretisedLogistic(*(part.unsqueeze(-1) for part in (self.location, self.log_scale)),
                                                    self.levels).cdf(_levels(self.location, self.levels)))  # fmt: skip

    @property
    def mean(self) -> Tensor:
        """The mean of the clamped variable before rounding: within half a level of E[x]."""
        scale = self.log_scale.exp()
        top = self.levels - 1.0
        exact = scale * (softplus(self.location / scale) - softplus((self.location - top) / scale))
        # ∫₀^top σ((m − t)/s) dt; where s ≫ top the difference cancels and the midpoint is the better number
        flat = top * torch.sigmoid((self.location - top / 2) / scale)
        return torch.where(scale > 100 * top, flat, exact).clamp(0.0, top)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = (*sample_shape, *self.location.shape)
        uniform = torch.rand(shape, dtype=self.location.dtype, device=self.location.device)
        uniform = uniform.clamp(torch.finfo(uniform.dtype).eps, 1 - torch.finfo(uniform.dtype).eps)
        return (self.location + self.log_scale.exp() * uniform.logit()).round().clamp(0, self.levels - 1)


class DiscretisedLogisticMixture(Distribution):
    """A mixture of K rounded, clamped logistic variables on {0, …, levels − 1}, elementwise.

    Args:
        logits: log π_i up to a constant, shape (…, K).
        location: m_i, the same shape, in levels.
        log_scale: log s_i, the same shape.
        levels: L ≥ 2, how many values there are.

    >>> two = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 6.0]), torch.tensor([-1.0, -1.0])
    >>> d = DiscretisedLogisticMixture(*two, levels=8)
    >>> round(d.log_prob(torch.arange(8.0)).exp().sum().item(), 5), d.mean
    (1.0, tensor(3.5000))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    log_weights: Tensor
    components: DiscretisedLogistic

    def __init__(self, logits: Tensor, location: Tensor, log_scale: Tensor, levels: int) -> None:
        self.log_weights = logits.log_softmax(-1)
        self.components = DiscretisedLogistic(location, log_scale, levels)
        super().__init__(location.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + self.components.log_prob(value.unsqueeze(-1)), -1)

    def cdf(self, value: Tensor) -> Tensor:
        """P(x ≤ value) for whole numbers."""
        return (self.log_weights.exp() * self.components.cdf(value.unsqueeze(-1))).sum(-1)

    def level_log_probs(self) -> Tensor:
        """log P(x = k) of every level, (..., L), as exact as those of one logistic."""
        d = self.components
        each = DiscretisedLogistic(d.location.unsqueeze(-1), d.log_scale.unsqueeze(-1), d.levels)
        mass = each.cdf(_levels(d.location, d.levels))  # (..., K, L)
        return _log_differences(torch.einsum("...k,...kl->...l", self.log_weights.exp(), mass))

    @property
    def mean(self) -> Tensor:
        """The mean of the clamped variables before rounding: within half a level of E[x]."""
        return (self.log_weights.exp() * self.components.mean).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        chosen = Categorical(logits=self.log_weights, validate_args=False).sample(sample_shape).unsqueeze(-1)
        d = self.components
        location, log_scale = (
            part.expand(*sample_shape, *part.shape).gather(-1, chosen).squeeze(-1) for part in (d.location, d.log_scale)
        )
        return DiscretisedLogistic(location, log_scale, d.levels).sample()
