"""The layer of a deep hierarchy: latents that lie on a map of features.

A model is a stack of these, coarse scales first. Down the stack runs one stream of features h, (N, C, H, W), to which each
layer adds what its z says, and which deterministic cells then think over; up from the data come maps of the same sizes,
one for each scale:

    enter      h grows to the layer's scale; at the top it starts from a learned constant
    prior      p(z_l | z_<l)       from a convolution of h
    posterior  q(z_l | z_<l, x)    from a block of h beside the encoder's map
    merge      h + W z, then the cells

So inference runs from the top down and shares the whole stream with generation (Sønderby et al. 2016). What is called a
ladder VAE, NVAE or VDVAE is this layer with other parts: how evidence and prior make q is the posterior's affair
(``DiagonalNormal`` learns it, ``PrecisionNormal`` weighs by precision, ``RelativeNormal`` corrects the prior), and what a cell
is is :mod:`taut.networks.cells`'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.errors import InputError
from taut.layers.base import Features, Layer, LayerModule, State
from taut.layers.pairing import require_pair
from taut.networks.base import positive
from taut.networks.cells import BottleneckCell, Cell, convolution
from taut.networks.pyramid import Up
from taut.posteriors import Posterior
from taut.priors import ConditionalNormal, Prior

__all__ = ["Spatial"]

MOST_GROUPS = 512  # at a scale; the deepest published hierarchy has some eighty in all


@dataclass(frozen=True)
class Spatial(Layer):
    """Groups of latents on the maps of one scale, or of every scale of the network.

    Args:
        scale: which of the network's scales, 0 the finest; all of them, the coarsest first, if left open.
        groups: how many such layers one after the other, at each scale.
        latents: numbers at each place of the map.
        prior: the model's at the top if left open; N(μ(h), diag σ²(h)) where that is open too, and below.
        posterior: the model's if left open.
        cell: what q and the stream of features are made of.
        cells: how many of them follow each group.
    """

    maps: ClassVar[bool] = True

    scale: int | None = None
    groups: int = 1
    latents: int = 8
    prior: Prior | None = None
    posterior: Posterior | None = None
    cell: Cell = BottleneckCell()
    cells: int = 1

    def __post_init__(self) -> None:
        positive("groups", self.groups)
        if self.groups > MOST_GROUPS:
            raise InputError("groups", f"is {self.groups:,}, more than a walk of one after the other gets through",
                             f"give at most {MOST_GROUPS}")  # fmt: skip
        positive("latents", self.latents)
        if self.cells < 0:
            raise InputError("cells", f"is {self.cells}", "give 0 or more")
        if self.scale is not None and self.scale < 0:
            raise InputError("scale", f"is {self.scale}", "give 0, the finest, or more")

    def spread(self, scales: int) -> tuple[Spatial, ...]:
        if self.scale is not None and self.scale >= scales:
            have = "one scale, 0" if scales == 1 else f"the scales 0 to {scales - 1}"
            raise InputError("model.layers", f"has scale {self.scale}, and the network has {have}",
                             "name one of these, or choose a network of more")  # fmt: skip
        chosen = range(scales)[::-1] if self.scale is None else [self.scale]
        return tuple(replace(self, scale=scale, groups=1) for scale in chosen for _ in range(self.groups))

    def filled(self, latents: int, prior: Prior | None, posterior: Posterior, top: bool) -> Spatial:
        posterior = self.posterior or posterior
        prior = self.prior or (prior if top else None) or ConditionalNormal()
        require_pair(prior, posterior, self.latents)
        return replace(self, prior=prior, posterior=posterior)

    def build(self, features: Features, state: State) -> LayerModule:
        if self.scale is None or isinstance(features, int):
            raise InputError(
                "layers", "are Spatial, of no scale, or of a network without maps", "ask them for spread(…) first"
            )
        return _Spatial(self, self.scale, features[self.scale], state)


class _Spatial(LayerModule):
    """Maps of one scale; ``state`` is (C, H, W)."""

    def __init__(self, spec: Spatial, scale: int, shape: tuple[int, int, int], above: State) -> None:
        super().__init__()
        width, size = shape[0], shape[1:]
        latents, prior, posterior = spec.contents
        self.scale, self.state = scale, shape
        event = (latents * math.prod(size),)
        self.q = posterior.build(event)
        if self.q.event != event or self.q.width % math.prod(size):
            name = type(posterior).__name__
            raise InputError("model.posterior", f"{name} is no density of numbers on a map",
                             "choose DiagonalNormal, RelativeNormal or PrecisionNormal, or layers that are Plain")  # fmt: skip
        self.event, self.space, self.reads_prior = event, posterior.space, posterior.reads_prior
        self.start = nn.Parameter(torch.zeros(shape)) if not above else None
        self.grow = None
        if above and isinstance(above, int):
            self.grow = nn.Sequential(nn.Linear(above, math.prod(shape)), nn.Unflatten(1, shape))
        elif above and above != shape:
            self.grow = Up(above[0], width, above[1:], shape[1:])
        # a prior that can stand alone is at the top told nothing; one that needs an h has the constant
        self.told = bool(above) or not prior.alone
        self.p = prior.placed(event, _read(prior, shape) if self.told else 0, (spec.latents, *size))
        self.flat = not prior.maps
        first, cell = convolution(2 * width, width, size, 1), spec.cell.build(width, size)
        last = convolution(width, self.q.width // math.prod(size), size, 1)
        self.judge = nn.Sequential(first, cell, nn.SiLU(), last)
        self.speak = convolution(latents, width, size, 1)
        self.cells = nn.Sequential(*(spec.cell.build(width, size) for _ in range(spec.cells)))
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()

    def evidence(self, features: tuple[Tensor, ...]) -> Tensor:
        return features[self.scale]

    def enter(self, h: Tensor) -> Tensor:
        if self.start is not None:
            return self.start.expand(
                h.shape[0], *self.start.shape
            )  # open in an exported graph, where len() is one number
        return h if self.grow is None else self.grow(h)

    def prior(self, h: Tensor) -> Distribution:
        if not self.told:
            h = h.flatten(1)[:, :0]
        elif self.flat:
            h = h.flatten(1)
        return self.q.over(self.p(h))

    def posterior(self, h: Tensor, e: Tensor, p: Distribution | None) -> Distribution:
        params = self.judge(torch.cat([h, e], 1)).flatten(1)
        # the bound stays in float32 whatever the networks compute in
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        return self.q(params, p) if self.reads_prior else self.q(params)

    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        said = self.q.told(z).reshape(z.shape[0], -1, *self.state[1:])
        return self.cells(h + self.speak(said))


def _read(prior: Prior, shape: tuple[int, int, int]) -> tuple[int, int, int] | int:
    return shape if prior.maps else math.prod(shape)
