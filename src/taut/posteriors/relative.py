"""Normal posteriors that start from the prior of their layer, for hierarchies whose priors are normal given the layers above.

With p = N(μ_p, diag σ_p²) and numbers of the encoder's,

    RelativeNormal    μ = μ_p + σ_p Δμ,   σ = σ_p Δσ        KL(q ‖ p) = ½ Σ ( Δμ² + Δσ² − 1 ) − log Δσ
    PrecisionNormal   1/σ² = 1/σ_p² + 1/σ_e²,   μ/σ² = μ_p/σ_p² + μ_e/σ_e²

Either is the prior where the encoder says nothing: Δμ = 0, Δσ = 1; or σ_e → ∞.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from taut import distributions
from taut.distributions import soft
from taut.posteriors.base import Posterior, PosteriorModule
from taut.posteriors.normal import Scaled

__all__ = ["PrecisionNormal", "RelativeNormal"]


class _Following(Posterior):
    """What a diagonal normal placed by another one can do."""

    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True
    reads_prior: ClassVar[bool] = True
    follows: ClassVar[bool] = True


@dataclass(frozen=True)
class RelativeNormal(_Following):
    """q(z|x) = N(μ_p + σ_p Δμ(x), diag (σ_p Δσ(x))²), the residual normal of NVAE (Vahdat and Kautz 2020) with its
    shift in units of the prior's σ: when the prior moves, q moves with it.

    The divergence uses this density itself; against the prior it is in closed form.
    """

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Relative(event, distributions.DiagonalNormal)


class _Relative(Scaled):
    def forward(self, params: Tensor, p: Distribution | None = None) -> distributions.DiagonalNormal:
        p = _beside(p, params, self.event)
        shift, raw = params.view(params.shape[0], 2, *self.event).unbind(1)
        return distributions.DiagonalNormal(
            torch.addcmul(p.mu, p.log_scale.exp(), shift), p.log_scale + soft(raw, self.bound)
        )


@dataclass(frozen=True)
class PrecisionNormal(_Following):
    """q(z|x) ∝ p(z) N(z; μ_e(x), diag σ_e²(x)): prior and evidence weighed by their precisions, the ladder VAE's (Sønderby et
    al. 2016). q is never wider than the prior.

    The divergence uses this density itself; against the prior it is in closed form.
    """

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Precision(event, distributions.DiagonalNormal)


class _Precision(Scaled):
    def forward(self, params: Tensor, p: Distribution | None = None) -> distributions.DiagonalNormal:
        p = _beside(p, params, self.event)
        mean, raw = params.view(params.shape[0], 2, *self.event).unbind(1)
        log_ratio = 2 * (p.log_scale - soft(raw, self.bound))  # log of the evidence's precision over the prior's
        told = torch.sigmoid(log_ratio)  # the evidence's share of the whole
        return distributions.DiagonalNormal(torch.lerp(p.mu, mean, told), p.log_scale + 0.5 * logsigmoid(-log_ratio))


def _beside(p: Distribution | None, params: Tensor, event: tuple[int, ...]) -> distributions.DiagonalNormal:
    """The prior beside which q is found; N(0, I) where none is given."""
    if p is not None and not isinstance(p, distributions.DiagonalNormal):
        raise TypeError(f"{type(p).__name__} is no normal of independent elements")
    if p is not None:
        return p
    zero = params.new_zeros(len(params), *event)
    return distributions.DiagonalNormal(zero, zero)
