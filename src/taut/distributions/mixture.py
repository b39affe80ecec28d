"""Finite mixtures of densities of one family.

    p(z) = Σ_k w_k p_k(z),   Σ_k w_k = 1

    log p(z) = logsumexp_k ( log w_k + log p_k(z) )        (N,) nats

For diagonal normals the N × K component densities are matrix products, since the squares come apart:

    Σ_d (z_d − μ_kd)²/σ_kd² = Σ_d z_d² σ_kd⁻² − 2 Σ_d z_d μ_kd σ_kd⁻² + Σ_d μ_kd² σ_kd⁻²

which needs no (N, K, D) array. The three terms may nearly cancel, so they are summed in double precision: the result is
as exact as that of the direct form in single precision and many times faster.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = ["Mixture"]

_LOG_2PI = math.log(2 * math.pi)
_ELEMENTS = 2**24  # numbers held at once while sampling components that cannot be indexed


class Mixture(Distribution):
    """Σ_k w_k p_k(z), the same for each of N rows.

    Args:
        components: the densities p_k, batch shape (K,).
        log_weights: log w_k up to a constant, (K,).
        rows: N.

    >>> zeros = torch.zeros(2, 1)
    >>> p = Mixture(DiagonalNormal(torch.tensor([[-1.0], [1.0]]), zeros), torch.zeros(2), rows=1)
    >>> round(p.log_prob(torch.zeros(1, 1)).item(), 4)
    -1.4189
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    components: Distribution
    log_weights: Tensor

    def __init__(self, components: Distribution, log_weights: Tensor, rows: int) -> None:
        self.components, self.log_weights = components, log_weights.log_softmax(0)
        super().__init__(torch.Size([rows]), components.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Σ_k w_k E[z | k], shape (N, *event)."""
        mean = torch.tensordot(self.log_weights.exp(), self.components.mean, 1)
        return mean.expand(*self.batch_shape, *mean.shape)

    @property
    def variance(self) -> Tensor:
        """Σ_k w_k ( Var[z | k] + (E[z | k] − E[z])² ), shape (N, *event)."""
        apart = (self.components.mean - self.mean[:1]).square()
        variance = torch.tensordot(self.log_weights.exp(), self.components.variance + apart, 1)
        return variance.expand(*self.batch_shape, *variance.shape)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """z ~ p_k with k ~ w; no gradient passes through the choice of k."""
        shape = (*sample_shape, *self.batch_shape)
        n = math.prod(shape)
        chosen = torch.multinomial(self.log_weights.exp(), n, replacement=True) if n else self.log_weights.new_zeros(0)
        return self._draw(chosen.long()).view(*shape, *self.event_shape)

    def _draw(self, chosen: Tensor) -> Tensor:
        """One draw of each chosen component, (n,) → (n, *event)."""
        p = self.components
        if hasattr(p, "rows"):
            return p.rows(chosen).sample()
        at_once = max(1, _ELEMENTS // (len(self.log_weights) * max(1, self.event_shape.numel())))
        return torch.cat([self._draw_together(some) for some in chosen.split(at_once)])

    def _draw_together(self, chosen: Tensor) -> Tensor:
        """The same, from as many draws of every component as the one that is chosen most often needs."""
        counts = chosen.bincount(minlength=len(self.log_weights))
        order = chosen.argsort(stable=True)
        place = torch.empty_like(chosen)  # the how-manieth choice of its component each is
        place[order] = torch.arange(len(chosen), device=chosen.device) - (counts.cumsum(0) - counts)[chosen[order]]
        return self.components.sample((int(counts.max()),))[place, chosen]

    def log_prob(self, value: Tensor) -> Tensor:
        batch = value.shape[: value.dim() - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape)
        return self.log_joint(rows).logsumexp(1).to(value.dtype).view(batch)

    def log_joint(self, value: Tensor) -> Tensor:
        """log w_k + log p_k(z_n) for values (N, *event), (N, K) nats."""
        return self._component_log_prob(value) + self.log_weights

    def _component_log_prob(self, z: Tensor) -> Tensor:
        """log p_k(z_n), (N, K) nats."""
        p = self.components
        if type(p) is not DiagonalNormal or z.device.type == "mps":  # which has no double precision
            return p.log_prob(z.unsqueeze(1).expand(-1, len(self.log_weights), *self.event_shape))
        z, mu, log_scale = (tensor.flatten(1).double() for tensor in (z, p.mu, p.log_scale))
        precision = (-2 * log_scale).exp()
        weighed = mu * precision
        constant = (mu * weighed + 2 * log_scale).sum(1) + mu.shape[1] * _LOG_2PI
        return z @ weighed.T - 0.5 * (z.square() @ precision.T + constant)


@tempered.register
def _(p: Mixture, temperature: float) -> Distribution:
    """The spread of every component is scaled; their places and weights stay."""
    if temperature == 1:
        return p
    return Mixture(tempered(p.components, temperature), p.log_weights, p.batch_shape[0])
