"""Posteriors of any shape by a normalising flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taut import distributions
from taut.distributions.flow import full_precision
from taut.networks import Gated
from taut.networks.base import Activation, Modules, positive
from taut.posteriors.base import Posterior, PosteriorModule
from taut.posteriors.normal import DiagonalNormal

__all__ = ["IAF"]


@dataclass(frozen=True)
class IAF(Posterior):
    """A diagonal normal seen through inverse autoregressive maps, dependent and of any shape (Kingma et al. 2016).

    u ~ N(μ(x), diag σ²(x)), then at each map z_d ← g_d z_d + (1 − g_d) m_d with m and the gates g from a masked network of
    z_<d and a context c(x) that the encoder gives; the order of the latents turns round from map to map. It starts near a
    diagonal normal. A draw and its density take one pass. The divergence is sampled and uses this density itself, and the
    model is evaluated as what it is, with exact importance weights. The image of μ stands for its mean.

    Args:
        transforms: T, how many maps.
        hidden: widths of the masked network of each.
        context: how many numbers about x each network reads.
        activation: inside the networks.
    """

    varied: ClassVar[bool] = False

    transforms: int = 2
    hidden: tuple[int, ...] = (128,)
    context: int = 64
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("transforms", self.transforms)
        positive("hidden", *self.hidden)
        positive("context", self.context)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _IAF(event, self)


class _IAF(PosteriorModule):
    def __init__(self, event: tuple[int, ...], spec: IAF) -> None:
        size = math.prod(event)
        base = DiagonalNormal().build((size,))
        super().__init__(event, base.width + spec.context)
        self.base = base
        self.maps = Modules(
            Gated(size, spec.context, spec.hidden, spec.activation, turned=i % 2 == 1) for i in range(spec.transforms)
        )

    def forward(self, params: Tensor) -> distributions.InverseAutoregressive:
        u, context = params[:, : self.base.width], params[:, self.base.width :]
        with full_precision(params):
            contexts = [each.read(context) for each in self.maps]
        return distributions.InverseAutoregressive(self.base(u), list(self.maps), contexts, self.event)
