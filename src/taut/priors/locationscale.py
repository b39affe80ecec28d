"""Standard densities of independent latents that are not normal.

Laplace    p(z) = Π_d ½ e^{−|z_d|}                sharp at zero: most latents near it, a few far off
Logistic   p(z) = Π_d σ(z_d) σ(−z_d)             a little heavier than a normal
Cauchy     p(z) = Π_d 1/π(1 + z_d²)              without a variance
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.distributions.locationscale import LocationScale
from taut.priors.base import Prior

__all__ = ["Cauchy", "Laplace", "Logistic"]


@dataclass(frozen=True)
class _Standard(Prior):
    codable: ClassVar[bool] = True
    density: ClassVar[type[LocationScale]]

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Unit(event, self.density)


class _Unit(nn.Module):
    zero: Tensor

    def __init__(self, event: tuple[int, ...], density: type[LocationScale]) -> None:
        super().__init__()
        self.density = density
        self.register_buffer("zero", torch.zeros(event), persistent=False)

    def forward(self, h: Tensor) -> LocationScale:
        zero = self.zero.expand(h.shape[0], *self.zero.shape)
        return self.density(zero, zero)


@dataclass(frozen=True)
class Laplace(_Standard):
    """p(z) = Π_d ½ exp(−|z_d|), the prior of sparse codes (Olshausen and Field 1996).

    Its divergence from a Laplace or a normal posterior is in closed form, from others sampled, each per dimension. At a
    temperature the scale is multiplied; below the top it is the same whatever the layers above say.
    """

    density: ClassVar[type[LocationScale]] = distributions.Laplace


@dataclass(frozen=True)
class Logistic(_Standard):
    """p(z) = Π_d σ(z_d) σ(−z_d), the standard logistic density (as the base of NICE: Dinh, Krueger and Bengio 2015).

    Its divergence is sampled and comes per dimension. At a temperature the scale is multiplied; below the top it is the
    same whatever the layers above say.
    """

    density: ClassVar[type[LocationScale]] = distributions.Logistic


@dataclass(frozen=True)
class Cauchy(_Standard):
    """p(z) = Π_d 1/π(1 + z_d²), of tails so heavy that it has neither variance nor mean.

    Its divergence from a Cauchy posterior is in closed form, from others sampled, each per dimension. At a temperature the
    scale is multiplied; below the top it is the same whatever the layers above say.
    """

    codable: ClassVar[bool] = False
    heavy: ClassVar[bool] = True
    density: ClassVar[type[LocationScale]] = distributions.Cauchy
