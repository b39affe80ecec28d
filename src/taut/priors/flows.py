"""Flow priors: a standard normal seen through learned invertible maps, z → f_T ∘ … ∘ f_1(z) = u ~ N(0, I).

    log p(z) = log N(f(z); 0, I) + log |det ∂f(z)/∂z|

The three differ in the maps. Written for one map, with θ a network's output,

    RealNVP   half of z stays; the other half becomes  u_b = exp(a) ⊙ z_b + c,   (a, c) = θ(z_a)
    MAF       u_d = exp(a_d) z_d + c_d,                (a_d, c_d) = θ_d(z_<d)
    NSF       u_d = spline(z_d; θ_d(z_<d)),            monotone, rational-quadratic on [−5, 5], the identity outside

All start as the identity, so that p starts as N(0, I). The event's elements are taken as one vector, in their order, which
turns round from map to map. Below the top, θ reads the state h as well: p(z|h).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.distributions import import_zuko
from taut.distributions.flow import standard
from taut.errors import InputError
from taut.networks.base import Activation, activation, positive
from taut.priors.base import Prior

__all__ = ["MAF", "NSF", "RealNVP"]


@dataclass(frozen=True)
class _FlowPrior(Prior):
    density: ClassVar[type[distributions.Flow]] = distributions.Flow

    transforms: int = 4
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        positive("transforms", self.transforms)
        positive("hidden", *self.hidden)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        size = math.prod(event)
        options = {"hidden_features": self.hidden, "activation": partial(activation, self.activation)}
        maps = [self._map(size, state, i, options) for i in range(self.transforms)]
        return _Flow(maps, event, self.density)

    @abstractmethod
    def _map(self, size: int, state: int, i: int, options: dict[str, Any]) -> nn.Module:
        """The i-th map: zuko's module, context (N, state) or ``None`` → a transform of vectors (N, size)."""


@dataclass(frozen=True)
class RealNVP(_FlowPrior):
    """A flow of affine couplings: density and samples both take one pass (Dinh, Sohl-Dickstein and Bengio 2017).

    Its divergence is sampled; at a temperature the spread of the base is scaled.

    Args:
        transforms: how many couplings.
        hidden: widths of the network of each.
        activation: inside the networks.
    """

    density: ClassVar[type[distributions.Flow]] = distributions.Coupling

    def _map(self, size: int, state: int, i: int, options: dict[str, Any]) -> nn.Module:
        if size < 2:
            raise InputError("model.prior", "is RealNVP for one latent, which has no half to couple with the other",
                             "choose NSF, or more latents")  # fmt: skip
        mask = torch.arange(size) % 2 == i % 2
        return import_zuko().flows.coupling.GeneralCouplingTransform(size, state, mask, **options)


@dataclass(frozen=True)
class MAF(_FlowPrior):
    """A masked autoregressive flow: the density takes one pass, a sample one for each latent (Papamakarios et al. 2017).

    Its divergence is sampled; at a temperature the spread of the base is scaled.

    Args:
        transforms: how many autoregressive maps.
        hidden: widths of the masked network of each.
        activation: inside the networks.
    """

    def _map(self, size: int, state: int, i: int, options: dict[str, Any]) -> nn.Module:
        order = torch.arange(size) if i % 2 == 0 else torch.arange(size).flip(0)
        return import_zuko().flows.autoregressive.MaskedAutoregressiveTransform(size, state, order=order, **options)


@dataclass(frozen=True)
class NSF(_FlowPrior):
    """A flow of monotone splines, autoregressive as MAF's maps are (Durkan et al. 2019).

    Its divergence is sampled; at a temperature the spread of the base is scaled.

    Args:
        transforms: how many maps.
        hidden: widths of the masked network of each.
        activation: inside the networks.
        bins: pieces of each spline.
    """

    transforms: int = 2
    bins: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 2:
            raise InputError("bins", f"is {self.bins}", "give 2 or more")

    def _map(self, size: int, state: int, i: int, options: dict[str, Any]) -> nn.Module:
        zuko = import_zuko()
        order = torch.arange(size) if i % 2 == 0 else torch.arange(size).flip(0)
        return zuko.flows.autoregressive.MaskedAutoregressiveTransform(
            size,
            state,
            order=order,
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(self.bins,), (self.bins,), (self.bins - 1,)],
            **options,
        )


class _Flow(nn.Module):
    def __init__(self, maps: list[nn.Module], event: tuple[int, ...], density: type[distributions.Flow]) -> None:
        super().__init__()
        self.maps, self.event, self.density = nn.ModuleList(maps), event, density
        for each in maps:  # zeros are the identity, for affine maps and splines alike
            last = each.hyper[-1].parameters() if hasattr(each, "hyper") else each.parameters()
            for parameter in last:
                nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> distributions.Flow:
        context = h if h.shape[1] else None
        transform = import_zuko().transforms.ComposedTransform(*(each(context) for each in self.maps))
        return self.density(transform, standard(h.shape[0], h, math.prod(self.event)), self.event)
