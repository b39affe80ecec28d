"""The diagonal normal, the point posterior, and the module of all families of a location and a scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from taut import distributions
from taut.distributions import soft
from taut.posteriors.base import Posterior, PosteriorModule

__all__ = ["Delta", "DiagonalNormal", "Scaled"]


@dataclass(frozen=True)
class DiagonalNormal(Posterior):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma and Welling 2014).

    The encoder's second output is log σ, softly bounded to ±8 so that neither σ nor 1/σ can overflow while training.
    The divergence uses this density itself; against a normal prior it is in closed form.
    """

    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return Scaled(event, distributions.DiagonalNormal)


class Scaled(PosteriorModule):
    """Two numbers an element: a location, and the logarithm of a scale.

    Args:
        event: the shape of z.
        density: location and log scale, (N, *event) each → q.
        bound: of |log scale|, softly.
    """

    density: Callable[[Tensor, Tensor], Distribution]
    bound: float

    def __init__(
        self, event: tuple[int, ...], density: Callable[[Tensor, Tensor], Distribution], bound: float = 8.0
    ) -> None:
        super().__init__(event, 2 * math.prod(event))
        self.density, self.bound = density, bound

    def forward(self, params: Tensor) -> Distribution:
        location, raw = params.view(params.shape[0], 2, *self.event).unbind(1)
        return self.density(location, soft(raw, self.bound))


@dataclass(frozen=True)
class Delta(Posterior):
    """All mass on one point: with β = 0 the model is a plain autoencoder.

    There is no divergence between a point and a density; −log p(z) stands in for the rate while training, and the
    model's evidence lower bound is reported as absent.
    """

    proper: ClassVar[bool] = False
    weighable: ClassVar[bool] = False
    estimators: ClassVar[tuple[str, ...]] = ("Pathwise",)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Point(event)


class _Point(PosteriorModule):
    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event, math.prod(event))

    def forward(self, params: Tensor) -> distributions.Delta:
        return distributions.Delta(params.view(params.shape[0], *self.event))
