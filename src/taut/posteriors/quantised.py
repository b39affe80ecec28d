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
from taut.networks.base import positive
from taut.posteriors.base import Posterior, PosteriorModule
from taut.priors import Space

__all__ = ["VectorQuantised"]


@dataclass(frozen=True)
class VectorQuantised(Posterior):
    """All mass on the nearest of K codes for each latent: the VQ-VAE (van den Oord, Vinyals and Kavukcuoglu 2017).

    The prior is one of categories, the indices of the codes; the layers below read the codes themselves, vectors. The
    bound is exact: distortion plus −log p(index). A posterior without spread gives the prior nothing to hold it by, so
    codes are usually learned first and their prior after them, in two ``stages``.

    The codebook is a learned linear map of K fixed random points (Zhu et al. 2024, SimVQ), so that a step moves all codes,
    the unused ones with the used, and none is left behind.

    Args:
        codes: K, how many there are.
        width: W, of each.
        commitment: the weight of the term that keeps what the encoder says near its code.
    """

    space: ClassVar[Space] = "categories"
    weighable: ClassVar[bool] = False
    estimators: ClassVar[tuple[str, ...]] = ("Pathwise",)

    codes: int = 64
    width: int = 16
    commitment: float = 0.25

    def __post_init__(self) -> None:
        if self.codes < 2:
            raise InputError("codes", f"is {self.codes}", "give 2 or more")
        positive("width", self.width)
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
        self.register_buffer("points", torch.randn(codes, spec.width))
        self.map = nn.Linear(spec.width, spec.width)

    @property
    def codebook(self) -> Tensor:
        """e, (K, W)."""
        return self.map(self.points)

    def place(self, z: Tensor) -> Tensor:
        codebook = self.codebook
        return distributions.nearest_code(z, codebook) @ codebook

    def over(self, p: Distribution) -> distributions.Embedded:
        return distributions.Embedded(p, self.codebook)

    def forward(self, params: Tensor) -> distributions.Quantised:
        points = params.view(params.shape[0], *self.event)
        return distributions.Quantised(points, self.codebook, self.commitment)
