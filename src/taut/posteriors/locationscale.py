"""Independent latents of other shapes than the normal's: heavier tails, a sharp peak, or a bounded range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taut import distributions
from taut.distributions import soft
from taut.distributions.locationscale import LocationScale
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule
from taut.posteriors.normal import Scaled

__all__ = ["Cauchy", "Laplace", "Logistic", "TruncatedNormal"]


@dataclass(frozen=True)
class _LocationScale(Posterior):
    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True
    density: ClassVar[type[LocationScale]]

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return Scaled(event, self.density)


@dataclass(frozen=True)
class Laplace(_LocationScale):
    """q(z|x) = Π_d exp(−|z_d − μ_d|/s_d)/2s_d, independent Laplace densities.

    The encoder's second output is log s, softly bounded to ±8. The divergence uses this density itself, and so does every
    bound; from normal, AR(1) and Laplace priors it is in closed form, from others sampled.
    """

    density: ClassVar[type[LocationScale]] = distributions.Laplace


@dataclass(frozen=True)
class Logistic(_LocationScale):
    """q(z|x), independent logistic densities of location μ and scale s, with tails between the normal's and Laplace's.

    The encoder's second output is log s, softly bounded to ±8. The divergence uses this density itself, and so does every
    bound; from normal and AR(1) priors it is in closed form, from others sampled.
    """

    density: ClassVar[type[LocationScale]] = distributions.Logistic


@dataclass(frozen=True)
class Cauchy(_LocationScale):
    """q(z|x) = Π_d 1/πs_d(1 + ((z_d − μ_d)/s_d)²), independent Cauchy densities.

    It has no mean: the code of an example is the location μ, the median. Its divergence from a prior that has a variance is
    infinite, so it goes with priors of tails as heavy: Cauchy, which stands if none is named, and mixtures of its own kind.
    Outputs of a decoder that grow with z would have an infinite expectation as well, so the layers below read asinh z. The
    encoder's second output is log s, softly bounded to ±8. The divergence uses this density itself, and so does every bound;
    from a Cauchy prior it is in closed form (Chyzak and Nielsen 2019).
    """

    codable: ClassVar[bool] = False
    heavy: ClassVar[bool] = True
    density: ClassVar[type[LocationScale]] = distributions.Cauchy

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Wild(event, self.density)


class _Wild(Scaled):
    def told(self, z: Tensor) -> Tensor:
        return z.asinh()


@dataclass(frozen=True)
class TruncatedNormal(Posterior):
    """q(z|x) = N(μ, diag σ²) truncated to [−b, b] in each latent, so that codes have a range.

    μ is softly bounded to ±2b, so that mass may pile up at an end, and log σ to ±5, from a point to the uniform density.
    The divergence uses the truncated density, and so does every bound; from normal and AR(1) priors it is in closed form,
    from others sampled. The prior is not truncated: the model may draw latents beyond b, for N(0, I) and b = 4 one in
    16,000, and importance-weighted bounds rise to log p(x) only as far as codes within the range explain x.

    Args:
        bound: b.
    """

    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True

    bound: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise InputError("bound", f"is {self.bound:g}", "give a number above 0")

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        def density(location: Tensor, log_scale: Tensor) -> distributions.TruncatedNormal:
            return distributions.TruncatedNormal(soft(location, 2 * self.bound), log_scale, self.bound)

        return Scaled(event, density, 5.0)
