"""The inverse autoregressive flow: a diagonal normal seen through maps that are quick to draw from (Kingma et al. 2016).

    u ~ N(μ, diag σ²),   z = F_T ∘ … ∘ F_1 (u)

    log q(z) = log N(u; μ, diag σ²) − Σ_t log |det ∂F_t|        (N,) nats

Each map takes one pass to apply, so that a draw and its density come together, :meth:`rsample_and_log_prob`; the density
of any other z needs every map inverted, in as many steps as z has elements, though no more arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.flow import full_precision
from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = ["InverseAutoregressive"]

_AT_ONCE = 8192  # vectors inverted together: many for each small step, few for a processor's cache


class Map(Protocol):
    """An invertible map of vectors (..., N, D), with a context (N, ...) for each of the N."""

    def __call__(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., N, D) and log |det ∂z/∂u| (..., N)."""
        ...

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """u (..., N, D) and log |det ∂z/∂u| (..., N)."""
        ...


class InverseAutoregressive(Distribution):
    """The density of z = F_T ∘ … ∘ F_1 (u).

    Its mean has no closed form. What it calls so, for codes and active units, is its ``centre``, the image of the mean of
    u: a value that z can take, equal to E[z] where the maps are linear and near it where u is narrow. No variance is
    given.

    Args:
        base: the density of u, batch shape (N,), event shape (D,).
        maps: F_1 … F_T.
        contexts: of each map, (N, ...).
        event: shape of one z, of D elements.
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the posteriors see to it

    base: DiagonalNormal
    maps: Sequence[Map]
    contexts: Sequence[Tensor]

    def __init__(
        self, base: DiagonalNormal, maps: Sequence[Map], contexts: Sequence[Tensor], event: tuple[int, ...]
    ) -> None:
        self.base, self.maps, self.contexts = base, maps, contexts
        super().__init__(base.batch_shape, torch.Size(event), validate_args=False)

    @property
    def centre(self) -> Tensor:
        """F(μ), (N, *event)."""
        return self._image(self.base.mu)[0]

    @property
    def mean(self) -> Tensor:
        """F(μ), (N, *event), which stands for E[z]."""
        return self.centre

    def _image(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., N, *event) and log |det ∂z/∂u| (..., N)."""
        log_det = torch.zeros_like(u[..., 0])
        with full_precision(u):
            for each, context in zip(self.maps, self.contexts, strict=True):
                u, more = each(u, context)
                log_det = log_det + more
        return u.unflatten(-1, self.event_shape), log_det

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self._image(self.base.rsample(sample_shape))[0]

    def rsample_and_log_prob(self) -> tuple[Tensor, Tensor]:
        """z ~ q and log q(z), (N, *event) and (N,) nats, in one pass; gradients reach every parameter through both."""
        u = self.base.rsample()
        z, log_det = self._image(u)
        return z, self.base.log_prob(u) - log_det

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        u, log_base = self.base.from_noise(noise.flatten(1))
        z, log_det = self._image(u)
        return z, log_base - log_det

    def to_noise(self, value: Tensor) -> Tensor:
        """In as many steps as z has elements for each map."""
        z = value.flatten(1).unsqueeze(0)
        with full_precision(z):
            for each, context in zip(reversed(self.maps), reversed(self.contexts), strict=True):
                z, _ = each.inverse(z, context)
        return self.base.to_noise(z.squeeze(0)).unflatten(1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        z = value.flatten(-len(self.event_shape))
        shape = torch.broadcast_shapes(z.shape, self.base.mu.shape)
        rows = z.expand(shape).reshape(-1, *self.base.mu.shape)
        some = max(1, _AT_ONCE // max(1, self.batch_shape[0]))
        return torch.cat([self._log_prob(chunk) for chunk in rows.split(some)]).view(shape[:-1])

    def _log_prob(self, z: Tensor) -> Tensor:
        """log q(z) of (S, N, D), (S, N) nats."""
        log_det = torch.zeros_like(z[..., 0])
        with full_precision(z):
            for each, context in zip(reversed(self.maps), reversed(self.contexts), strict=True):
                z, more = each.inverse(z, context)
                log_det = log_det + more
        return self.base.log_prob(z) - log_det


@tempered.register
def _(p: InverseAutoregressive, temperature: float) -> Distribution:
    """The spread of u is scaled, as with :class:`taut.distributions.Flow`."""
    if temperature == 1:
        return p
    return InverseAutoregressive(tempered(p.base, temperature), p.maps, p.contexts, p.event_shape)
