"""Vector quantisation: a code from a learned codebook for each latent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut import distributions
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule
from taut.priors import Space

__all__ = ["VectorQuantised"]


@dataclass(frozen=True)
class VectorQuantised(Posterior):
    """All mass on the nearest of K codes for each latent: the VQ-VAE (van den Oord, Vinyals and Kavukcuoglu 2017).

    The prior is one of categories, the indices of the codes; the layers below read the codes themselves, vectors. The
    bound is exact: distortion plus −log p(index). A posterior without spread gives the prior nothing to hold it by, so
    codes are usually learned first and their prior after them, in two ``stages``.

    Codes, and what the encoder says, are vectors of length √W, so that only directions are compared and neither can run away
    from the other; with few dimensions to each all codes come into use (Yu et al. 2022).

    Args:
        codes: K, how many there are.
        width: W, dimensions of each.
        commitment: the weight of the term that keeps what the encoder says near its code.
    """

    codable: ClassVar[bool] = True
    space: ClassVar[Space] = "categories"
    weighable: ClassVar[bool] = False
    estimators: ClassVar[tuple[str, ...]] = ("Pathwise",)

    codes: int = 64
    width: int = 4
    commitment: float = 0.25

    def __post_init__(self) -> None:
        if self.codes < 2:
            raise InputError("codes", f"is {self.codes}", "give 2 or more")
        if self.width < 2:
            raise InputError("width", f"is {self.width}, which has two directions", "give 2 or more")
        if not 0 <= self.commitment < math.inf:
            raise InputError("commitment", f"is {self.commitment:g}", "give 0 or more")

    def event(self, latents: int) -> tuple[int, ...]:
        return (latents, self.codes)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _VectorQuantised(event, self)


class _VectorQuantised(PosteriorModule):
    def __init__(self, event: tuple[int, ...], spec: VectorQuantised) -> None:
        latents, codes = event
        super().__init__((latents, spec.width), latents * spec.width)
        self.commitment = spec.commitment
        self.directions = nn.Parameter(torch.randn(codes, spec.width))

    @property
    def codebook(self) -> Tensor:
        """e, (K, W)."""
        return _of_length(self.directions)

    @property
    def values(self) -> Tensor:
        return self.codebook

    def place(self, z: Tensor) -> Tensor:
        codebook = self.codebook
        return distributions.nearest_code(z, codebook) @ codebook

    def over(self, p: Distribution) -> distributions.Embedded:
        return distributions.Embedded(p, self.codebook)

    def forward(self, params: Tensor) -> distributions.Quantised:
        points = _of_length(params.view(params.shape[0], *self.event))
        return distributions.Quantised(points, self.codebook, self.commitment)


def _of_length(vectors: Tensor) -> Tensor:
    """Vectors (..., W) in the same directions, √W long: elements near one."""
    return math.sqrt(vectors.shape[-1]) * distributions.unit(vectors)
