"""A likelihood that is a model of its own: each element of an image given z and all elements before it.

    p(x|z) = Π_d p(x_d | x_<d, c_d),   c = the decoder's maps

In raster order and, within a pixel, channel after channel. Each conditional is another likelihood's distribution of one
element, its parameters a function of what a gated PixelCNN makes of x_<d and of c (:mod:`taut.networks.pixels`). This is
the decoder of PixelVAE (Gulrajani et al. 2017); with no layers of latents it is the PixelCNN itself (van den Oord et al.
2016), and its log p(x) is exact.

Such a decoder can model x without z, and a code that tells it nothing new is not worth its rate: the posterior collapses
to the prior. Kernels that see little leave more for z to tell (Chen et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.data import Statistics, Support
from taut.distributions import Chain
from taut.errors import InputError
from taut.likelihoods.base import HeadModule, Likelihood
from taut.likelihoods.discrete import Bernoulli, Categorical, DiscretisedLogisticMixture
from taut.likelihoods.rule import default_likelihood
from taut.networks import GatedPixels, WithinPixel
from taut.networks.base import positive
from taut.networks.pixels import require_kernels

__all__ = ["PixelCNN"]


@dataclass(frozen=True)
class PixelCNN(Likelihood):
    """Images of finitely many levels, each element given z and all elements before it: any likelihood of such levels made
    autoregressive by a gated PixelCNN (van den Oord et al. 2016; Gulrajani et al. 2017).

    A pixel sees those before it that are at most R = Σ (kernel − 1)/2 rows above and R columns to either side. A strong
    decoder may leave z nothing to tell; one with kernels 3,1,1,1 sees but four neighbours, and needs z for the rest.

    Args:
        conditional: what each element is given those before it; if left open Bernoulli for two levels, Categorical for
            up to 32, DiscretisedLogisticMixture for more.
        channels: width of the network.
        kernels: odd width of the kernel of each block, the first 3 or more; 1 looks no further.
        maps: numbers for each element by which the decoder tells of z.
    """

    averaged: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    entire: ClassVar[bool] = True
    codable: ClassVar[bool] = True

    conditional: Likelihood | None = None
    channels: int = 16
    kernels: tuple[int, ...] = (7, 3, 3, 3)
    maps: int = 8

    def __post_init__(self) -> None:
        positive("channels", self.channels)
        positive("maps", self.maps)
        require_kernels(self.kernels)
        if self.conditional is not None and self.conditional.joint:
            why = f"is {type(self.conditional).__name__}, itself a model of all elements together"
            raise InputError("conditional", why, "name the likelihood of one element, such as Bernoulli")

    @property
    def name(self) -> str:
        return "PixelCNN" + (f" of {self.conditional.name}" if self.conditional else "")

    @property
    def weaker(self) -> str | None:
        near = (3, *[1] * (len(self.kernels) - 1))
        if self.kernels == near:
            return None
        return f"a decoder that sees its neighbours alone (`--model.likelihood.kernels {','.join(map(str, near))}`)"

    def each(self, support: Support) -> Likelihood:
        """The likelihood of one element."""
        if self.conditional is not None:
            return self.conditional
        if support.kind == "binary":
            return Bernoulli()
        return Categorical() if support.size <= 32 else DiscretisedLogisticMixture()

    def fits(self, support: Support) -> bool:
        if support.levels is None or not support.discrete:
            return False
        each = self.each(support)
        return each.fits(support) and not each.continuous

    @property
    def within(self) -> dict[str, Likelihood]:
        return {} if self.conditional is None else {"conditional": self.conditional}

    def in_words(self, support: Support) -> str:
        return f"{self.each(support).in_words(support)} given what is before it, by PixelCNN"

    def outputs(self, support: Support) -> int:
        return self.maps

    def elementwise(self, params: Tensor, shared: Tensor | None, support: Support) -> Distribution:
        return self.each(support).elementwise(params, shared, support)

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return self.each(support).start(support, statistics)

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        if len(shape) != 3:
            plain = type(default_likelihood(support)).__name__
            why = f"PixelCNN goes through images, and an example has {shape[0]} elements in a row"
            mend = f"say which image they are, as by --data.shape 28,28, or choose {plain}"
            raise InputError("model.likelihood", why, mend)
        return _Head(self, shape, support, statistics)


class _Head(HeadModule):
    """The decoder's maps (N, maps, C, H, W) → p(x|z)."""

    dequantise = False

    def __init__(self, spec: PixelCNN, shape: tuple[int, ...], support: Support, statistics: Statistics) -> None:
        super().__init__()
        self.spec, self.support, self.shape = spec, support, shape
        self.outputs = spec.outputs(support)
        self.offset = nn.Parameter(spec.start(support, statistics))
        self.pixels = GatedPixels(shape[0], spec.maps * shape[0], spec.channels, spec.kernels)
        self.within = WithinPixel(spec.channels, shape[0], len(self.offset))

    def forward(self, out: Tensor) -> Chain:
        context = out.flatten(1, 2)

        def conditionals(x: Tensor) -> Distribution:
            seen = self._seen(x)
            return self._conditional(self.within(self.pixels(seen, context), seen), self.offset)

        def course(x: Tensor) -> Iterator[tuple[int, Distribution]]:
            seen, size = torch.zeros_like(x), self.shape[1] * self.shape[2]
            for (i, j), features in self.pixels.course(seen, context):
                for k in range(self.shape[0]):
                    params = self.within(features[..., None, None], seen[:, :, i : i + 1, j : j + 1])
                    place = k * size + i * self.shape[2] + j
                    yield place, self._conditional(params[:, :, k, 0, 0], self.offset[:, k, i, j])
                    seen[:, k, i, j] = self._seen(x[:, k, i, j])

        like = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
        return Chain(conditionals, course, self.shape, self.support.size, like)

    def _seen(self, x: Tensor) -> Tensor:
        """x from −1 to 1, so that the zeros around an image are none of the two levels of a binary one."""
        return x * (2 / (self.support.size - 1)) - 1

    def _conditional(self, params: Tensor, offset: Tensor) -> Distribution:
        # the bound stays in float32 whatever the networks compute in
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        return self.spec.elementwise(params + offset, None, self.support)
